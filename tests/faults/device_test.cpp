// SPDX-License-Identifier: BSD-3-Clause
// Sweeps of what devices are asked, be they a group's or opened by their own file.
#include "faults/sweep.h"

namespace softiommu::test {
namespace {

void opened(Rig& rig) {
  rig.attach();
  rig.device = rig.open_device();
  EXPECT_GT(rig.device, 0);
}

void on_a_bus(Rig& rig) {
  rig.attach(abi::Extension::type1_v2, "0000:01:00.0");
  rig.device = rig.open_device("0000:01:00.0");
  EXPECT_EQ(rig.set_irqs(rig.device, abi::kIrqSetActionTrigger, abi::kMsixIrq, 0, {rig.eventfd(0).descriptor()}), 0);
}

template <std::uint32_t index>
void triggered(Rig& rig) {
  opened(rig);
  EXPECT_EQ(rig.set_irqs(rig.device, abi::kIrqSetActionTrigger, index, 0, {rig.eventfd(0).descriptor()}), 0);
}

template <class Info, unsigned command>
long ask(Rig& rig) {
  Info info{};
  info.argsz = sizeof info;
  return rig.call(rig.device, command, &info);
}

// A device file that is bound; attached if asked.
void bound(Rig& rig) {
  rig.ioas = rig.alloc_ioas();
  rig.device = rig.open_cdev();
  rig.id = rig.bind(rig.device);
  EXPECT_GT(rig.id, 0);
}
void filled(Rig& rig) {
  bound(rig);
  EXPECT_EQ(rig.map_fixed(rig.ioas, Rig::kIova, rig.user(), 4 * kPageSize), 0);
}
void attached(Rig& rig) {
  filled(rig);
  EXPECT_GT(rig.attach_to(rig.device, rig.ioas), 0);
}

// The same where devices have PASIDs; the device is on the first of two page tables that are made for it.
void with_pasids(Rig& rig) {
  rig.mock_pci();
  EXPECT_EQ(rig.map_fixed(rig.ioas_, Rig::kMockIova, rig.user(), 4 * kPageSize), 0);
  rig.device = rig.open_cdev();
  const auto id = static_cast<std::uint32_t>(rig.bind(rig.device));
  rig.parent = static_cast<std::uint32_t>(rig.alloc_hwpt(id, rig.ioas_, fd::kHwptPasid));
  rig.id = rig.alloc_hwpt(id, rig.ioas_, fd::kHwptPasid);
  EXPECT_GT(rig.id, 0);
  EXPECT_GT(rig.attach_to(rig.device, rig.parent), 0);
}
long attach_pasid(Rig& rig, std::int64_t pt) {
  abi::AttachIommufdPt request{sizeof request, abi::kAttachPasid, static_cast<std::uint32_t>(pt), 5};
  return rig.call(rig.device, abi::kDeviceAttachIommufdPt, &request);
}
void with_pasid_attached(Rig& rig) {
  with_pasids(rig);
  EXPECT_EQ(attach_pasid(rig, rig.parent), 0);
}

long export_bar(Rig& rig) {
  const struct {
    abi::FeatureDmaBuf head;
    abi::DmaRange part;
  } request{{sizeof request, abi::kFeatureGet | abi::kFeatureDmaBuf, 2, 0, 0, 1}, {0, kPageSize}};
  return rig.call(rig.device, abi::kDeviceFeature, &request);
}

constexpr Scenario kScenarios[] = {
    {"GetInfo", opened, ask<abi::DeviceInfo, abi::kDeviceGetInfo>},
    {"GetRegionInfo", opened, ask<abi::RegionInfo, abi::kDeviceGetRegionInfo>},
    {"GetIrqInfo", opened, ask<abi::IrqInfo, abi::kDeviceGetIrqInfo>},
    {"GetPciHotResetInfo", on_a_bus,
     [](Rig& rig) {
       struct {
         abi::HotResetInfo head;
         abi::DependentDevice devices[8];
       } info{};
       info.head.argsz = sizeof info;
       return rig.call(rig.device, abi::kDeviceGetPciHotResetInfo, &info);
     }},
    {"PciHotReset", on_a_bus,
     [](Rig& rig) {
       const struct {
         abi::HotReset head;
         std::int32_t group;
       } request{{sizeof request, 0, 1}, rig.group_};
       return rig.call(rig.device, abi::kDevicePciHotReset, &request);
     }},
    {"SetIrqsIntx", opened,
     [](Rig& rig) {
       return rig.set_irqs(rig.device, abi::kIrqSetActionTrigger, abi::kIntxIrq, 0, {rig.eventfd(0).descriptor()});
     }},
    {"SetIrqsIntxAnew", triggered<abi::kIntxIrq>,
     [](Rig& rig) {
       return rig.set_irqs(rig.device, abi::kIrqSetActionTrigger, abi::kIntxIrq, 0, {rig.eventfd(1).descriptor()});
     }},
    {"SetIrqsIntxUnmask", triggered<abi::kIntxIrq>,
     [](Rig& rig) {
       return rig.set_irqs(rig.device, abi::kIrqSetActionUnmask, abi::kIntxIrq, 0, {rig.eventfd(1).descriptor()});
     }},
    {"SetIrqsMsi", opened,
     [](Rig& rig) {
       return rig.set_irqs(rig.device, abi::kIrqSetActionTrigger, abi::kMsiIrq, 0,
                           {rig.eventfd(0).descriptor(), rig.eventfd(1).descriptor()});
     }},
    {"SetIrqsMsix", opened,
     [](Rig& rig) {
       return rig.set_irqs(rig.device, abi::kIrqSetActionTrigger, abi::kMsixIrq, 0,
                           {rig.eventfd(0).descriptor(), rig.eventfd(1).descriptor(), rig.eventfd(2).descriptor()});
     }},
    {"SetIrqsMsixAnew", triggered<abi::kMsixIrq>,
     [](Rig& rig) {
       return rig.set_irqs(rig.device, abi::kIrqSetActionTrigger, abi::kMsixIrq, 0,
                           {rig.eventfd(1).descriptor(), rig.eventfd(2).descriptor()});
     }},
    {"SetIrqsMsixOff", triggered<abi::kMsixIrq>,
     [](Rig& rig) { return rig.set_irqs_count(rig.device, abi::kIrqSetActionTrigger, abi::kMsixIrq, 0, 0); }},
    {"SetIrqsRequest", opened,
     [](Rig& rig) {
       return rig.set_irqs(rig.device, abi::kIrqSetActionTrigger, abi::kReqIrq, 0, {rig.eventfd(0).descriptor()});
     }},
    {"Reset", triggered<abi::kMsixIrq>, [](Rig& rig) { return rig.call(rig.device, abi::kDeviceReset); }},
    {"ReadOfConfigurationSpace", opened,
     [](Rig& rig) -> long { return rig.program_[rig.device].pread(rig.user(), 64, Rig::at(abi::kConfigRegion, 0)); }},
    {"WriteOfConfigurationSpace", opened,
     [](Rig& rig) -> long {
       const std::uint16_t command = 6;
       return rig.write_region(rig.device, abi::kConfigRegion, 4, command);
     }},
    {"WriteOfABar", opened, [](Rig& rig) -> long { return rig.write_region(rig.device, 2, 8, std::uint32_t{5}); }},
    {"OpenFile", [](Rig&) {}, [](Rig& rig) -> long { return rig.open_cdev(); }},
    {"BindIommufd", [](Rig& rig) { rig.device = rig.open_cdev(); },
     [](Rig& rig) -> long { return rig.bind(rig.device); }},
    {"BindIommufdOfTheSecondOfAGroup",
     [](Rig& rig) {
       EXPECT_GT(rig.bind(rig.open_cdev("0000:01:00.0")), 0);
       rig.device = rig.open_cdev("0000:01:00.1");
     },
     [](Rig& rig) -> long { return rig.bind(rig.device); }},
    {"AttachIommufdPt", filled, [](Rig& rig) -> long { return rig.attach_to(rig.device, rig.ioas); }},
    {"AttachIommufdPtToAnExistingDomain",
     [](Rig& rig) {
       attached(rig);
       rig.device = rig.open_cdev("0000:00:03.0");
       EXPECT_GT(rig.bind(rig.device), 0);
     },
     [](Rig& rig) -> long { return rig.attach_to(rig.device, rig.ioas); }},
    {"AttachIommufdPtReplaces",
     [](Rig& rig) {
       attached(rig);
       rig.other_ioas = rig.alloc_ioas();
       EXPECT_EQ(rig.map_fixed(rig.other_ioas, Rig::kIova, rig.user(8), 2 * kPageSize), 0);
     },
     [](Rig& rig) -> long { return rig.attach_to(rig.device, rig.other_ioas); }},
    {"DetachIommufdPt", attached, [](Rig& rig) { return rig.detach(rig.device); }},
    {"AttachIommufdPtOfAPasid", with_pasids, [](Rig& rig) { return attach_pasid(rig, rig.id); }},
    {"AttachIommufdPtOfAPasidReplaces", with_pasid_attached, [](Rig& rig) { return attach_pasid(rig, rig.id); }},
    {"DetachIommufdPtOfAPasid", with_pasid_attached,
     [](Rig& rig) {
       const abi::DetachIommufdPt request{sizeof request, abi::kDetachPasid, 5};
       return rig.call(rig.device, abi::kDeviceDetachIommufdPt, &request);
     }},
    {"FeatureDmaBuf", attached, export_bar},
    {"FeatureLowPower", attached,
     [](Rig& rig) {
       const struct {
         abi::Feature head;
         abi::LowPowerEntryWithWakeup entry;
       } request{{sizeof request, abi::kFeatureSet | abi::kFeatureLowPowerEntryWithWakeup},
                 {rig.eventfd(0).descriptor(), 0}};
       return rig.call(rig.device, abi::kDeviceFeature, &request);
     }},
    {"CloseOfAnAttachedDevice", attached,
     [](Rig& rig) -> long {
       rig.program_.close(rig.device);
       return 0;
     }},
};

class DeviceFaults : public Sweep {};
TEST_P(DeviceFaults, AFailedCallChangesNothing) { run(); }
INSTANTIATE_TEST_SUITE_P(, DeviceFaults, ::testing::ValuesIn(kScenarios), name_of);

}  // namespace
}  // namespace softiommu::test
