// SPDX-License-Identifier: BSD-3-Clause
// Sweeps on the mock IOMMU: nested page tables, virtual IOMMUs and their devices, queues, PASIDs, accesses.
#include "faults/sweep.h"

namespace softiommu::test {
namespace {

void mapped(Rig& rig) {
  rig.mock = rig.mock_device(rig.ioas_);
  EXPECT_EQ(rig.map_fixed(rig.ioas_, Rig::kMockIova, rig.user(), 4 * kPageSize), 0);
}
void with_parent(Rig& rig) {
  mapped(rig);
  rig.parent = rig.nest_parent(rig.mock);
}
void with_viommu(Rig& rig) {
  with_parent(rig);
  rig.id = rig.viommu(rig.mock, rig.parent);
  EXPECT_GT(rig.id, 0);
}
void with_nested(Rig& rig) {
  with_parent(rig);
  rig.id = rig.nested(rig.mock, rig.parent);
}

long fault_queue(Rig& rig) {
  fd::FaultQueueAlloc request{};
  return rig.command(fd::kFaultQueueAlloc, request);
}
long veventq(Rig& rig) {
  fd::VeventqAlloc request{};
  request.viommu_id = static_cast<std::uint32_t>(rig.id);
  request.type = mabi::kVeventqType;
  request.veventq_depth = 2;
  return rig.command(fd::kVeventqAlloc, request);
}

constexpr Scenario kScenarios[] = {
    {"MockDomain", [](Rig&) {},
     [](Rig& rig) {
       tabi::Command ask{};
       ask.id = rig.ioas_;
       return rig.test(tabi::Op::mock_domain, ask);
     }},
    {"IoasMap", [](Rig& rig) { rig.mock = rig.mock_device(rig.ioas_); },
     [](Rig& rig) { return rig.map_fixed(rig.ioas_, Rig::kMockIova, rig.user(), 4 * kPageSize); }},
    {"IoasUnmap", mapped, [](Rig& rig) -> long { return rig.unmap_range(rig.ioas_, Rig::kMockIova, 4 * kPageSize); }},
    {"Replace",
     [](Rig& rig) {
       mapped(rig);
       rig.other_ioas = rig.alloc_ioas();
       EXPECT_EQ(rig.map_fixed(rig.other_ioas, Rig::kMockIova, rig.user(8), kPageSize), 0);
     },
     [](Rig& rig) { return rig.move(rig.mock, rig.other_ioas); }},
    {"HwptAllocNestParent", mapped,
     [](Rig& rig) -> long { return rig.alloc_hwpt(rig.mock.id, rig.ioas_, fd::kHwptNestParent); }},
    {"HwptAllocNested", with_parent,
     [](Rig& rig) -> long { return rig.hwpt(rig.nested_request(rig.mock, rig.parent)); }},
    {"HwptAllocNestedOnAViommu", with_viommu,
     [](Rig& rig) -> long { return rig.hwpt(rig.nested_request(rig.mock, static_cast<std::uint32_t>(rig.id))); }},
    {"ReplaceByANestedOne", with_nested,
     [](Rig& rig) { return rig.move(rig.mock, static_cast<std::uint32_t>(rig.id)); }},
    {"ViommuAlloc", with_parent, [](Rig& rig) -> long { return rig.viommu(rig.mock, rig.parent); }},
    {"VdeviceAlloc", with_viommu,
     [](Rig& rig) -> long { return rig.vdevice(static_cast<std::uint32_t>(rig.id), rig.mock, 5); }},
    {"FaultQueueAlloc", [](Rig&) {}, fault_queue},
    {"VeventqAlloc", with_viommu, veventq},
    {"DestroyOfAViommu", with_viommu, [](Rig& rig) { return rig.destroy(static_cast<std::uint32_t>(rig.id)); }},
    {"DestroyOfADevice", mapped, [](Rig& rig) { return rig.destroy(rig.mock.object); }},
};

class MockFaults : public Sweep {};
TEST_P(MockFaults, AFailedCallChangesNothing) { run(); }
INSTANTIATE_TEST_SUITE_P(, MockFaults, ::testing::ValuesIn(kScenarios), name_of);

}  // namespace
}  // namespace softiommu::test
