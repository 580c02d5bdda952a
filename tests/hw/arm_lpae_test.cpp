// SPDX-License-Identifier: BSD-3-Clause
// Golden words of Arm long descriptors beyond table_entries_test: 52-bit addresses and whole words, by hand from the
// Arm ARM D8.3.
#include "hw/arm_lpae.h"

#include <gtest/gtest.h>

namespace softiommu::hw {

constexpr std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

TEST(ArmLpaeAddress, The64KGranuleKeepsBits51To48InBits15To12) {
  using arm_lpae::kAddress64K;
  EXPECT_EQ(kAddress64K["ADDR"].mask(), 0x0000'ffff'ffff'0000u);
  EXPECT_EQ(kAddress64K["HIGH"].mask(), 0xf000u);
}

TEST(ArmLpaeAddress, Lpa2KeepsBits51And50InBits9And8) {
  using arm_lpae::kAddressLpa2;
  EXPECT_EQ(kAddressLpa2["ADDR"].mask(), 0x0003'ffff'ffff'f000u);
  EXPECT_EQ(kAddressLpa2["HIGH"].mask(), bit(9) | bit(8));
}

TEST(ArmLpaeAddress, NoPieceTouchesAnAttributeOfALeaf) {
  using namespace arm_lpae;
  EXPECT_EQ(kAddress64K.named() & (kStage1.named() & ~kStage1["ADDR"].mask()), 0u);
  EXPECT_EQ(kAddressLpa2.named() & (kStage1.named() & ~kStage1["ADDR"].mask()), kStage1["SH"].mask());
  EXPECT_EQ(kAddressLpa2.named() & (kStage2.named() & ~kStage2["ADDR"].mask()), kStage2["SH"].mask());
}

TEST(ArmLpaeLeaf, ContiguousBitStandsAtTheSamePlaceInBothStages) {
  EXPECT_EQ(arm_lpae::kStage1["Contig"].mask(), bit(52));
  EXPECT_EQ(arm_lpae::kStage2["Contig"].mask(), bit(52));
}

// A page at 0x8000'0000 that unprivileged accesses may read, write-back, inner shareable, AF, nG, not executable.
TEST(ArmLpaeLeaf, AWholeStageOneWordReadsAsTheManualSays) {
  using arm_lpae::kStage1;
  constexpr std::uint64_t kWord = 0x0060'0000'8000'0fc7;
  EXPECT_EQ(kStage1["TYPE"].get(kWord), 3u);
  EXPECT_EQ(kStage1["AttrIndx"].get(kWord), 1u);
  EXPECT_TRUE(kStage1["AP1"].is_set(kWord) && kStage1["AP2"].is_set(kWord));
  EXPECT_EQ(kStage1["SH"].get(kWord), 3u);
  EXPECT_TRUE(kStage1["AF"].is_set(kWord) && kStage1["nG"].is_set(kWord));
  EXPECT_EQ(kStage1["ADDR"].in_place(kWord), 0x8000'0000u);
  EXPECT_TRUE(kStage1["PXN"].is_set(kWord) && kStage1["XN"].is_set(kWord));
  EXPECT_EQ(kWord & kStage1.unnamed(), 0u);
}

TEST(ArmLpaeLeaf, ContiguousSetsHaveTheSizesOfTheManual) {
  using namespace arm_lpae;
  EXPECT_EQ(12 + kContiguous4KLg2, 16u);              // 64K
  EXPECT_EQ(14 + kContiguous16KPagesLg2, 21u);        // 2M
  EXPECT_EQ(14 + 11 + kContiguous16KBlocksLg2, 30u);  // 1G
  EXPECT_EQ(16 + kContiguous64KLg2, 21u);             // 2M
  EXPECT_EQ(16 + 13 + kContiguous64KLg2, 34u);        // 16G
}

}  // namespace softiommu::hw
