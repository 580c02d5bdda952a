// SPDX-License-Identifier: BSD-3-Clause
// Apple DART, both versions: the engine's tables as the hardware walks them, and pages of which a part is allowed.
#include "machine/iommu/walk/apple_dart.h"

#include "pt/formats/apple_dart.h"
#include "suite.h"
#include "tables.h"

namespace softiommu {

// Each base register gets its table of the concatenated root.
template <class Format>
class AppleDartWalk : public test::WalkSuite<Format> {
  walk::Outcome hardware(Iova iova, Access access) override {
    const unsigned tables = std::max(1u, this->shape().root_entries >> Format::kIndexBits[0]);
    walk::AppleDart dart{.version = Format::kIsV1 ? 1u : 2u,
                         .page_lg2 = Format::kPageShift,
                         .levels = this->table().top_level() + 1,
                         .roots = {}};
    for (unsigned i = 0; i < tables; ++i)
      dart.roots[i] = this->table().root() + i * (std::uint64_t{1} << Format::kPageShift);
    return walk::apple_dart(this->memory(), dart, iova, access);
  }
};

class AppleDart1With4KWalk : public AppleDartWalk<pt::AppleDart1With4K> {};
class AppleDart1With16KWalk : public AppleDartWalk<pt::AppleDart1With16K> {};
class AppleDart2Walk : public AppleDartWalk<pt::AppleDart2> {};

using test::configuration_number, test::every_configuration;
INSTANTIATE_TEST_SUITE_P(Every, AppleDart1With4KWalk, every_configuration<pt::AppleDart1With4K>(),
                         configuration_number);
INSTANTIATE_TEST_SUITE_P(Every, AppleDart1With16KWalk, every_configuration<pt::AppleDart1With16K>(),
                         configuration_number);
INSTANTIATE_TEST_SUITE_P(Every, AppleDart2Walk, every_configuration<pt::AppleDart2>(), configuration_number);

TEST_P(AppleDart1With4KWalk, AgreesWithTheEngine) { compare_random_sequences(); }
TEST_P(AppleDart1With16KWalk, AgreesWithTheEngine) { compare_random_sequences(); }
TEST_P(AppleDart2Walk, AgreesWithTheEngine) { compare_random_sequences(); }

class AppleDartByHand : public test::TablesByHand {
 protected:
  static constexpr std::uint64_t kWhole = 0x000f'ff00'0000'0001;
  PhysAddr root = table(4), leaves = table(4);
  walk::AppleDart tables{.version = 2, .page_lg2 = 14, .levels = 2, .roots = {root}};
  walk::Outcome read(std::uint64_t iova) { return walk::apple_dart(memory(), tables, Iova{iova}, Access::read); }
  void SetUp() override { put(root, 0, leaves.value >> 4 | 1); }
};

TEST_F(AppleDartByHand, WhatIsNotForbiddenIsAllowed) {
  put(leaves, 0, 0x400 | kWhole | 4);
  EXPECT_EQ(read(0x123), (walk::Page{.first = PhysAddr{0x4000}, .lg2 = 14, .read = true}));
  put(leaves, 0, 0x400 | kWhole | 8);
  EXPECT_EQ(read(0x123), (walk::Page{.first = PhysAddr{0x4000}, .lg2 = 14, .write = true}));
}

// Units of 4 bytes in a page of 16 KiB: 0x400..0x7ff are the second 4 KiB.
TEST_F(AppleDartByHand, APartOfAPageIsAllowed) {
  put(leaves, 0, 0x4007'ff00'0000'0401);
  EXPECT_EQ(fault_of(read(0xfff)), walk::Fault::permission);
  EXPECT_EQ(read(0x1004), (walk::Page{.first = PhysAddr{0x5000}, .lg2 = 12, .read = true, .write = true}));
  EXPECT_EQ(fault_of(read(0x2000)), walk::Fault::permission);
}

TEST_F(AppleDartByHand, APartThatIsNoPowerOfTwoIsFoundInPieces) {
  put(leaves, 0, 0x4009'ff00'0000'0401);  // 4K to 10K
  EXPECT_EQ(read(0x1800)->lg2, 12u);
  EXPECT_EQ(read(0x2000)->lg2, 11u);
  EXPECT_EQ(fault_of(read(0x2800)), walk::Fault::permission);
}

TEST_F(AppleDartByHand, VersionOneCanSwitchTheLimitsOff) {
  tables.version = 1;
  put(root, 0, leaves.value | 1);
  put(leaves, 0, 0x4007'ff00'0000'8003);
  EXPECT_EQ(read(0)->lg2, 14u);
  put(leaves, 0, 0x4007'ff00'0000'8001);
  EXPECT_EQ(fault_of(read(0)), walk::Fault::permission);
}

TEST_F(AppleDartByHand, BaseRegistersThatAreNotValidMapNothing) {
  EXPECT_EQ(fault_of(read(std::uint64_t{1} << 36)), walk::Fault::not_present);
  EXPECT_EQ(fault_of(read(std::uint64_t{1} << 38)), walk::Fault::input_range);
}

TEST_F(AppleDartByHand, TablesWithoutMemoryFault) {
  put(root, 0, 1);
  EXPECT_EQ(fault_of(read(0)), walk::Fault::memory);
}

}  // namespace softiommu
