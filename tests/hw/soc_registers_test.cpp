// SPDX-License-Identifier: BSD-3-Clause
// Golden words of the registers of IOMMUs in systems on chip, written out by hand from what Linux's drivers use.
#include <gtest/gtest.h>

#include "hw/omap_mmu.h"
#include "hw/platform_dma.h"
#include "hw/rockchip_mmu.h"
#include "hw/tegra_gart.h"

namespace softiommu::hw {
namespace {

TEST(RockchipMmuWords, RegistersAreWhereLinuxHasThem) {
  using namespace rockchip_mmu;
  EXPECT_EQ(kDteAddr.offset, 0x00u);
  EXPECT_EQ(kStatus.offset, 0x04u);
  EXPECT_EQ(kCommand.offset, 0x08u);
  EXPECT_EQ(kPageFaultAddr.offset, 0x0cu);
  EXPECT_EQ(kZapOneLine.offset, 0x10u);
  EXPECT_EQ(kIntRawstat.offset, 0x14u);
  EXPECT_EQ(kIntClear.offset, 0x18u);
  EXPECT_EQ(kIntMask.offset, 0x1cu);
  EXPECT_EQ(kIntStatus.offset, 0x20u);
  EXPECT_EQ(kAutoGating.offset, 0x24u);
}

TEST(RockchipMmuWords, Bits) {
  using namespace rockchip_mmu;
  EXPECT_EQ(kStatus["PAGING_ENABLED"].mask(), 0x01u);
  EXPECT_EQ(kStatus["PAGE_FAULT_ACTIVE"].mask(), 0x02u);
  EXPECT_EQ(kStatus["STALL_ACTIVE"].mask(), 0x04u);
  EXPECT_EQ(kStatus["IDLE"].mask(), 0x08u);
  EXPECT_EQ(kStatus["REPLAY_BUFFER_EMPTY"].mask(), 0x10u);
  EXPECT_EQ(kStatus["PAGE_FAULT_IS_WRITE"].mask(), 0x20u);
  EXPECT_EQ(kStatus["STALL_NOT_ACTIVE"].mask(), 0x8000'0000u);
  EXPECT_EQ(kIntStatus["PAGE_FAULT"].mask(), 1u);
  EXPECT_EQ(kIntStatus["BUS_ERROR"].mask(), 2u);
  EXPECT_EQ(kAutoGating["DISABLE_FETCH_DTE_TIME_LIMIT"].mask(), 0x8000'0000u);
}

TEST(RockchipMmuWords, Commands) {
  using rockchip_mmu::Command;
  EXPECT_EQ(static_cast<unsigned>(Command::enable_paging), 0u);
  EXPECT_EQ(static_cast<unsigned>(Command::disable_paging), 1u);
  EXPECT_EQ(static_cast<unsigned>(Command::enable_stall), 2u);
  EXPECT_EQ(static_cast<unsigned>(Command::disable_stall), 3u);
  EXPECT_EQ(static_cast<unsigned>(Command::zap_cache), 4u);
  EXPECT_EQ(static_cast<unsigned>(Command::page_fault_done), 5u);
  EXPECT_EQ(static_cast<unsigned>(Command::force_reset), 6u);
}

TEST(RockchipMmuWords, TheDirectoryRegisterOfBothVersions) {
  EXPECT_EQ(rockchip_mmu::dte_addr(PhysAddr{0x1234'5000}, false), 0x1234'5000u);
  EXPECT_EQ(rockchip_mmu::dte_addr(PhysAddr{0x12'3456'7000}, true), 0x3456'7210u);
}

TEST(OmapMmuWords, RegistersAreWhereLinuxHasThem) {
  using namespace omap_mmu;
  EXPECT_EQ(kRevision.offset, 0x00u);
  EXPECT_EQ(kSysconfig.offset, 0x10u);
  EXPECT_EQ(kSysstatus.offset, 0x14u);
  EXPECT_EQ(kIrqStatus.offset, 0x18u);
  EXPECT_EQ(kIrqEnable.offset, 0x1cu);
  EXPECT_EQ(kWalkingSt.offset, 0x40u);
  EXPECT_EQ(kCntl.offset, 0x44u);
  EXPECT_EQ(kFaultAd.offset, 0x48u);
  EXPECT_EQ(kTtb.offset, 0x4cu);
  EXPECT_EQ(kLock.offset, 0x50u);
  EXPECT_EQ(kLdTlb.offset, 0x54u);
  EXPECT_EQ(kCam.offset, 0x58u);
  EXPECT_EQ(kRam.offset, 0x5cu);
  EXPECT_EQ(kGflush.offset, 0x60u);
  EXPECT_EQ(kFlushEntry.offset, 0x64u);
  EXPECT_EQ(kReadCam.offset, 0x68u);
  EXPECT_EQ(kReadRam.offset, 0x6cu);
  EXPECT_EQ(kEmuFaultAd.offset, 0x70u);
  EXPECT_EQ(kGpReg.offset, 0x88u);
}

TEST(OmapMmuWords, Bits) {
  using namespace omap_mmu;
  EXPECT_EQ(kIrqStatus["TLBMISS"].mask(), 0x01u);
  EXPECT_EQ(kIrqStatus["TRANSLATIONFAULT"].mask(), 0x02u);
  EXPECT_EQ(kIrqStatus["EMUMISS"].mask(), 0x04u);
  EXPECT_EQ(kIrqStatus["TABLEWALKFAULT"].mask(), 0x08u);
  EXPECT_EQ(kIrqStatus["MULTIHITFAULT"].mask(), 0x10u);
  EXPECT_EQ(kCntl["MMUENABLE"].mask(), 0x2u);
  EXPECT_EQ(kCntl["TWLENABLE"].mask(), 0x4u);
  EXPECT_EQ(kCntl["EMUTLBUPDATE"].mask(), 0x8u);
  EXPECT_EQ(kLock["VICT"].mask(), 0x01f0u);
  EXPECT_EQ(kLock["BASE"].mask(), 0x7c00u);
  EXPECT_EQ(kGpReg["BUS_ERR_BACK_EN"].mask(), 0x1u);
}

// A preserved, valid entry for the 64 KiB at 0x12340000 in 0x89ab0000, 32-bit elements, big-endian.
TEST(OmapMmuWords, ATlbEntry) {
  using namespace omap_mmu;
  EXPECT_EQ(kCam["VATAG"].in_place(0x1234'0000) | kCam["P"].put(1) | kCam["V"].put(1) | kCam["PAGESIZE"].put(1),
            0x1234'000du);
  EXPECT_EQ(kRam["PHYSADDR"].in_place(0x89ab'0000) | kRam["ENDIANNESS"].put(1) | kRam["ELEMENTSIZE"].put(2),
            0x89ab'0300u);
  EXPECT_EQ(kPageLg2[0], 20u);
  EXPECT_EQ(kPageLg2[1], 16u);
  EXPECT_EQ(kPageLg2[2], 12u);
  EXPECT_EQ(kPageLg2[3], 24u);
}

TEST(TegraGartWords, RegistersOfTheMemoryController) {
  using namespace tegra_gart;
  EXPECT_EQ(kIntStatus.offset, 0x00u);
  EXPECT_EQ(kIntMask.offset, 0x04u);
  EXPECT_EQ(kErrorReq.offset, 0x30u);
  EXPECT_EQ(kErrorAddr.offset, 0x34u);
  EXPECT_EQ(kClientCtrl.offset, 0x100u);
  EXPECT_EQ(kIntStatus["INVALID_GART_PAGE"].mask(), 0x80u);
  EXPECT_EQ(kErrorReq["CLIENT"].mask(), 0x7eu);
}

TEST(PlatformDmaWords, Registers) {
  using namespace platform_dma;
  EXPECT_EQ(kIdentification.reset, 0x0100'5d3au);
  EXPECT_EQ(kSource.offset, 0x10u);
  EXPECT_EQ(kDestination.offset, 0x18u);
  EXPECT_EQ(kCount.offset, 0x20u);
  EXPECT_EQ(kCommand.offset, 0x24u);
  EXPECT_EQ(kStatus.offset, 0x28u);
  EXPECT_EQ(kCommand["PORT"].put(2) | kCommand["IRQ"].put(1) | kCommand["START"].put(1), 0x203u);
}

}  // namespace
}  // namespace softiommu::hw
