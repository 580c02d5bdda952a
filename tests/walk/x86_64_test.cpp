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

TEST_F(X86_64ByHand, AddressesThatAreNotSignExtendedUseTheHighestBit) {
  tables.sign_extended = false;
  put(root, 256, upper.value | kAll);
  put(upper, 0, 0x4000'0080 | kAll);
  EXPECT_EQ(read(0x8000'0000'0000)->first.value, 0x4000'0000u);
  EXPECT_EQ(fault_of(read(0xffff'8000'0000'0000)), walk::Fault::input_range);
  EXPECT_EQ(fault_of(read(0x1'0000'0000'0000)), walk::Fault::input_range);
}

// A guest's memory: everything where it is, but for one page that may be moved, refused or made read-only.
class OneOddPage final : public walk::NextStage {
 public:
  walk::Outcome translate(Iova guest, Access) const override {
    const Iova page{align_down(guest.value, kPageSize)};
    if (page != odd) return walk::Page{.first = PhysAddr{page.value}, .lg2 = 12, .read = true, .write = true};
    return answer;
  }
  Iova odd{1};
  walk::Outcome answer = std::unexpected(walk::Failure{.fault = walk::Fault::not_present});
};

class X86_64Nested : public X86_64ByHand {
 protected:
  void SetUp() override {
    X86_64ByHand::SetUp();
    tables.next = &guest;
    put(middle, 0, 0x20'0080 | kAll);  // 2 MiB
  }
  OneOddPage guest;
};

TEST_F(X86_64Nested, TheSmallerPageIsTheAnswerWithTheRightsOfBoth) {
  guest.odd = Iova{0x20'3000};
  guest.answer = walk::Page{.first = PhysAddr{0x7000}, .lg2 = 12, .read = true};
  EXPECT_EQ(read(0x3456), (walk::Page{.first = PhysAddr{0x7000}, .lg2 = 12, .read = true}));
  EXPECT_EQ(read(0x4456)->first.value, 0x20'4000u);
}

TEST_F(X86_64Nested, ALargerPageOfTheNextStageIsCutToTheGuests) {
  guest.odd = Iova{0x20'3000};
  guest.answer = walk::Page{.first = PhysAddr{0x4000'0000}, .lg2 = 30, .read = true, .write = true};
  EXPECT_EQ(read(0x3456)->first.value, 0x4020'0000u);
  EXPECT_EQ(read(0x3456)->lg2, 21u);
}

TEST_F(X86_64Nested, AFailureSaysWhatTheGuestWanted) {
  guest.odd = Iova{0x20'3000};
  const auto page = read(0x3456);
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().stage, 2u);
  EXPECT_EQ(page.error().input, Iova{0x20'3456});
  EXPECT_FALSE(page.error().of_table);
}

TEST_F(X86_64Nested, ATableThatCannotBeMarkedIsNotWalked) {
  guest.odd = Iova{upper.value};
  guest.answer = walk::Page{.first = upper, .lg2 = 12, .read = true};
  const auto page = read(0x3456);
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().fault, walk::Fault::permission);
  EXPECT_TRUE(page.error().of_table);
  EXPECT_EQ(page.error().input, Iova{upper.value});
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
