// SPDX-License-Identifier: BSD-3-Clause
// The walk of Arm long descriptors on tables written by hand: bits and levels are written out from the Arm ARM, not
// taken from hw/arm_lpae.h.
#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "machine/iommu/walk/arm_lpae.h"
#include "machine/memory.h"

namespace softiommu::walk {
namespace {

constexpr std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

constexpr std::uint64_t kPage = 3, kBlock = 1, kTable = 3, kUser = 0x40, kReadOnly = 0x80, kAf = 0x400, kDbm = bit(51),
                        kContiguous = bit(52), kUxn = bit(54);
constexpr std::uint64_t kRights = kUser | kAf;          // stage 1: unprivileged, accessed
constexpr std::uint64_t kRead2 = 0x40, kWrite2 = 0x80;  // stage 2
constexpr std::uint64_t kRights2 = kRead2 | kWrite2 | kAf;
constexpr std::uint64_t kNothingThere = 0x70'0000'0000;

class ArmWalk : public ::testing::Test {
 protected:
  ArmStage stage(unsigned granule_lg2, unsigned input_bits, unsigned output_bits = 48) {
    ArmStage made{.granule_lg2 = granule_lg2, .input_bits = input_bits, .output_bits = output_bits};
    made.start_level = arm_start_level(input_bits, granule_lg2);
    made.table = new_table(granule_lg2);
    return made;
  }
  PhysAddr new_table(unsigned lg2) { return *memory_->tables().allocate(1u << (lg2 - 12)); }
  std::uint64_t& word(PhysAddr table, std::uint64_t index) { return memory_->tables().words(table)[index]; }

  // The entry of Arm's `level` for `iova`; tables on the way appear.
  std::uint64_t& entry(const ArmStage& of, std::uint64_t iova, int level = 3) {
    const unsigned per_level = of.granule_lg2 - 3;
    std::uint64_t at = iova & (bit(of.input_bits) - 1);
    PhysAddr table = of.table;
    for (int now = of.start_level;; ++now) {
      const unsigned shift = of.granule_lg2 + per_level * static_cast<unsigned>(3 - now);
      std::uint64_t& found = word(table, at >> shift);
      at &= bit(shift) - 1;
      if (now == level) return found;
      if (found == 0) found = new_table(of.granule_lg2).value | kTable;
      table = PhysAddr{found & 0xffff'ffff'f000};
    }
  }
  Outcome walk1(const ArmStage& stage1, std::uint64_t iova, Access access = Access::read) {
    return arm_lpae(*memory_, {.stage1 = &stage1}, Iova{iova}, access);
  }
  Outcome walk2(const ArmStage& stage2, std::uint64_t iova, Access access = Access::read) {
    return arm_lpae(*memory_, {.stage2 = &stage2}, Iova{iova}, access);
  }
  static std::optional<Fault> fault_of(const Outcome& outcome) {
    return outcome ? std::nullopt : std::optional(outcome.error().fault);
  }

