// SPDX-License-Identifier: BSD-3-Clause
// Sweeps of the commands of /dev/iommu.
#include "faults/sweep.h"

namespace softiommu::test {
namespace {

void with_ioas(Rig& rig) { rig.ioas = rig.alloc_ioas(); }
void mapped(Rig& rig) {
  with_ioas(rig);
  EXPECT_EQ(rig.map_fixed(rig.ioas, Rig::kIova, rig.user(), 4 * kPageSize), 0);
}
// A device is on the IOAS, so that everything is pinned and in a domain.
void in_domain(Rig& rig) {
  mapped(rig);
  rig.device = rig.attached_device(rig.ioas);
}
void in_two_domains(Rig& rig) {
  in_domain(rig);
  const int second = rig.open_cdev("0000:00:03.0");
  const auto id = rig.bind(second);
  EXPECT_GT(id, 0);
  EXPECT_GT(rig.alloc_hwpt(static_cast<std::uint32_t>(id), rig.ioas), 0);
}
void with_hwpt(Rig& rig) {
  mapped(rig);
  const auto device = rig.bind(rig.open_cdev());
  EXPECT_GT(device, 0);
  rig.id = rig.alloc_hwpt(static_cast<std::uint32_t>(device), rig.ioas);
  EXPECT_GT(rig.id, 0);
}
void bound(Rig& rig) {
  mapped(rig);
  rig.id = rig.bind(rig.open_cdev());
  EXPECT_GT(rig.id, 0);
}
void with_other(Rig& rig) {
  in_domain(rig);
  rig.other_ioas = rig.alloc_ioas();
  EXPECT_GT(rig.attached_device(rig.other_ioas, "0000:00:03.0"), 0);
}
void in_compat_mode(Rig& rig) {
  rig.group_ = rig.open_group(Rig::kName);
  rig.container_ = rig.iommufd_;
  EXPECT_EQ(rig.set_container(rig.group_, rig.iommufd_), 0);
  EXPECT_EQ(rig.call(rig.iommufd_, abi::kSetIommu, static_cast<std::uint64_t>(abi::Extension::type1_v2)), 0);
  EXPECT_GT(rig.open_device(), 0);
}

long map_file(Rig& rig) {
  fd::IoasMapFile request{};
  request.flags = Rig::kBoth | fd::kMapFixedIova;
  request.ioas_id = rig.ioas;
  request.fd = rig.memory_file();
  request.length = 4 * kPageSize;
  request.iova = Rig::kHugeIova;
  return rig.command(fd::kIoasMapFile, request);
}

long allow(Rig& rig) {
  const fd::Range wanted[] = {{0, 0xffff'ffff}, {0x2'0000'0000, 0x3'0000'0000}};
  fd::IoasAllowIovas request{0, rig.ioas, 2, 0, reinterpret_cast<std::uint64_t>(wanted)};
  return rig.command(fd::kIoasAllowIovas, request);
}

long iova_ranges(Rig& rig) {
  std::array<fd::Range, 16> all{};
  fd::IoasIovaRanges request{0, rig.ioas, 16, 0, reinterpret_cast<std::uint64_t>(all.data()), 0};
  return rig.command(fd::kIoasIovaRanges, request);
}

long ioas_alloc(Rig& rig) {
  fd::IoasAlloc request{};
  return rig.command(fd::kIoasAlloc, request);
}

long set_huge_pages(Rig& rig) {
  fd::Option request{};
  request.option_id = fd::kOptionHugePages;
  request.op = fd::kOptionSet;
  request.object_id = rig.ioas;
  return rig.command(fd::kOption, request);
}

long hw_info(Rig& rig) {
  std::array<std::byte, 128> data{};
  fd::HwInfo request{};
  request.dev_id = static_cast<std::uint32_t>(rig.id);
  request.data_len = sizeof data;
  request.data_uptr = reinterpret_cast<std::uint64_t>(data.data());
  return rig.command(fd::kGetHwInfo, request);
}

long change_process(Rig& rig) {
  fd::IoasChangeProcess request{.size = sizeof request, .reserved = 0};
  return rig.call(rig.device, fd::kIoasChangeProcess, &request);
}

// A device's registers as a DMA-BUF, and the device on an IOAS.
void with_exported_bar(Rig& rig) {
  with_ioas(rig);
  rig.device = rig.attached_device(rig.ioas);
  const struct {
    abi::FeatureDmaBuf head;
    abi::DmaRange part;
  } request{{sizeof request, abi::kFeatureGet | abi::kFeatureDmaBuf, 2, 0, 0, 1}, {0, kPageSize}};
  rig.id = rig.call(rig.device, abi::kDeviceFeature, &request);
  EXPECT_GT(rig.id, 0);
}
long map_exported_bar(Rig& rig) {
  fd::IoasMapFile request{0,         Rig::kBoth | fd::kMapFixedIova, rig.ioas, static_cast<int>(rig.id), 0, kPageSize,
                          Rig::kIova};
  return rig.command(fd::kIoasMapFile, request);
}

constexpr Scenario kScenarios[] = {
    {"Open", [](Rig&) {}, [](Rig& rig) -> long { return rig.open_iommufd(); }},
    {"IoasAlloc", [](Rig&) {}, ioas_alloc},
    {"Destroy", mapped, [](Rig& rig) { return rig.destroy(rig.ioas); }},
    {"DestroyOfAHwpt", with_hwpt, [](Rig& rig) { return rig.destroy(static_cast<std::uint32_t>(rig.id)); }},
    {"IoasIovaRanges", in_domain, iova_ranges},
    {"IoasAllowIovas", with_ioas, allow},
    {"IoasAllowIovasAnew",
     [](Rig& rig) {
       with_ioas(rig);
       EXPECT_EQ(allow(rig), 0);
     },
     allow},
    {"IoasMap", with_ioas, [](Rig& rig) { return rig.map_fixed(rig.ioas, Rig::kIova, rig.user(), 4 * kPageSize); }},
    {"IoasMapAnywhere", mapped, [](Rig& rig) -> long { return rig.map_anywhere(rig.ioas, rig.user(8), kPageSize); }},
    {"IoasMapInADomain", in_domain,
     [](Rig& rig) { return rig.map_fixed(rig.ioas, Rig::kHugeIova, rig.user(8), 4 * kPageSize); }},
    {"IoasMapInTwoDomains", in_two_domains,
     [](Rig& rig) { return rig.map_fixed(rig.ioas, Rig::kHugeIova, rig.user(8), 4 * kPageSize); }},
    {"IoasMapFile", with_ioas, map_file},
    {"IoasMapFileInADomain", in_domain, map_file},
    {"IoasCopy", mapped,
     [](Rig& rig) { return rig.copy(rig.ioas, Rig::kIova, rig.ioas, Rig::kHugeIova, 2 * kPageSize); }},
    {"IoasCopyBetweenDomains", with_other,
     [](Rig& rig) { return rig.copy(rig.ioas, Rig::kIova, rig.other_ioas, Rig::kIova, 4 * kPageSize); }},
    {"IoasUnmap", mapped, [](Rig& rig) -> long { return rig.unmap_range(rig.ioas, Rig::kIova, 4 * kPageSize); }},
    {"IoasUnmapInADomain", in_domain,
     [](Rig& rig) -> long { return rig.unmap_range(rig.ioas, Rig::kIova, 4 * kPageSize); }},
    {"IoasUnmapInTwoDomains", in_two_domains,
     [](Rig& rig) -> long { return rig.unmap_range(rig.ioas, Rig::kIova, 4 * kPageSize); }},
    {"IoasUnmapAll", in_domain, [](Rig& rig) -> long { return rig.unmap_range(rig.ioas, 0, Rig::kAll); }},
    {"IoasMapFileOfADmaBuf", with_exported_bar, map_exported_bar},
    {"IoasChangeProcessOfNothing",
     [](Rig& rig) {
       with_ioas(rig);
       rig.device = rig.iommufd_;
     },
     change_process},
    {"IoasChangeProcess",
     [](Rig& rig) {
       with_ioas(rig);
       EXPECT_GT(rig.attached_device(rig.ioas), 0);
       EXPECT_EQ(map_file(rig), 0);
       rig.device = rig.file_in_another_process();
     },
     change_process},
    {"OptionRlimitMode", [](Rig&) {},
     [](Rig& rig) {
       fd::Option request{};
       request.option_id = fd::kOptionRlimitMode;
       request.op = fd::kOptionGet;
       return rig.command(fd::kOption, request);
     }},
    {"OptionHugePages", with_ioas, set_huge_pages},
    {"VfioIoasGet", in_compat_mode,
     [](Rig& rig) {
       fd::VfioIoas request{};
       request.op = fd::kVfioIoasGet;
       return rig.command(fd::kVfioIoas, request);
     }},
    {"VfioIoasSet", mapped,
     [](Rig& rig) {
       fd::VfioIoas request{};
       request.op = fd::kVfioIoasSet;
       request.ioas_id = rig.ioas;
       return rig.command(fd::kVfioIoas, request);
     }},
    {"HwptAlloc", bound, [](Rig& rig) -> long { return rig.alloc_hwpt(static_cast<std::uint32_t>(rig.id), rig.ioas); }},
    {"GetHwInfo", bound, hw_info},
    {"GroupSetContainerToAnIommufd", [](Rig& rig) { rig.group_ = rig.open_group(Rig::kName); },
     [](Rig& rig) { return rig.set_container(rig.group_, rig.iommufd_); }},
    {"GroupGetDeviceFdOnAnIommufd",
     [](Rig& rig) {
       rig.group_ = rig.open_group(Rig::kName);
       EXPECT_EQ(rig.set_container(rig.group_, rig.iommufd_), 0);
     },
     [](Rig& rig) -> long { return rig.open_device(); }},
    {"CompatGetApiVersion", in_compat_mode, [](Rig& rig) { return rig.call(rig.iommufd_, abi::kGetApiVersion); }},
    {"CompatCheckExtension", in_compat_mode,
     [](Rig& rig) {
       return rig.call(rig.iommufd_, abi::kCheckExtension, static_cast<std::uint64_t>(abi::Extension::dma_cc));
     }},
    {"CompatSetIommu",
     [](Rig& rig) {
       rig.group_ = rig.open_group(Rig::kName);
       EXPECT_EQ(rig.set_container(rig.group_, rig.iommufd_), 0);
     },
     [](Rig& rig) {
       return rig.call(rig.iommufd_, abi::kSetIommu, static_cast<std::uint64_t>(abi::Extension::type1));
     }},
    {"CompatIommuGetInfo", in_compat_mode,
     [](Rig& rig) {
       struct {
         abi::Type1Info head;
         std::uint64_t caps[32];
       } info{};
       info.head.argsz = sizeof info;
       return rig.call(rig.iommufd_, abi::kIommuGetInfo, &info);
     }},
    {"CompatIommuMapDma", in_compat_mode, [](Rig& rig) { return rig.map(Rig::kIova, rig.user(), 4 * kPageSize); }},
    {"CompatIommuUnmapDma",
     [](Rig& rig) {
       in_compat_mode(rig);
       EXPECT_EQ(rig.map(Rig::kIova, rig.user(), 4 * kPageSize), 0);
     },
     [](Rig& rig) { return rig.unmap(Rig::kIova, 4 * kPageSize).first; }},
    {"CompatIommuUnmapDmaOfAPart",
     [](Rig& rig) {
       rig.group_ = rig.open_group(Rig::kName);
       rig.container_ = rig.iommufd_;
       EXPECT_EQ(rig.set_container(rig.group_, rig.iommufd_), 0);
       EXPECT_EQ(rig.call(rig.iommufd_, abi::kSetIommu, static_cast<std::uint64_t>(abi::Extension::type1)), 0);
       EXPECT_GT(rig.open_device(), 0);
       EXPECT_EQ(rig.map(Rig::kIova, rig.user(), 4 * kPageSize), 0);
     },
     [](Rig& rig) { return rig.unmap(Rig::kIova + kPageSize, kPageSize).first; }},
};

class IommufdFaults : public Sweep {};
TEST_P(IommufdFaults, AFailedCallChangesNothing) { run(); }
INSTANTIATE_TEST_SUITE_P(, IommufdFaults, ::testing::ValuesIn(kScenarios), name_of);

}  // namespace
}  // namespace softiommu::test
