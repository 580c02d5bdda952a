// SPDX-License-Identifier: BSD-3-Clause
// The register rules of an OMAP MMU, its TLB that software can load, and its faults.
#include "hw/omap_mmu.h"
#include "machine/soc_unit_fixture.h"

namespace softiommu {
namespace {

using namespace hw::omap_mmu;

constexpr std::uint32_t kPage = 0x8000'0000, kIova = 0x1234'5000;
constexpr std::uint32_t kOn = 0x2, kWalks = 0x4, kValid = 0x4, kPreserved = 0x8, kSmall = 0x2;

class OmapMmu : public SocUnit {
 protected:
  void make_mmu(const std::string& keys = {}) {
    make("omap-mmu", keys);
    root_ = table(4);
    pages_ = table();
    entry(root_, kIova >> 20) = low(pages_) | 1;
    write(kTtb.offset, low(root_));
    write(kIrqEnable.offset, 0x1f);
  }
  void map(std::uint32_t iova, std::uint32_t page) { entry(pages_, iova >> 12 & 0xff) = page | kSmall; }
  void load(unsigned place, std::uint32_t cam, std::uint32_t ram) {
    write(kLock.offset, place << 4);
    write(kCam.offset, cam);
    write(kRam.offset, ram);
    write(kLdTlb.offset, 1);
  }
  void flush_entry(std::uint32_t iova) {
    write(kCam.offset, iova);
    write(kFlushEntry.offset, 1);
  }

