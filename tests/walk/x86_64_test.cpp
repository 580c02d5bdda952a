// SPDX-License-Identifier: BSD-3-Clause
// x86-64: the engine's tables as IOMMUs walk them, and what the walk makes of odd ones.
#include "machine/iommu/walk/x86_64.h"

#include "pt/formats/x86_64.h"
#include "suite.h"
#include "tables.h"

namespace softiommu {

class X86_64Walk : public test::WalkSuite<pt::X86_64> {
  walk::Outcome hardware(Iova iova, Access access) override {
    return walk::x86_64(memory(),
                        {.root = table().root(),
                         .levels = table().top_level() + 1,
                         .output_bits = config().output_bits,
                         .large_1g = (config().page_sizes & kGiB) != 0,
                         .execute_disable = config().execute_disable},
                        iova, access);
  }
};
INSTANTIATE_TEST_SUITE_P(Every, X86_64Walk, test::every_configuration<pt::X86_64>(), test::configuration_number);

TEST_P(X86_64Walk, AgreesWithTheEngine) { compare_random_sequences(); }
TEST_P(X86_64Walk, WritesMakePagesDirty) {
  if (tracks_dirty()) expect_dirty_after_writes();
}

class X86_64ByHand : public test::TablesByHand {
 protected:
  static constexpr std::uint64_t kAll = 0x7;  // US RW P
  PhysAddr root = table(), upper = table(), middle = table(), leaves = table();
  walk::X86_64 tables{.root = root, .output_bits = 40};
  void SetUp() override {
    put(root, 0, upper.value | kAll);
    put(upper, 0, middle.value | kAll);
    put(middle, 0, leaves.value | kAll);
  }
  walk::Outcome read(std::uint64_t iova) { return walk::x86_64(memory(), tables, Iova{iova}, Access::read); }
  walk::Outcome write(std::uint64_t iova) { return walk::x86_64(memory(), tables, Iova{iova}, Access::write); }
};

TEST_F(X86_64ByHand, AddressesAreCanonical) {
  put(root, 511, upper.value | kAll);
  put(upper, 511, 0x4000'0080 | kAll);
  EXPECT_EQ(read(0xffff'ffff'ffff'f000)->lg2, 30u);
  EXPECT_EQ(fault_of(read(0x8000'0000'0000)), walk::Fault::input_range);
}

TEST_F(X86_64ByHand, FiveLevelsReachFurther) {
  const PhysAddr highest = table();
  put(highest, 1, root.value | kAll);
  put(leaves, 0, 0x5000 | kAll);
  tables.root = highest;
  tables.levels = 5;
  EXPECT_EQ(read(0x1'0000'0000'0000)->first.value, 0x5000u);
}

TEST_F(X86_64ByHand, HardwareMarksAllLevelsOnAGoodWalk) {
  put(leaves, 0, 0x5000 | kAll);
  EXPECT_FALSE(read(0)->write);  // the first write is walked again
  EXPECT_EQ(word(root, 0), upper.value | kAll | 0x20);
  EXPECT_EQ(word(middle, 0), leaves.value | kAll | 0x20);
  EXPECT_EQ(word(leaves, 0), 0x5027u);
  EXPECT_TRUE(write(0)->write);
  EXPECT_EQ(word(leaves, 0), 0x5067u);
  EXPECT_EQ(word(root, 0), upper.value | kAll | 0x20);  // D is of leaves
}

TEST_F(X86_64ByHand, AnAccessThatIsNotAllowedMarksNothing) {
  put(leaves, 0, 0x5005);  // US P
  EXPECT_FALSE(write(0)->write);
  EXPECT_EQ(word(leaves, 0), 0x5005u);
  EXPECT_EQ(word(root, 0), upper.value | kAll);
}

TEST_F(X86_64ByHand, RightsAreThoseOfAllLevels) {
  put(leaves, 0, 0x5000 | kAll);
  put(middle, 0, leaves.value | 0x5);
  EXPECT_EQ(write(0), (walk::Page{.first = PhysAddr{0x5000}, .lg2 = 12, .read = true}));
  put(middle, 0, leaves.value | 0x3);  // not the user's
  EXPECT_EQ(read(0), (walk::Page{.first = PhysAddr{0x5000}, .lg2 = 12}));
  tables.supervisor = true;
  EXPECT_TRUE(read(0)->read);
}

TEST_F(X86_64ByHand, ThePrivilegedMayIgnoreReadOnly) {
  put(leaves, 0, 0x5001);
  tables.supervisor = true;
  EXPECT_FALSE(write(0)->write);
  tables.write_protect = false;
  EXPECT_TRUE(write(0)->write);
}

TEST_F(X86_64ByHand, ExecutionIsDisabledByAnyLevel) {
  put(leaves, 0, 0x5000 | kAll);
  put(upper, 0, middle.value | kAll | 0x8000'0000'0000'0000);
  EXPECT_EQ(fault_of(read(0)), walk::Fault::reserved);
  tables.execute_disable = true;
  EXPECT_FALSE(read(0)->execute);
  put(upper, 0, middle.value | kAll);
  EXPECT_TRUE(read(0)->execute);
}

TEST_F(X86_64ByHand, ReservedBitsFault) {
  put(leaves, 0, kAll | 0x0100'0000'0000);  // beyond 40 bits
  EXPECT_EQ(fault_of(read(0)), walk::Fault::reserved);
  put(middle, 1, 0x20'2000 | 0x80 | kAll);  // a large page that is not aligned
  EXPECT_EQ(fault_of(read(0x20'0000)), walk::Fault::reserved);
  put(middle, 1, 0x20'1000 | 0x80 | kAll);  // PAT
  EXPECT_EQ(read(0x20'0000)->first.value, 0x20'0000u);
  put(root, 0, upper.value | kAll | 0x80);
  EXPECT_EQ(fault_of(read(0)), walk::Fault::reserved);
}

TEST_F(X86_64ByHand, PagesOf1GAreReservedWithoutSupport) {
  put(upper, 1, 0x4000'0080 | kAll);
  EXPECT_TRUE(read(0x4000'0000));
  tables.large_1g = false;
  EXPECT_EQ(fault_of(read(0x4000'0000)), walk::Fault::reserved);
}

}  // namespace softiommu