  std::unique_ptr<Memory> memory_ = std::move(*Memory::create({.table_arena = 64 * kMiB}));
};

// ---- granules and levels ----

TEST_F(ArmWalk, EachGranuleHasPagesAndBlocks) {
  const struct {
    unsigned granule_lg2, block_lg2;
  } kRows[] = {{12, 21}, {14, 25}, {16, 29}};
  for (const auto& row : kRows) {
    const ArmStage table = stage(row.granule_lg2, 48);
    const std::uint64_t page = 5 * bit(row.granule_lg2), block = 3 * bit(row.block_lg2);
    entry(table, page) = 0x40'0000'0000 | kPage | kRights;
    entry(table, block, 2) = 0x50'0000'0000 | kBlock | kRights;
    EXPECT_EQ(walk1(table, page + 0x123), (Page{PhysAddr{0x40'0000'0000}, row.granule_lg2, true, true, true}));
    EXPECT_EQ(walk1(table, block + 0x12'3456), (Page{PhysAddr{0x50'0000'0000}, row.block_lg2, true, true, true}));
  }
}

TEST_F(ArmWalk, WalksStartWhereTheInputSizeSays) {
  EXPECT_EQ(arm_start_level(48, 12), 0);
  EXPECT_EQ(arm_start_level(39, 12), 1);
  EXPECT_EQ(arm_start_level(30, 12), 2);
  EXPECT_EQ(arm_start_level(52, 12), -1);
  EXPECT_EQ(arm_start_level(48, 14), 0);
  EXPECT_EQ(arm_start_level(47, 14), 1);
  EXPECT_EQ(arm_start_level(52, 16), 1);
  EXPECT_EQ(arm_start_level(42, 16), 2);
  EXPECT_EQ(arm_start_level(29, 16), 3);
}

TEST_F(ArmWalk, OneGiBBlocksAreFor4KOnlyAndNoneAreAtLevelZero) {
  const ArmStage small = stage(12, 48), middle = stage(14, 48), large = stage(16, 48);
  entry(small, 0, 1) = kBlock | kRights;
  EXPECT_EQ(walk1(small, 0x1234)->lg2, 30u);
  entry(small, bit(39), 0) = kBlock | kRights;
  EXPECT_EQ(fault_of(walk1(small, bit(39))), Fault::not_present);
  entry(middle, 0, 1) = kBlock | kRights;
  EXPECT_EQ(fault_of(walk1(middle, 0)), Fault::not_present);
  entry(large, 0, 1) = kBlock | kRights;
  EXPECT_EQ(fault_of(walk1(large, 0)), Fault::not_present) << "4 TiB blocks come with 52 bits";
}

TEST_F(ArmWalk, ABlockAtTheLastLevelIsNothing) {
  const ArmStage table = stage(12, 48);
  entry(table, 0) = 0x1000 | kBlock | kRights;
  EXPECT_EQ(fault_of(walk1(table, 0)), Fault::not_present);
  EXPECT_EQ(walk1(table, 0).error().level, 0u);
}

TEST_F(ArmWalk, AddressesBeyondTheInputSizeAreNotTranslated) {
  const ArmStage table = stage(12, 39);
  entry(table, 0) = 0x1000 | kPage | kRights;
  EXPECT_TRUE(walk1(table, 0));
  EXPECT_EQ(fault_of(walk1(table, bit(39))), Fault::input_range);
  EXPECT_EQ(fault_of(walk1({}, 0)), Fault::input_range) << "EPD: no address is translated";
}

// ---- 52 bits ----

TEST_F(ArmWalk, The64KGranuleFindsBits51To48InBits15To12) {
  const ArmStage table = stage(16, 52, 52);
  entry(table, bit(50)) = 0x1234'5678'a000 | kPage | kRights;
  EXPECT_EQ(walk1(table, bit(50))->first, PhysAddr{0xa'1234'5678'0000});
  entry(table, bit(51), 1) = 0x0400'0000'0000 | 0xf000 | kBlock | kRights;
  EXPECT_EQ(walk1(table, bit(51) + 0x1234), (Page{PhysAddr{0xf'0400'0000'0000}, 42, true, true, true}));
  entry(table, 0, 1) = 0x1'5000 | kTable;
  EXPECT_EQ(walk1(table, 0).error().entry, PhysAddr{0x5'0000'0001'0000}) << "tables, too";
}

TEST_F(ArmWalk, The64KGranuleWith48OutputBitsFaultsOnHigherOnes) {
  const ArmStage table = stage(16, 48);
  entry(table, 0) = 0x1'1000 | kPage | kRights;
  EXPECT_EQ(fault_of(walk1(table, 0)), Fault::output_range);
}

TEST_F(ArmWalk, LargeAddressesTakeThePlaceOfShareability) {
  ArmStage table = stage(12, 52, 52);
  table.large_addresses = true;
  entry(table, bit(51)) = 0x2'0000'1234'5000 | 0x300 | kPage | kRights;
  EXPECT_EQ(walk1(table, bit(51))->first, PhysAddr{0xe'0000'1234'5000});
  entry(table, bit(50), 0) = 0x80'0000'0000 | kBlock | kRights;
  EXPECT_EQ(walk1(table, bit(50)), (Page{PhysAddr{0x80'0000'0000}, 39, true, true, true}));
}

TEST_F(ArmWalk, LargeAddressesBring64GBlocksToThe16KGranule) {
  ArmStage table = stage(14, 52, 52);
  table.large_addresses = true;
  entry(table, bit(51), 1) = 0x10'0000'0000 | 0x100 | kBlock | kRights;
  EXPECT_EQ(walk1(table, bit(51) + 5), (Page{PhysAddr{0x4'0010'0000'0000}, 36, true, true, true}));
}

// ---- the upper half ----

TEST_F(ArmWalk, TheUpperHalfBeginsWithOnes) {
  ArmStage table = stage(12, 39);
  table.upper_half = true;
  const std::uint64_t iova = 0xffff'ff80'0000'1000;
  entry(table, iova) = 0x7000 | kPage | kRights;
  EXPECT_EQ(walk1(table, iova)->first, PhysAddr{0x7000});
  EXPECT_EQ(fault_of(walk1(table, 0x1000)), Fault::input_range);
  EXPECT_EQ(fault_of(walk1(table, 0xffff'ff00'0000'1000)), Fault::input_range);
}

TEST_F(ArmWalk, TheTopByteMayBeIgnoredInBothHalves) {
  for (const bool upper : {false, true}) {
    ArmStage table = stage(12, 48);
    table.top_byte_ignored = true;
    table.upper_half = upper;
    entry(table, 0x1000) = 0x7000 | kPage | kRights;
    const std::uint64_t iova = upper ? 0x00ff'0000'0000'1000 : 0x1000;
    EXPECT_TRUE(walk1(table, iova));
    EXPECT_TRUE(walk1(table, iova | bit(63) | bit(58)));
    EXPECT_EQ(fault_of(walk1(table, iova ^ bit(55))), Fault::input_range);
  }
}

// ---- rights ----

TEST_F(ArmWalk, StageOneRightsComeFromTheLeafAndTheTablesAbove) {
  const ArmStage table = stage(12, 39);
  entry(table, 0x1000) = 0x7000 | kPage | kRights | kReadOnly | kUxn;
  entry(table, 0x2000) = 0x7000 | kPage | kAf;
  entry(table, 0x20'0000) = 0x7000 | kPage | kRights;
  entry(table, 0x20'0000, 2) |= bit(62) | bit(60);  // APTable: no writes; XNTable
  EXPECT_EQ(walk1(table, 0x1000), (Page{PhysAddr{0x7000}, 12, true, false, false}));
  EXPECT_EQ(fault_of(walk1(table, 0x1000, Access::write)), Fault::permission);
  EXPECT_EQ(fault_of(walk1(table, 0x2000)), Fault::permission) << "privileged only";
  EXPECT_EQ(walk1(table, 0x20'0000), (Page{PhysAddr{0x7000}, 12, true, false, false}));
  entry(table, 0x20'0000, 2) |= bit(61);  // APTable: no unprivileged accesses
  EXPECT_EQ(fault_of(walk1(table, 0x20'0000)), Fault::permission);
}

TEST_F(ArmWalk, StageTwoHasARightForReadingAndOneForWriting) {
  const ArmStage table = stage(12, 39);
  entry(table, 0x1000) = 0x7000 | kPage | kAf | kRead2;
  entry(table, 0x2000) = 0x7000 | kPage | kAf | kWrite2;
  entry(table, 0x3000) = 0x7000 | kPage | kAf | kRead2 | bit(54);
  EXPECT_EQ(walk2(table, 0x1000), (Page{PhysAddr{0x7000}, 12, true, false, true}));
  EXPECT_EQ(fault_of(walk2(table, 0x2000)), Fault::permission);
  EXPECT_EQ(walk2(table, 0x2000, Access::write), (Page{PhysAddr{0x7000}, 12, false, true, false}));
  EXPECT_FALSE(walk2(table, 0x3000)->execute);
}

// ---- access flag and dirty state ----

TEST_F(ArmWalk, AClearAccessFlagFaultsIsIgnoredOrIsSet) {
  ArmStage table = stage(12, 39);
  entry(table, 0x1000) = 0x7000 | kPage | kUser;
  EXPECT_EQ(fault_of(walk1(table, 0x1000)), Fault::access_flag);
  table.ignore_access_flag = true;
  EXPECT_TRUE(walk1(table, 0x1000));
  EXPECT_EQ(entry(table, 0x1000) & kAf, 0u);
  table.ignore_access_flag = false;
  table.set_access_flag = true;
  EXPECT_TRUE(walk1(table, 0x1000));
  EXPECT_EQ(entry(table, 0x1000) & kAf, kAf);
}

TEST_F(ArmWalk, AWriteMakesACleanPageDirtyInBothStages) {
  ArmStage table = stage(12, 39);
  table.set_access_flag = table.set_dirty = true;
  entry(table, 0x1000) = 0x7000 | kPage | kRights | kDbm | kReadOnly;
  EXPECT_FALSE(walk1(table, 0x1000)->write) << "not yet";
  EXPECT_EQ(entry(table, 0x1000) & kReadOnly, kReadOnly);
  EXPECT_TRUE(walk1(table, 0x1000, Access::write)->write);
  EXPECT_EQ(entry(table, 0x1000) & kReadOnly, 0u);

  entry(table, 0x2000) = 0x7000 | kPage | kAf | kRead2 | kDbm;
  EXPECT_FALSE(walk2(table, 0x2000)->write);
  EXPECT_TRUE(walk2(table, 0x2000, Access::write)->write);
  EXPECT_EQ(entry(table, 0x2000) & kWrite2, kWrite2);
}

TEST_F(ArmWalk, WithoutHardwareDirtyStateACleanPageIsReadOnly) {
  const ArmStage table = stage(12, 39);
  entry(table, 0x1000) = 0x7000 | kPage | kRights | kDbm | kReadOnly;
  EXPECT_EQ(fault_of(walk1(table, 0x1000, Access::write)), Fault::permission);
}

// ---- contiguous sets ----

TEST_F(ArmWalk, AContiguousSetIsOnePage) {
  const struct {
    unsigned granule_lg2;
    int level;
    unsigned span_lg2, set_lg2;
  } kRows[] = {{12, 3, 12, 16}, {12, 2, 21, 25}, {12, 1, 30, 34}, {14, 3, 14, 21},
               {14, 2, 25, 30}, {16, 3, 16, 21}, {16, 2, 29, 34}};
  for (const auto& row : kRows) {
    const ArmStage table = stage(row.granule_lg2, 48);
    const std::uint64_t type = row.level == 3 ? kPage : kBlock, second = bit(row.set_lg2) + bit(row.span_lg2);
    entry(table, second, row.level) = 0x40'0000'0000 | bit(row.span_lg2) | type | kRights | kContiguous;
    EXPECT_EQ(walk1(table, second), (Page{PhysAddr{0x40'0000'0000}, row.set_lg2, true, true, true}));
  }
}

TEST_F(ArmWalk, AContiguousEntryAtTheWrongPlaceStandsForItself) {
  const ArmStage table = stage(12, 48);
  entry(table, 0x1000) = 0x7000 | kPage | kRights | kContiguous;
  EXPECT_EQ(walk1(table, 0x1000), (Page{PhysAddr{0x7000}, 12, true, true, true}));
}

// ---- memory and output ----

TEST_F(ArmWalk, OutputsBeyondTheOutputSizeFault) {
  const ArmStage table = stage(12, 39, 40);
  entry(table, 0) = bit(40) | kPage | kRights;
  entry(table, 0x4000'0000, 1) = bit(41) | kTable;
  EXPECT_EQ(fault_of(walk1(table, 0)), Fault::output_range);
  EXPECT_FALSE(walk1(table, 0).error().of_table);
  EXPECT_EQ(fault_of(walk1(table, 0x4000'0000)), Fault::output_range);
  EXPECT_TRUE(walk1(table, 0x4000'0000).error().of_table);
}

TEST_F(ArmWalk, ATableThatIsNotThereFaults) {
  const ArmStage table = stage(12, 39);
  entry(table, 0, 1) = kNothingThere | kTable;
  const Outcome outcome = walk1(table, 0x1000);
  EXPECT_EQ(fault_of(outcome), Fault::memory);
  EXPECT_EQ(outcome.error().entry, PhysAddr{kNothingThere});
  EXPECT_EQ(outcome.error().level, 1u);
}

// ---- stage 2 roots, and both stages ----

TEST_F(ArmWalk, ARootMayBeTablesInARow) {
  ArmStage table = stage(12, 40);
  table.start_level = 1;
  table.table = new_table(13);
  entry(table, bit(39) + 0x1000) = 0x7000 | kPage | kRights2;
  EXPECT_EQ(walk2(table, bit(39) + 0x1000)->first, PhysAddr{0x7000});
}

class NestedArmWalk : public ArmWalk {
 protected:
  NestedArmWalk() {
    entry(inner_, 0x1000) = 0x10'0000 | kPage | kRights;
    // All of the arena, at its own address.
    const std::uint64_t arena = inner_.table.value & ~(bit(21) - 1);
    for (std::uint64_t at = arena; at < arena + 64 * kMiB; at += bit(21)) entry(outer_, at, 2) = at | kBlock | kRights2;
    entry(outer_, 0x10'0000) = 0x9000 | kPage | kRights2;
  }
  Outcome walk(std::uint64_t iova, Access access = Access::read) {
    return arm_lpae(*memory_, {.stage1 = &inner_, .stage2 = &outer_}, Iova{iova}, access);
  }

  ArmStage inner_ = stage(12, 39), outer_ = stage(12, 39);
};

TEST_F(NestedArmWalk, OutputAndTablesOfStageOneGoThroughStageTwo) {
  EXPECT_EQ(walk(0x1234), (Page{PhysAddr{0x9000}, 12, true, true, true}));
}

TEST_F(NestedArmWalk, TheSmallerPageAndTheLesserRightsCount) {
  entry(inner_, 0x20'0000, 2) = 0x20'4000'0000 | kBlock | kRights;
  entry(outer_, 0x20'4000'3000) = 0x9000 | kPage | kAf | kRead2 | bit(54);
  EXPECT_EQ(walk(0x20'3123), (Page{PhysAddr{0x9000}, 12, true, false, false}));
  EXPECT_EQ(fault_of(walk(0x20'3123, Access::write)), Fault::permission);
}

TEST_F(NestedArmWalk, AFailureNamesItsStageAndItsInput) {
  EXPECT_EQ(walk(0x5000).error().stage, 1u);
  entry(outer_, 0x10'0000) = 0;
  const Failure output = walk(0x1234).error();
  EXPECT_EQ(output.stage, 2u);
  EXPECT_EQ(output.input, Iova{0x10'0234});
  EXPECT_FALSE(output.of_table);
  entry(outer_, inner_.table.value, 2) = 0;
  const Failure table = walk(0x1234).error();
  EXPECT_EQ(table.stage, 2u);
  EXPECT_EQ(table.input, Iova{inner_.table.value});
  EXPECT_TRUE(table.of_table);
}

TEST_F(NestedArmWalk, HardwareUpdatesOfStageOneAreWritesToStageTwo) {
  inner_.set_access_flag = true;
  entry(inner_, 0x1000) &= ~kAf;
  const std::uint64_t tables = inner_.table.value & ~(bit(21) - 1);
  entry(outer_, tables, 2) &= ~kWrite2;
  const Failure failure = walk(0x1234).error();
  EXPECT_EQ(failure.fault, Fault::permission);
  EXPECT_TRUE(failure.stage == 2 && failure.of_table);
  EXPECT_EQ(entry(inner_, 0x1000) & kAf, 0u);
  entry(outer_, tables, 2) |= kWrite2;
  EXPECT_TRUE(walk(0x1234));
  EXPECT_EQ(entry(inner_, 0x1000) & kAf, kAf);
}

}  // namespace
}  // namespace softiommu::walk
