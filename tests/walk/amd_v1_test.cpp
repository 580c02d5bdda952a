// SPDX-License-Identifier: BSD-3-Clause
// AMD v1: the engine's tables as the hardware walks them, and what the walk makes of odd ones.
#include "machine/iommu/walk/amd_v1.h"

#include "pt/formats/amd_v1.h"
#include "suite.h"
#include "tables.h"

namespace softiommu {

class AmdV1Walk : public test::WalkSuite<pt::AmdV1> {
  walk::Outcome hardware(Iova iova, Access access) override {
    return walk::amd_v1(memory(),
                        {.root = table().root(),
                         .mode = table().top_level() + 1,
                         .output_bits = config().output_bits,
                         .accessed = true,
                         .dirty = true},
                        iova, access);
  }
};
INSTANTIATE_TEST_SUITE_P(Every, AmdV1Walk, test::every_configuration<pt::AmdV1>(), test::configuration_number);

TEST_P(AmdV1Walk, AgreesWithTheEngine) { compare_random_sequences(); }
TEST_P(AmdV1Walk, WritesMakePagesDirty) { expect_dirty_after_writes(); }

class AmdV1ByHand : public test::TablesByHand {
 protected:
  static constexpr std::uint64_t kBoth = 0x6000'0000'0000'0001;
  walk::Outcome read(std::uint64_t iova, unsigned mode = 2) {
    return walk::amd_v1(memory(), {.root = root, .mode = mode, .output_bits = 48}, Iova{iova}, Access::read);
  }
  PhysAddr root = table(), leaves = table();
};

TEST_F(AmdV1ByHand, RightsAreThoseOfAllLevels) {
  put(root, 0, leaves.value | 0x2000'0000'0000'0201);  // reading only
  put(leaves, 1, 0x5000 | kBoth);
  EXPECT_EQ(read(0x1234), (walk::Page{.first = PhysAddr{0x5000}, .lg2 = 12, .read = true}));
}

TEST_F(AmdV1ByHand, TablesMaySkipLevelsWhereTheInputIsZero) {
  put(root, 0, leaves.value | kBoth | 0x200);  // level 3 points to a table of level 1
  put(leaves, 1, 0x5000 | kBoth);
  EXPECT_TRUE(read(0x1234, 3));
  EXPECT_EQ(fault_of(read(0x20'1234, 3)), walk::Fault::not_present);
}

TEST_F(AmdV1ByHand, AddressesBeyondTheLevelsAreRefused) {
  EXPECT_EQ(fault_of(read(0x4000'0000)), walk::Fault::input_range);
  EXPECT_EQ(fault_of(read(0x4000'0000, 3)), walk::Fault::not_present);
}

TEST_F(AmdV1ByHand, AnEntryMayNotPointUpwards) {
  put(root, 0, leaves.value | kBoth | 0x400);
  EXPECT_EQ(fault_of(read(0)), walk::Fault::reserved);
}

TEST_F(AmdV1ByHand, SizesOfOtherLevelsAreReserved) {
  put(root, 0, 0x6000'0000'0000'5e01);  // 16K in a table of level 2
  EXPECT_EQ(fault_of(read(0)), walk::Fault::reserved);
  put(root, 0, 0x6000'0000'005f'fe01);  // 4M
  EXPECT_EQ(read(0x1234)->lg2, 22u);
}

TEST_F(AmdV1ByHand, TheHighestLevelHasNoPages) {
  put(root, 0, kBoth);
  EXPECT_EQ(fault_of(read(0, 6)), walk::Fault::reserved);
}

TEST_F(AmdV1ByHand, ReservedBitsAndWideAddressesFault) {
  put(root, 0, kBoth | 0x0010'0000'0000'0000);
  EXPECT_EQ(fault_of(read(0)), walk::Fault::reserved);
  put(root, 0, kBoth | 0x0001'0000'0000'0000);
  EXPECT_EQ(fault_of(read(0)), walk::Fault::output_range);
}

TEST_F(AmdV1ByHand, TablesWithoutMemoryFault) {
  put(root, 0, kNothingThere.value | kBoth | 0x200);
  const auto found = read(0x3000);
  EXPECT_EQ(fault_of(found), walk::Fault::memory);
  EXPECT_EQ(found.error().entry.value, kNothingThere.value + 3 * 8);
}

TEST_F(AmdV1ByHand, HardwareMarksOnlyTheEntryItUsed) {
  for (unsigned i = 0; i < 4; ++i) put(root, i, 0x6000'0000'007f'fe01);  // 8M in four entries of 2M
  const walk::AmdV1 tables{.root = root, .mode = 2, .accessed = true, .dirty = true};
  EXPECT_FALSE(walk::amd_v1(memory(), tables, Iova{0x20'0000}, Access::read)->write);
  EXPECT_EQ(word(root, 1), 0x6000'0000'007f'fe21u);
  EXPECT_TRUE(walk::amd_v1(memory(), tables, Iova{0x40'0000}, Access::write)->write);
  EXPECT_EQ(word(root, 2), 0x6000'0000'007f'fe61u);
  EXPECT_EQ(word(root, 0), 0x6000'0000'007f'fe01u);
}

}  // namespace softiommu
