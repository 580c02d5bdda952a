// SPDX-License-Identifier: BSD-3-Clause
// Sweeps of what containers and groups are asked.
#include "faults/sweep.h"

namespace softiommu::test {
namespace {

constexpr const char* kOther = "0000:00:03.0";

void attached(Rig& rig) { rig.attach(); }
void mapped(Rig& rig) {
  rig.attach();
  EXPECT_EQ(rig.map(Rig::kIova, rig.user(), 4 * kPageSize), 0);
}
void opened(Rig& rig) {
  rig.container_ = rig.open_container();
  rig.group_ = rig.open_group(Rig::kName);
}

constexpr Scenario kScenarios[] = {
    {"OpenContainer", [](Rig&) {}, [](Rig& rig) -> long { return rig.open_container(); }},
    {"GetApiVersion", opened, [](Rig& rig) { return rig.call(rig.container_, abi::kGetApiVersion); }},
    {"CheckExtension", attached,
     [](Rig& rig) {
       return rig.call(rig.container_, abi::kCheckExtension, static_cast<std::uint64_t>(abi::Extension::dma_cc));
     }},
    {"OpenGroup", [](Rig&) {}, [](Rig& rig) -> long { return rig.open_group(Rig::kName); }},
    {"GroupGetStatus", opened,
     [](Rig& rig) {
       abi::GroupStatus status{sizeof status, 0};
       return rig.call(rig.group_, abi::kGroupGetStatus, &status);
     }},
    {"GroupSetContainer", opened, [](Rig& rig) { return rig.set_container(rig.group_, rig.container_); }},
    {"GroupSetContainerWithIommu",
     [](Rig& rig) {
       mapped(rig);
       rig.device = rig.open_group(kOther);
     },
     [](Rig& rig) { return rig.set_container(rig.device, rig.container_); }},
    {"GroupUnsetContainer", mapped, [](Rig& rig) { return rig.call(rig.group_, abi::kGroupUnsetContainer); }},
    {"SetIommu",
     [](Rig& rig) {
       opened(rig);
       EXPECT_EQ(rig.set_container(rig.group_, rig.container_), 0);
     },
     [](Rig& rig) {
       return rig.call(rig.container_, abi::kSetIommu, static_cast<std::uint64_t>(abi::Extension::type1_v2));
     }},
    {"SetIommuForTwoGroups",
     [](Rig& rig) {
       opened(rig);
       EXPECT_EQ(rig.set_container(rig.group_, rig.container_), 0);
       EXPECT_EQ(rig.set_container(rig.open_group(kOther), rig.container_), 0);
     },
     [](Rig& rig) {
       return rig.call(rig.container_, abi::kSetIommu, static_cast<std::uint64_t>(abi::Extension::type1));
     }},
    {"IommuGetInfo", mapped,
     [](Rig& rig) {
       struct {
         abi::Type1Info head;
         std::uint64_t caps[32];
       } info{};
       info.head.argsz = sizeof info;
       return rig.call(rig.container_, abi::kIommuGetInfo, &info);
     }},
    {"IommuMapDma", attached, [](Rig& rig) { return rig.map(Rig::kIova, rig.user(), 4 * kPageSize); }},
    {"IommuMapDmaBesideAnother", mapped,
     [](Rig& rig) { return rig.map(Rig::kIova + 4 * kPageSize, rig.user(8), kPageSize); }},
    {"IommuMapDmaForTwoGroups",
     [](Rig& rig) {
       attached(rig);
       EXPECT_EQ(rig.add(kOther), 0);
     },
     [](Rig& rig) { return rig.map(Rig::kHugeIova, rig.user(), 16 * kPageSize); }},
    {"IommuUnmapDma", mapped, [](Rig& rig) { return rig.unmap(Rig::kIova, 4 * kPageSize).first; }},
    {"IommuUnmapDmaAll", mapped, [](Rig& rig) { return rig.unmap(0, 0, abi::kUnmapAll).first; }},
    {"IommuUnmapDmaVaddr", mapped,
     [](Rig& rig) { return rig.unmap(Rig::kIova, 4 * kPageSize, abi::kUnmapVaddr).first; }},
    {"IommuUnmapDmaWithBitmap",
     [](Rig& rig) {
       mapped(rig);
       const abi::DirtyPages start{sizeof start, abi::kDirtyStart};
       EXPECT_EQ(rig.call(rig.container_, abi::kIommuDirtyPages, &start), 0);
     },
     [](Rig& rig) {
       const struct {
         abi::DmaUnmap head;
         abi::Bitmap bitmap;
       } request{{sizeof request, abi::kUnmapGetDirtyBitmap, Rig::kIova, 4 * kPageSize},
                 {kPageSize, sizeof(std::uint64_t), rig.user(60)}};
       return rig.call(rig.container_, abi::kIommuUnmapDma, &request);
     }},
    {"IommuDirtyPagesStart", mapped,
     [](Rig& rig) {
       const abi::DirtyPages start{sizeof start, abi::kDirtyStart};
       return rig.call(rig.container_, abi::kIommuDirtyPages, &start);
     }},
    {"IommuDirtyPagesGetBitmap",
     [](Rig& rig) {
       mapped(rig);
       const abi::DirtyPages start{sizeof start, abi::kDirtyStart};
       EXPECT_EQ(rig.call(rig.container_, abi::kIommuDirtyPages, &start), 0);
     },
     [](Rig& rig) {
       const struct {
         abi::DirtyPages head;
         abi::DirtyRange range;
       } request{{sizeof request, abi::kDirtyGetBitmap},
                 {Rig::kIova, 4 * kPageSize, {kPageSize, sizeof(std::uint64_t), rig.user(60)}}};
       return rig.call(rig.container_, abi::kIommuDirtyPages, &request);
     }},
    {"GroupGetDeviceFd", mapped, [](Rig& rig) -> long { return rig.open_device(); }},
    {"CloseOfContainerAndGroup", mapped,
     [](Rig& rig) -> long {
       rig.program_.close(rig.container_);
       rig.program_.close(rig.group_);
       return 0;
     }},
};

class ContainerFaults : public Sweep {};
TEST_P(ContainerFaults, AFailedCallChangesNothing) { run(); }
INSTANTIATE_TEST_SUITE_P(, ContainerFaults, ::testing::ValuesIn(kScenarios), name_of);

}  // namespace
}  // namespace softiommu::test
