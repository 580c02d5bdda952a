// SPDX-License-Identifier: BSD-3-Clause
// Golden words of page-table entries: every field at its place, written out by hand from the manuals.
#include <gtest/gtest.h>

#include "hw/arm_lpae.h"
#include "hw/vtd_second_stage.h"
#include "hw/x86_64_paging.h"

namespace softiommu::hw {

constexpr std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

// VT-d 9.8: bits 10, 62:52 ... are ignored by hardware or reserved, so they have no name here.
TEST(VtdSecondStageEntry, FieldsStandWhereTheManualPutsThem) {
  using vtd_second_stage::kEntry;
  EXPECT_EQ(kEntry["R"].mask(), bit(0));
  EXPECT_EQ(kEntry["W"].mask(), bit(1));
  EXPECT_EQ(kEntry["PS"].mask(), bit(7));
  EXPECT_EQ(kEntry["A"].mask(), bit(8));
  EXPECT_EQ(kEntry["D"].mask(), bit(9));
  EXPECT_EQ(kEntry["SNP"].mask(), bit(11));
  EXPECT_EQ(kEntry["ADDR"].mask(), 0x000f'ffff'ffff'f000u);
}

// SDM 3A tables 4-15 to 4-20.
TEST(X86PagingEntry, FieldsStandWhereTheManualPutsThem) {
  using x86_64_paging::kEntry;
  EXPECT_EQ(kEntry["P"].mask(), bit(0));
  EXPECT_EQ(kEntry["RW"].mask(), bit(1));
  EXPECT_EQ(kEntry["US"].mask(), bit(2));
  EXPECT_EQ(kEntry["PWT"].mask(), bit(3));
  EXPECT_EQ(kEntry["PCD"].mask(), bit(4));
  EXPECT_EQ(kEntry["A"].mask(), bit(5));
  EXPECT_EQ(kEntry["D"].mask(), bit(6));
  EXPECT_EQ(kEntry["PS"].mask(), bit(7));
  EXPECT_EQ(kEntry["G"].mask(), bit(8));
  EXPECT_EQ(kEntry["ADDR"].mask(), 0x000f'ffff'ffff'f000u);
  EXPECT_EQ(kEntry["XD"].mask(), bit(63));
}

// Arm ARM D8.3, 4 KiB granule.
TEST(ArmLpaeStage1Leaf, FieldsStandWhereTheManualPutsThem) {
  using arm_lpae::kStage1;
  EXPECT_EQ(kStage1["TYPE"].mask(), 0x3u);
  EXPECT_EQ(kStage1["AttrIndx"].mask(), 0x1cu);
  EXPECT_EQ(kStage1["NS"].mask(), bit(5));
  EXPECT_EQ(kStage1["AP1"].mask(), bit(6));
  EXPECT_EQ(kStage1["AP2"].mask(), bit(7));
  EXPECT_EQ(kStage1["SH"].mask(), 0x300u);
  EXPECT_EQ(kStage1["AF"].mask(), bit(10));
  EXPECT_EQ(kStage1["nG"].mask(), bit(11));
  EXPECT_EQ(kStage1["ADDR"].mask(), 0x0000'ffff'ffff'f000u);
  EXPECT_EQ(kStage1["DBM"].mask(), bit(51));
  EXPECT_EQ(kStage1["Contig"].mask(), bit(52));
  EXPECT_EQ(kStage1["PXN"].mask(), bit(53));
  EXPECT_EQ(kStage1["XN"].mask(), bit(54));
}

TEST(ArmLpaeStage2Leaf, FieldsStandWhereTheManualPutsThem) {
  using arm_lpae::kStage2;
  EXPECT_EQ(kStage2["MemAttr"].mask(), 0x3cu);
  EXPECT_EQ(kStage2["S2AP0"].mask(), bit(6));
  EXPECT_EQ(kStage2["S2AP1"].mask(), bit(7));
  EXPECT_EQ(kStage2["SH"].mask(), 0x300u);
  EXPECT_EQ(kStage2["AF"].mask(), bit(10));
  EXPECT_EQ(kStage2["ADDR"].mask(), 0x0000'ffff'ffff'f000u);
  EXPECT_EQ(kStage2["DBM"].mask(), bit(51));
  EXPECT_EQ(kStage2["XN"].mask(), bit(54) | bit(53));
}

TEST(ArmLpaeTable, FieldsStandWhereTheManualPutsThem) {
  using arm_lpae::kTable;
  EXPECT_EQ(kTable["ADDR"].mask(), 0x0000'ffff'ffff'f000u);
  EXPECT_EQ(kTable["PXNTable"].mask(), bit(59));
  EXPECT_EQ(kTable["XNTable"].mask(), bit(60));
  EXPECT_EQ(kTable["APTable"].mask(), bit(62) | bit(61));
  EXPECT_EQ(kTable["NSTable"].mask(), bit(63));
}

}  // namespace softiommu::hw
