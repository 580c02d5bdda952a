// SPDX-License-Identifier: BSD-3-Clause
// Sweeps of accesses, and of DMA-BUFs of nobody's device: what drivers do with a program's memory themselves.
#include "faults/sweep.h"

namespace softiommu::test {
namespace {

void mapped(Rig& rig) { EXPECT_EQ(rig.map_fixed(rig.ioas_, Rig::kMockIova, rig.user(), 4 * kPageSize), 0); }
template <std::uint32_t flags>
void with_access(Rig& rig) {
  mapped(rig);
  rig.access = rig.open_access(flags);
  EXPECT_GT(rig.access, 0);
}
constexpr auto with_pinning_access = with_access<tabi::kAccessNeedsPin>;
constexpr auto with_copying_access = with_access<0>;

void pinned(Rig& rig) {
  with_pinning_access(rig);
  rig.number = rig.pin(rig.access, Rig::kMockIova, 2 * kPageSize, rig.user());
  EXPECT_GE(rig.number, 0);
}
void pinned_in_a_domain(Rig& rig) {
  rig.mock = rig.mock_device(rig.ioas_);
  pinned(rig);
}
void in_two_areas(Rig& rig) {
  with_pinning_access(rig);
  EXPECT_EQ(rig.map_fixed(rig.ioas_, Rig::kMockIova + 4 * kPageSize, rig.user(8), kPageSize), 0);
}

template <std::uint32_t flags>
long copy_bytes(Rig& rig) {
  std::string text(2 * kPageSize, 'x');
  return rig.copy_bytes(rig.access, Rig::kMockIova + 8, text, flags);
}

// In a domain; not mapped yet.
void with_dma_buf(Rig& rig) {
  rig.mock = rig.mock_device(rig.ioas_);
  rig.device = rig.dma_buf(2 * kPageSize);
  EXPECT_GT(rig.device, 0);
}
void with_mapped_dma_buf(Rig& rig) {
  with_dma_buf(rig);
  EXPECT_EQ(rig.map_buffer(rig.device, 0, 2 * kPageSize), 0);
}

constexpr Scenario kScenarios[] = {
    {"CreateAccess", mapped, [](Rig& rig) -> long { return rig.open_access(); }},
    {"CreateAccessThatCopies", mapped, [](Rig& rig) -> long { return rig.open_access(0); }},
    {"AccessReplaceIoas",
     [](Rig& rig) {
       pinned(rig);
       rig.other_ioas = rig.alloc_ioas();
     },
     [](Rig& rig) { return rig.move_access(rig.access, rig.other_ioas); }},
    {"AccessPages", with_pinning_access,
     [](Rig& rig) -> long { return rig.pin(rig.access, Rig::kMockIova, 2 * kPageSize, rig.user()); }},
    {"AccessPagesInADomain", pinned_in_a_domain,
     [](Rig& rig) -> long { return rig.pin(rig.access, Rig::kMockIova, 4 * kPageSize); }},
    {"AccessPagesOfTwoAreas", in_two_areas,
     [](Rig& rig) -> long { return rig.pin(rig.access, Rig::kMockIova + 3 * kPageSize, 2 * kPageSize); }},
    {"DestroyAccessPages", pinned, [](Rig& rig) { return rig.unpin(rig.access, rig.number); }},
    {"AccessRw", with_copying_access, copy_bytes<0>},
    {"AccessRwWrites", with_copying_access, copy_bytes<tabi::kRwWrite>},
    {"AccessRwByPages", with_copying_access, copy_bytes<tabi::kRwSlow>},
    {"AccessRwWritesByPages", with_copying_access, copy_bytes<tabi::kRwWrite | tabi::kRwSlow>},
    {"IoasUnmapOfWhatIsPinned", pinned,
     [](Rig& rig) -> long { return rig.unmap_range(rig.ioas_, Rig::kMockIova, 4 * kPageSize); }},
    {"CloseOfAnAccess", pinned_in_a_domain,
     [](Rig& rig) -> long {
       rig.program_.close(static_cast<int>(rig.access));
       return 0;
     }},
    {"AddReserved", mapped,
     [](Rig& rig) {
       tabi::Command ask{};
       ask.id = rig.ioas_;
       ask.add_reserved = {Rig::kHugeIova, kPageSize};
       return rig.test(tabi::Op::add_reserved, ask);
     }},
    {"MdCheckRefs", pinned,
     [](Rig& rig) {
       tabi::Command ask{};
       ask.check_refs = {2 * kPageSize, rig.user(), 1};
       return rig.test(tabi::Op::md_check_refs, ask);
     }},
    {"SetTempMemoryLimit", [](Rig&) {},
     [](Rig& rig) {
       tabi::Command ask{};
       ask.memory_limit = {65536};
       return rig.test(tabi::Op::set_temp_memory_limit, ask);
     }},
    {"DmabufGet", [](Rig&) {}, [](Rig& rig) -> long { return rig.dma_buf(3 * kPageSize); }},
    {"DmabufRevoke", with_mapped_dma_buf, [](Rig& rig) { return rig.revoke(rig.device, true); }},
    {"IoasMapFileOfATestsDmaBuf", with_dma_buf, [](Rig& rig) { return rig.map_buffer(rig.device, 0, 2 * kPageSize); }},
    {"MockDomainOnAMappedDmaBuf", with_mapped_dma_buf,
     [](Rig& rig) {
       tabi::Command ask{};
       ask.id = rig.ioas_;
       return rig.test(tabi::Op::mock_domain, ask);
     }},
};

class AccessFaults : public Sweep {};
TEST_P(AccessFaults, AFailedCallChangesNothing) { run(); }
INSTANTIATE_TEST_SUITE_P(, AccessFaults, ::testing::ValuesIn(kScenarios), name_of);

}  // namespace
}  // namespace softiommu::test
