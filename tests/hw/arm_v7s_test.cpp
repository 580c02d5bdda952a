// SPDX-License-Identifier: BSD-3-Clause
// Golden words of Arm short descriptors, by hand from the ARMv7 ARM B3.5.1 (figures B3-4 and B3-5), and of MediaTek's
// address bits.
#include "hw/arm_v7s.h"

#include <gtest/gtest.h>

namespace softiommu::hw {

constexpr std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

TEST(ArmV7sTable, FieldsStandWhereTheManualPutsThem) {
  using arm_v7s::kTable;
  EXPECT_EQ(kTable["TYPE"].mask(), 3u);
  EXPECT_EQ(kTable["PXN"].mask(), bit(2));
  EXPECT_EQ(kTable["NS"].mask(), bit(3));
  EXPECT_EQ(kTable["DOMAIN"].mask(), 0x1e0u);
  EXPECT_EQ(kTable["ADDR"].mask(), 0xffff'fc00u);
}

TEST(ArmV7sSection, FieldsStandWhereTheManualPutsThem) {
  using arm_v7s::kSection;
  EXPECT_EQ(kSection["TYPE"].mask(), 3u);
  EXPECT_EQ(kSection["B"].mask(), bit(2));
  EXPECT_EQ(kSection["C"].mask(), bit(3));
  EXPECT_EQ(kSection["XN"].mask(), bit(4));
  EXPECT_EQ(kSection["DOMAIN"].mask(), 0x1e0u);
  EXPECT_EQ(kSection["AP0"].mask(), bit(10));
  EXPECT_EQ(kSection["AP1"].mask(), bit(11));
  EXPECT_EQ(kSection["TEX"].mask(), 0x7000u);
  EXPECT_EQ(kSection["AP2"].mask(), bit(15));
  EXPECT_EQ(kSection["S"].mask(), bit(16));
  EXPECT_EQ(kSection["nG"].mask(), bit(17));
  EXPECT_EQ(kSection["SUPER"].mask(), bit(18));
  EXPECT_EQ(kSection["NS"].mask(), bit(19));
  EXPECT_EQ(kSection["ADDR"].mask(), 0xfff0'0000u);
}

TEST(ArmV7sSupersection, FieldsStandWhereTheManualPutsThem) {
  using arm_v7s::kSupersection;
  EXPECT_EQ(kSupersection["PA39_36"].mask(), 0x1e0u);
  EXPECT_EQ(kSupersection["SUPER"].mask(), bit(18));
  EXPECT_EQ(kSupersection["PA35_32"].mask(), 0x00f0'0000u);
  EXPECT_EQ(kSupersection["ADDR"].mask(), 0xff00'0000u);
}

TEST(ArmV7sSmallPage, FieldsStandWhereTheManualPutsThem) {
  using arm_v7s::kSmall;
  EXPECT_EQ(kSmall["XN"].mask(), bit(0));
  EXPECT_EQ(kSmall["TYPE"].mask(), bit(1));
  EXPECT_EQ(kSmall["B"].mask(), bit(2));
  EXPECT_EQ(kSmall["C"].mask(), bit(3));
  EXPECT_EQ(kSmall["AP0"].mask(), bit(4));
  EXPECT_EQ(kSmall["AP1"].mask(), bit(5));
  EXPECT_EQ(kSmall["TEX"].mask(), 0x1c0u);
  EXPECT_EQ(kSmall["AP2"].mask(), bit(9));
  EXPECT_EQ(kSmall["S"].mask(), bit(10));
  EXPECT_EQ(kSmall["nG"].mask(), bit(11));
  EXPECT_EQ(kSmall["ADDR"].mask(), 0xffff'f000u);
}

TEST(ArmV7sLargePage, FieldsStandWhereTheManualPutsThem) {
  using arm_v7s::kLarge;
  EXPECT_EQ(kLarge["TYPE"].mask(), 3u);
  EXPECT_EQ(kLarge["B"].mask(), bit(2));
  EXPECT_EQ(kLarge["C"].mask(), bit(3));
  EXPECT_EQ(kLarge["AP0"].mask(), bit(4));
  EXPECT_EQ(kLarge["AP1"].mask(), bit(5));
  EXPECT_EQ(kLarge["AP2"].mask(), bit(9));
  EXPECT_EQ(kLarge["S"].mask(), bit(10));
  EXPECT_EQ(kLarge["nG"].mask(), bit(11));
  EXPECT_EQ(kLarge["TEX"].mask(), 0x7000u);
  EXPECT_EQ(kLarge["XN"].mask(), bit(15));
  EXPECT_EQ(kLarge["ADDR"].mask(), 0xffff'0000u);
}

TEST(ArmV7sMediaTek, AddressBits32To34StandInBits9And4And5) {
  using arm_v7s::kMediaTek;
  EXPECT_EQ(kMediaTek["PA32"].mask(), bit(9));
  EXPECT_EQ(kMediaTek["PA33"].mask(), bit(4));
  EXPECT_EQ(kMediaTek["PA34"].mask(), bit(5));
}

TEST(ArmV7sTypes, TellFaultTableAndLeaf) {
  using namespace arm_v7s;
  EXPECT_EQ(kTable["TYPE"].get(0x1234'5401), kTypeTable);
  EXPECT_EQ(kSection["TYPE"].get(0x1230'0c02), kTypeSection);
  EXPECT_EQ(kLarge["TYPE"].get(0x1234'0031), kTypeLarge);
  EXPECT_EQ(kLarge["TYPE"].get(0x1234'5032), kTypeSmall);
  EXPECT_EQ(kLarge["TYPE"].get(0x1234'5033), kTypeSmallXn);
  EXPECT_EQ(kTable["TYPE"].get(0xffff'fff0), kTypeFault);
}

TEST(ArmV7sSizes, AreThoseOfTheManual) {
  using namespace arm_v7s;
  EXPECT_EQ(kSmallLg2, 12u);
  EXPECT_EQ(kLargeLg2, 16u);
  EXPECT_EQ(kSectionLg2, 20u);
  EXPECT_EQ(kSupersectionLg2, 24u);
}

}  // namespace softiommu::hw
