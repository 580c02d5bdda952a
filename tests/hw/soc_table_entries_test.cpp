// SPDX-License-Identifier: BSD-3-Clause
// Golden words of the table entries of SoC IOMMUs: every field at its place, written out by hand from manuals and
// drivers.
#include <gtest/gtest.h>

#include "hw/exynos_paging.h"
#include "hw/mtk_v1_paging.h"
#include "hw/omap_paging.h"
#include "hw/rockchip_paging.h"
#include "hw/sprd_paging.h"
#include "hw/sun50i_paging.h"
#include "hw/tegra_gart.h"
#include "hw/tegra_smmu_paging.h"

namespace softiommu::hw {

// TI TRMs, table "First-Level Descriptor Format".
TEST(OmapFirstLevel, FieldsStandWhereTheManualPutsThem) {
  using namespace omap_paging;
  EXPECT_EQ(kTable["TYPE"].mask(), 0x3u);
  EXPECT_EQ(kTable["ADDR"].mask(), 0xffff'fc00u);
  EXPECT_EQ(kSection["TYPE"].mask(), 0x3u);
  EXPECT_EQ(kSection["ES"].mask(), 0xc00u);
  EXPECT_EQ(kSection["E"].mask(), 0x8000u);
  EXPECT_EQ(kSection["M"].mask(), 0x2'0000u);
  EXPECT_EQ(kSection["SUPER"].mask(), 0x4'0000u);
  EXPECT_EQ(kSection["ADDR"].mask(), 0xfff0'0000u);
  EXPECT_EQ(kSupersection["ADDR"].mask(), 0xff00'0000u);
  EXPECT_EQ(kSupersection.named() & ~kSupersection["ADDR"].mask(), kSection.named() & ~kSection["ADDR"].mask());
  EXPECT_EQ(kTypeTable, 1u);
  EXPECT_EQ(kTypeSection, 2u);
}

TEST(OmapSecondLevel, FieldsStandWhereTheManualPutsThem) {
  using namespace omap_paging;
  EXPECT_EQ(kSmallPage["TYPE"].mask(), 0x3u);
  EXPECT_EQ(kSmallPage["ES"].mask(), 0x30u);
  EXPECT_EQ(kSmallPage["E"].mask(), 0x200u);
  EXPECT_EQ(kSmallPage["M"].mask(), 0x800u);
  EXPECT_EQ(kSmallPage["ADDR"].mask(), 0xffff'f000u);
  EXPECT_EQ(kLargePage["ADDR"].mask(), 0xffff'0000u);
  EXPECT_EQ(kLargePage.named() & ~kLargePage["ADDR"].mask(), kSmallPage.named() & ~kSmallPage["ADDR"].mask());
  EXPECT_EQ(kTypeLarge, 1u);
  EXPECT_EQ(kTypeSmall, 2u);
}

// The driver's words: read only is 0x8400 in a section and 0x210 in a page, read and write 0x400 and 0x10.
TEST(ExynosV1, FieldsStandWhereTheDriverPutsThem) {
  using namespace exynos_v1;
  EXPECT_EQ(kTable["ADDR"].mask(), 0xffff'fc00u);
  EXPECT_EQ(kSection["AP"].mask() | kSection["APX"].mask(), 0x8400u);
  EXPECT_EQ(kSection["AP"].mask(), 0x400u);
  EXPECT_EQ(kSection["ADDR"].mask(), 0xfff0'0000u);
  EXPECT_EQ(kLargePage["AP"].mask() | kLargePage["APX"].mask(), 0x210u);
  EXPECT_EQ(kLargePage["ADDR"].mask(), 0xffff'0000u);
  EXPECT_EQ(kSmallPage["AP"].mask() | kSmallPage["APX"].mask(), 0x210u);
  EXPECT_EQ(kSmallPage["AP"].mask(), 0x10u);
  EXPECT_EQ(kSmallPage["ADDR"].mask(), 0xffff'f000u);
}

TEST(ExynosV5, FieldsStandWhereTheDriverPutsThem) {
  using namespace exynos_v5;
  EXPECT_EQ(kAddressShift, 4u);
  EXPECT_EQ(kTable["ADDR"].mask(), 0xffff'ffc0u);
  EXPECT_EQ(kSection["READ"].mask(), 0x10u);
  EXPECT_EQ(kSection["WRITE"].mask(), 0x20u);
  EXPECT_EQ(kSection["SHARE"].mask(), 0x40u);
  EXPECT_EQ(kSection["ADDR"].mask(), 0xffff'0000u);
  EXPECT_EQ(kLargePage["ADDR"].mask(), 0xffff'f000u);
  EXPECT_EQ(kSmallPage["READ"].mask(), 0x4u);
  EXPECT_EQ(kSmallPage["WRITE"].mask(), 0x8u);
  EXPECT_EQ(kSmallPage["SHARE"].mask(), 0x10u);
  EXPECT_EQ(kSmallPage["ADDR"].mask(), 0xffff'ff00u);
}

TEST(ExynosTypes, AreOneAtOnePlaceInAllWords) {
  EXPECT_EQ(exynos_v1::kTable["TYPE"].mask(), 0x3u);
  EXPECT_EQ(exynos_v1::kSection["TYPE"].mask(), 0x3u);
  EXPECT_EQ(exynos_v1::kSmallPage["TYPE"].mask(), 0x3u);
  EXPECT_EQ(exynos_v5::kTable["TYPE"].mask(), 0x3u);
  EXPECT_EQ(exynos_v5::kLargePage["TYPE"].mask(), 0x3u);
  EXPECT_EQ(exynos_paging::kTypeTable, 1u);
  EXPECT_EQ(exynos_paging::kTypeSection, 2u);
  EXPECT_EQ(exynos_paging::kTypeLarge, 1u);
  EXPECT_EQ(exynos_paging::kTypeSmall, 2u);
}

TEST(RockchipV1, FieldsStandWhereTheDriverPutsThem) {
  using namespace rockchip_v1;
  EXPECT_EQ(kDte["VALID"].mask(), 0x1u);
  EXPECT_EQ(kDte["ADDR"].mask(), 0xffff'f000u);
  EXPECT_EQ(kPte["VALID"].mask(), 0x1u);
  EXPECT_EQ(kPte["READ"].mask(), 0x2u);
  EXPECT_EQ(kPte["WRITE"].mask(), 0x4u);
  EXPECT_EQ(kPte["OVERRIDE"].mask(), 0x8u);
  EXPECT_EQ(kPte["RALLOC"].mask(), 0x100u);
  EXPECT_EQ(kPte["ADDR"].mask(), 0xffff'f000u);
}

TEST(RockchipV2, HighAddressBitsStandInLowWordBits) {
  EXPECT_EQ(rockchip_v2::put_address(PhysAddr{0xab'1234'5000}), 0x1234'5ba0u);
  EXPECT_EQ(rockchip_v2::get_address(0x1234'5baf), PhysAddr{0xab'1234'5000});
  EXPECT_EQ(rockchip_v2::kPte["READ"].mask(), 0x2u);
  EXPECT_EQ(rockchip_v2::kPte["WRITE"].mask(), 0x4u);
  EXPECT_EQ(rockchip_v2::kPte["SECURE"].mask(), 0x8u);
  EXPECT_EQ(rockchip_v2::kDte["VALID"].mask(), 0x1u);
}

TEST(Sun50i, FieldsStandWhereTheDriverPutsThem) {
  using namespace sun50i_paging;
  EXPECT_EQ(kDte["TYPE"].mask(), 0x3u);
  EXPECT_EQ(kDte["ADDR"].mask(), 0xffff'fc00u);
  EXPECT_EQ(kPte["VALID"].mask(), 0x2u);
  EXPECT_EQ(kPte["ACI"].mask(), 0xf0u);
  EXPECT_EQ(kPte["ADDR"].mask(), 0xffff'f000u);
  EXPECT_EQ(kTypeTable, 1u);
}

// Tegra K1 TRM 16.4.4.1.
TEST(TegraSmmu, FieldsStandWhereTheManualPutsThem) {
  using namespace tegra_smmu_paging;
  EXPECT_EQ(kPde["READ"].mask(), 0x8000'0000u);
  EXPECT_EQ(kPde["WRITE"].mask(), 0x4000'0000u);
  EXPECT_EQ(kPde["NONSECURE"].mask(), 0x2000'0000u);
  EXPECT_EQ(kPde["NEXT"].mask(), 0x1000'0000u);
  EXPECT_EQ(kPde["PFN"].mask(), 0x3f'ffffu);
  EXPECT_EQ(kPte["READ"].mask(), 0x8000'0000u);
  EXPECT_EQ(kPte["WRITE"].mask(), 0x4000'0000u);
  EXPECT_EQ(kPte["NONSECURE"].mask(), 0x2000'0000u);
  EXPECT_EQ(kPte["PFN"].mask(), 0x3f'ffffu);
}

TEST(MtkV1, FieldsStandWhereTheDriverPutsThem) {
  EXPECT_EQ(mtk_v1_paging::kEntry["VALID"].mask(), 0x2u);
  EXPECT_EQ(mtk_v1_paging::kEntry["NONSECURE"].mask(), 0x8u);
  EXPECT_EQ(mtk_v1_paging::kEntry["ADDR"].mask(), 0xffff'f000u);
}

TEST(Sprd, AWordIsAPageNumber) { EXPECT_EQ(sprd_paging::kEntry["PPN"].mask(), 0xf'ffffu); }

// Tegra20 TRM, memory controller.
TEST(TegraGart, FieldsStandWhereTheManualPutsThem) {
  using namespace tegra_gart;
  EXPECT_EQ(kConfig.offset, 0x24u);
  EXPECT_EQ(kConfig["ENABLE"].mask(), 0x1u);
  EXPECT_EQ(kEntryAddr.offset, 0x28u);
  EXPECT_EQ(kEntryAddr["TABLE_ADDR"].mask(), 0x1ff'f000u);
  EXPECT_EQ(kEntryData.offset, 0x2cu);
  EXPECT_EQ(kEntryData["PHYS_ADDR_VALID"].mask(), 0x8000'0000u);
  EXPECT_EQ(kEntryData["PHYS_ADDR"].mask(), 0x7fff'f000u);
}

}  // namespace softiommu::hw