  PhysAddr root_, pages_;
};

TEST_F(OmapMmu, PassesAddressesWhileItIsOff) {
  make_mmu();
  EXPECT_EQ(reach(kIova), kIova);
  EXPECT_EQ(reach(0x1'0000'0000), kRefused) << "it has 32 address lines";
}

TEST_F(OmapMmu, WalksTablesOfTwoLevels) {
  make_mmu();
  map(kIova, kPage);
  entry(root_, 0x456) = 0x9000'0000 | 0x2;  // section
  write(kCntl.offset, kOn | kWalks);
  EXPECT_EQ(reach(kIova + 0x10, Access::write), kPage + 0x10u);
  EXPECT_EQ(reach(0x4567'8000), 0x9007'8000u);
}

TEST_F(OmapMmu, WithoutWalksOnlyTheTlbIsServed) {
  make_mmu();
  map(kIova, kPage);
  write(kCntl.offset, kOn);
  EXPECT_EQ(reach(kIova), kRefused);
  EXPECT_EQ(read(kIrqStatus.offset), 0x1u);
  EXPECT_EQ(read(kFaultAd.offset), kIova);
  EXPECT_THAT(lines_, ::testing::ElementsAre(0u));
  load(0, kIova | kValid | kSmall, 0xa000'0000);
  EXPECT_EQ(reach(kIova + 4), 0xa000'0004u);
}

TEST_F(OmapMmu, EachPageSizeOfCamTranslatesItsSize) {
  make_mmu();
  write(kCntl.offset, kOn);
  load(0, 0x1000'0000 | kValid | 0, 0x8010'0000);
  load(1, 0x2000'0000 | kValid | 1, 0x8021'0000);
  load(2, 0x3000'0000 | kValid | 2, 0x8032'1000);
  load(3, 0x4000'0000 | kValid | 3, 0x8100'0000);
  EXPECT_EQ(reach(0x100f'ffff), 0x801f'ffffu);
  EXPECT_EQ(reach(0x2000'ffff), 0x8021'ffffu);
  EXPECT_EQ(reach(0x3000'0fff), 0x8032'1fffu);
  EXPECT_EQ(reach(0x40ff'ffff), 0x81ff'ffffu);
  EXPECT_EQ(reach(0x3000'1000), kRefused);
}

TEST_F(OmapMmu, AnEntryIsReadBackThroughLock) {
  make_mmu();
  load(5, kIova | kValid | kPreserved | kSmall, 0xa000'0000);
  write(kLock.offset, 4 << 4);
  EXPECT_EQ(read(kReadCam.offset), 0u);
  write(kLock.offset, 5 << 4);
  EXPECT_EQ(read(kReadCam.offset), kIova | kValid | kPreserved | kSmall);
  EXPECT_EQ(read(kReadRam.offset), 0xa000'0000u);
}

TEST_F(OmapMmu, LockKeepsNoPlaceThatIsNotThere) {
  make_mmu("tlb_entries = 8");
  write(kLock.offset, 7 << 4);
  EXPECT_EQ(read(kLock.offset), 7u << 4);
  write(kLock.offset, 8 << 4);
  EXPECT_EQ(read(kLock.offset), 7u << 4);
}

TEST_F(OmapMmu, AGlobalFlushLeavesPreservedEntries) {
  make_mmu();
  write(kCntl.offset, kOn);
  load(0, 0x1000'0000 | kValid | kSmall, 0xa000'0000);
  load(1, 0x2000'0000 | kValid | kPreserved | kSmall, 0xb000'0000);
  write(kGflush.offset, 1);
  EXPECT_EQ(reach(0x1000'0000), kRefused);
  EXPECT_EQ(reach(0x2000'0000), 0xb000'0000u);
  flush_entry(0x2000'0000);
  EXPECT_EQ(reach(0x2000'0000), kRefused);
}

TEST_F(OmapMmu, FlushingAnEntryFlushesTheLargePageAroundIt) {
  make_mmu();
  write(kCntl.offset, kOn);
  load(0, 0x1000'0000 | kValid | 3, 0x8000'0000);
  flush_entry(0x1012'3000);
  EXPECT_EQ(reach(0x1000'0000), kRefused);
}

TEST_F(OmapMmu, AnUnmappedPageIsReachableUntilItIsFlushed) {
  make_mmu();
  map(kIova, kPage);
  write(kCntl.offset, kOn | kWalks);
  EXPECT_EQ(reach(kIova), kPage);
  map(kIova, kPage + 0x4000);
  EXPECT_EQ(reach(kIova), kPage);
  write(kTtb.offset, low(root_));
  EXPECT_EQ(reach(kIova), kPage) << "TTB flushes nothing";
  flush_entry(kIova);
  EXPECT_EQ(reach(kIova), kPage + 0x4000u);
}

TEST_F(OmapMmu, WalksReplaceEntriesAboveBaseOnly) {
  make_mmu("tlb_entries = 8");
  write(kCntl.offset, kOn | kWalks);
  load(0, 0x2000'0000 | kValid | kSmall, 0xb000'0000);
  write(kLock.offset, 1 << 10 | 1 << 4);
  for (std::uint32_t i = 0; i < 20; ++i) {
    map(kIova + (i << 12), kPage + (i << 12));
    EXPECT_EQ(reach(kIova + (i << 12)), kPage + (i << 12));
  }
  EXPECT_EQ(reach(0x2000'0000), 0xb000'0000u);
  EXPECT_EQ(read(kLock.offset) >> 10, 1u);
}

TEST_F(OmapMmu, TwoEntriesThatMatchAreAFault) {
  make_mmu();
  write(kCntl.offset, kOn);
  load(0, kIova | kValid | kSmall, 0xa000'0000);
  load(1, kIova | kValid | kSmall, 0xb000'0000);
  EXPECT_EQ(reach(kIova), kRefused);
  EXPECT_EQ(read(kIrqStatus.offset), 0x10u);
}

TEST_F(OmapMmu, FaultsAreToldApartAndTheFirstAddressIsKept) {
  make_mmu();
  entry(root_, 0) = 0xf000'0000 | 1;
  write(kCntl.offset, kOn | kWalks);
  EXPECT_EQ(reach(kIova), kRefused);
  EXPECT_EQ(reach(0x1000), kRefused);
  EXPECT_EQ(read(kIrqStatus.offset), 0x2u | 0x8u) << "no page, and no table";
  EXPECT_EQ(read(kFaultAd.offset), kIova);
  write(kIrqStatus.offset, 0xa);
  EXPECT_EQ(read(kIrqStatus.offset), 0u);
}

TEST_F(OmapMmu, AMaskedFaultRaisesNothing) {
  make_mmu();
  write(kIrqEnable.offset, 0);
  write(kCntl.offset, kOn);
  reach(kIova);
  EXPECT_TRUE(lines_.empty());
}

TEST_F(OmapMmu, ResetTurnsItOffAndEmptiesTheTlb) {
  make_mmu();
  write(kCntl.offset, kOn);
  load(0, kIova | kValid | kPreserved | kSmall, 0xa000'0000);
  write(kSysconfig.offset, 2);
  EXPECT_EQ(read(kCntl.offset), 0u);
  EXPECT_EQ(read(kSysstatus.offset), 1u);
  write(kCntl.offset, kOn);
  EXPECT_EQ(reach(kIova), kRefused);
}

TEST_F(OmapMmu, EachMmuIsItsOwn) {
  make_mmu("mmus = 2");
  write(kCntl.offset, kOn, 1);
  write(kIrqEnable.offset, 0x1f, 1);
  EXPECT_EQ(reach(kIova, Access::read, 0), kIova);
  EXPECT_EQ(reach(kIova, Access::read, 1), kRefused);
  EXPECT_THAT(lines_, ::testing::ElementsAre(1u));
  EXPECT_EQ(unit_->read32(2 * 0x100), ~0u) << "there is no third";
}

TEST_F(OmapMmu, ParanoidModeDoubtsWhatAWalkFilledButNotWhatSoftwareLoaded) {
  paranoid_ = true;
  make_mmu();
  map(kIova, kPage);
  write(kCntl.offset, kOn | kWalks);
  load(9, 0x2000'0000 | kValid | kSmall, 0xb000'0000);
  reach(kIova);
  reach(0x2000'0000);
  EXPECT_THAT(findings_.all(), ::testing::IsEmpty());
  map(kIova, kPage + 0x4000);
  reach(kIova);
  EXPECT_THAT(findings_.all(), ::testing::ElementsAre("mmu: stale translation: MMU 0, iova 0x12345000: the cache says "
                                                      "0x80000000 but the tables say 0x80004000; missing: "
                                                      "MMU_FLUSH_ENTRY or MMU_GFLUSH of MMU 0"));
}

}  // namespace
}  // namespace softiommu
