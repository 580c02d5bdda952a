// SPDX-License-Identifier: BSD-3-Clause
// The walk of Arm short descriptors on tables written by hand from the ARMv7 ARM B3.5, and MediaTek's.
#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "machine/iommu/walk/arm_v7s.h"
#include "machine/memory.h"

namespace softiommu::walk {
namespace {

class ArmV7sWalk : public ::testing::Test {
 protected:
  std::uint32_t& first_level(std::uint64_t iova) {
    return memory_->tables().as<std::uint32_t>(table_.root)[iova >> 20];
  }
  std::uint32_t& second_level(std::uint64_t iova, std::uint32_t table_bits = 1) {
    std::uint32_t& entry = first_level(iova);
    if (entry == 0) entry = static_cast<std::uint32_t>(memory_->tables().allocate()->value + 0x400) | table_bits;
    return memory_->tables().as<std::uint32_t>(PhysAddr{entry & 0xffff'fc00})[iova >> 12 & 255];
  }
  Outcome walk(std::uint64_t iova, Access access = Access::read) {
    return arm_v7s(*memory_, table_, Iova{iova}, access);
  }
  std::optional<Fault> fault_of(std::uint64_t iova, Access access = Access::read) {
    const Outcome outcome = walk(iova, access);
    return outcome ? std::nullopt : std::optional(outcome.error().fault);
  }
  static Page page(std::uint64_t first, unsigned lg2) { return {PhysAddr{first}, lg2, true, true, true}; }

  std::unique_ptr<Memory> memory_ = std::move(*Memory::create({.table_arena = 16 * kMiB}));
  ArmV7sTable table_{.root = *memory_->tables().allocate(16)};
};

TEST_F(ArmV7sWalk, ThereAreFourSizes) {
  second_level(0x1234'5000) = 0x8765'4032;
  second_level(0x1235'7000) = 0x8760'0031;
  first_level(0x2340'0000) = 0x8770'0c02;
  first_level(0x3470'0000) = 0x8804'0c02;
  EXPECT_EQ(walk(0x1234'5678), page(0x8765'4000, 12));
  EXPECT_EQ(walk(0x1235'7678), page(0x8760'0000, 16));
  EXPECT_EQ(walk(0x2345'6789), page(0x8770'0000, 20));
  EXPECT_EQ(walk(0x3472'3456), page(0x8800'0000, 24));
}

TEST_F(ArmV7sWalk, HolesAreAtBothLevels) {
  EXPECT_EQ(fault_of(0x1234'5000), Fault::not_present);
  EXPECT_EQ(walk(0x1234'5000).error().level, 1u);
  second_level(0x1234'5000) = 0xffff'fffc;
  EXPECT_EQ(fault_of(0x1234'5000), Fault::not_present);
  EXPECT_EQ(walk(0x1234'5000).error().level, 0u);
}

TEST_F(ArmV7sWalk, RightsAreThreeBits) {
  const struct {
    std::uint32_t ap;
    bool read, write;
  } kRows[] = {{0, false, false}, {1, false, false}, {2, true, false}, {3, true, true},
               {4, false, false}, {5, false, false}, {6, true, false}, {7, true, false}};
  for (const auto& row : kRows) {
    first_level(0) = 2 | (row.ap & 3) << 10 | row.ap >> 2 << 15;
    second_level(0x10'0000) = 2 | (row.ap & 3) << 4 | row.ap >> 2 << 9;
    second_level(0x11'0000) = 1 | (row.ap & 3) << 4 | row.ap >> 2 << 9;
    for (const std::uint64_t iova : {0x0u, 0x10'0000u, 0x11'0000u}) {
      EXPECT_EQ(walk(iova).has_value(), row.read) << row.ap;
      EXPECT_EQ(walk(iova, Access::write).has_value(), row.write) << row.ap;
    }
  }
}

TEST_F(ArmV7sWalk, WithAnAccessFlagRightsAreTwoBits) {
  table_.rights = ArmV7sTable::Rights::access_flag;
  second_level(0x1000) = 0x5022;
  EXPECT_EQ(fault_of(0x1000), Fault::access_flag);
  second_level(0x1000) = 0x5032;
  EXPECT_TRUE(walk(0x1000, Access::write));
  second_level(0x1000) = 0x5232;
  EXPECT_EQ(fault_of(0x1000, Access::write), Fault::permission);
  second_level(0x1000) = 0x5012;
  EXPECT_EQ(fault_of(0x1000), Fault::permission) << "privileged only";
}

TEST_F(ArmV7sWalk, EachSizeKeepsExecuteNeverElsewhere) {
  first_level(0) = 0x0000'0c12;
  second_level(0x10'0000) = 0x0000'0033;
  second_level(0x11'0000) = 0x0000'8031;
  for (const std::uint64_t iova : {0x0u, 0x10'0000u, 0x11'0000u}) EXPECT_FALSE(walk(iova)->execute);
}

TEST_F(ArmV7sWalk, ASmallerRootTranslatesLess) {
  table_.input_bits = 30;
  first_level(0x3ff0'0000) = 0xc02;
  EXPECT_TRUE(walk(0x3fff'ffff));
  EXPECT_EQ(fault_of(0x4000'0000), Fault::input_range);
}

TEST_F(ArmV7sWalk, SupersectionsReachBeyond4GiBWhereTheOutputDoes) {
  first_level(0) = 0x8857'0d42;  // PA 35:32 = 5, PA 39:36 = 10
  EXPECT_EQ(fault_of(0), Fault::output_range);
  table_.output_bits = 40;
  EXPECT_EQ(walk(0)->first, PhysAddr{0xa5'8800'0000});
}

TEST_F(ArmV7sWalk, ATableThatIsNotThereFaults) {
  first_level(0) = 0xf000'0001;
  EXPECT_EQ(fault_of(0x1000), Fault::memory);
  EXPECT_EQ(walk(0x1000).error().entry, PhysAddr{0xf000'0004});
  EXPECT_TRUE(walk(0x1000).error().of_table);
}

class MtkV7sWalk : public ArmV7sWalk {
 protected:
  MtkV7sWalk() {
    table_ = {.root = *memory_->tables().allocate(16),
              .input_bits = 34,
              .output_bits = 35,
              .rights = ArmV7sTable::Rights::none,
              .mediatek = true};
  }
};

TEST_F(MtkV7sWalk, EachSizeHasThreeMoreAddressBits) {
  second_level(0x3'1234'5000) = 0x8765'4e42;  // bit 9: 2^32
  second_level(0x3'1235'7000) = 0x8760'1c11;  // bit 4: 2^33
  first_level(0x2'2340'0000) = 0x877b'1022;   // bit 5: 2^34
  first_level(0x1'3470'0000) = 0x880f'1232;   // all of them
  const auto page = [](std::uint64_t first, unsigned lg2) { return Page{PhysAddr{first}, lg2, true, true, false}; };
  EXPECT_EQ(walk(0x3'1234'5678, Access::write), page(0x1'8765'4000, 12));
  EXPECT_EQ(walk(0x3'1235'7678, Access::write), page(0x2'8760'0000, 16));
  EXPECT_EQ(walk(0x2'2345'6789), page(0x4'8770'0000, 20));
  EXPECT_EQ(walk(0x1'3472'3456), page(0x7'8800'0000, 24));
  EXPECT_EQ(fault_of(0x4'0000'0000), Fault::input_range);
}

TEST_F(MtkV7sWalk, TablesHaveThemWhereTheHardwareSaysSo) {
  second_level(0x1000, 1 | 1 << 9) = 0x8765'4002;
  EXPECT_TRUE(walk(0x1000));
  table_.table_addresses = true;
  EXPECT_EQ(fault_of(0x1000), Fault::memory);
  EXPECT_EQ(walk(0x1000).error().entry.value >> 32, 1u);
}

}  // namespace
}  // namespace softiommu::walk
