// SPDX-License-Identifier: BSD-3-Clause
// The register rules of a Rockchip MMU, and how it translates, caches and faults.
#include "hw/rockchip_mmu.h"
#include "machine/soc_unit_fixture.h"

namespace softiommu {
namespace {

using namespace hw::rockchip_mmu;

constexpr std::uint32_t kPage = 0x8000'0000, kIova = 0x1234'5000;
constexpr std::uint32_t kReadable = 0x3, kWritable = 0x5;

class RockchipMmu : public SocUnit {
 protected:
  void make_version(unsigned version, unsigned mmus = 1) {
    make("rockchip-iommu", "version = " + std::to_string(version) + "\nmmus = " + std::to_string(mmus));
    directory_ = table();
    pages_ = table();
    entry(directory_, kIova >> 22) = low(pages_) | 1;
  }
  void command(Command command, unsigned mmu = 0) { write(kCommand.offset, std::to_underlying(command), mmu); }
  bool has(hw::Field field, unsigned mmu = 0) { return field.is_set(read(kStatus.offset, mmu)); }
  std::uint32_t& page_word(std::uint32_t iova) { return entry(pages_, iova >> 12 & 0x3ff); }
  void turn_on(unsigned mmu = 0) {
    write(kDteAddr.offset, low(directory_), mmu);
    write(kIntMask.offset, 3, mmu);
    command(Command::enable_paging, mmu);
  }
  void map(std::uint32_t iova, std::uint32_t page, std::uint32_t rights = kReadable | kWritable) {
    page_word(iova) = page | rights;
  }

  PhysAddr directory_, pages_;
};

TEST_F(RockchipMmu, PassesAddressesWhilePagingIsOff) {
  make_version(1);
  EXPECT_EQ(reach(kIova + 5), kIova + 5);
  EXPECT_EQ(reach(0x1'0000'0000), kRefused) << "it has 32 address lines";
}

TEST_F(RockchipMmu, StatusAfterResetIsIdleAndNotStalled) {
  make_version(1);
  EXPECT_EQ(read(kStatus.offset), 0x8000'0018u);
  EXPECT_EQ(read(kDteAddr.offset), 0u);
}

TEST_F(RockchipMmu, TranslatesWithTheRightsOfThePage) {
  make_version(1);
  map(kIova, kPage, kReadable);
  turn_on();
  EXPECT_EQ(reach(kIova + 0x123), kPage + 0x123u);
  EXPECT_EQ(reach(kIova, Access::write), kRefused);
  EXPECT_TRUE(has(kStatus["PAGE_FAULT_IS_WRITE"]));
}

TEST_F(RockchipMmu, VersionTwoReachesFortyBits) {
  make_version(2);
  page_word(kIova) = kPage | 0x2 << 8 | 0x1 << 4 | kReadable;  // bits 35:32 and 39:36
  turn_on();
  EXPECT_EQ(reach(kIova), 0x12'8000'0000u);
}

TEST_F(RockchipMmu, TheDirectoryRegisterHasTheVersionsBits) {
  make_version(1);
  write(kDteAddr.offset, 0xffff'ffff);
  EXPECT_EQ(read(kDteAddr.offset), 0xffff'f000u);
  make_version(2);
  write(kDteAddr.offset, 0xffff'ffff);
  EXPECT_EQ(read(kDteAddr.offset), 0xffff'fff0u);
}

TEST_F(RockchipMmu, TheDirectoryIsNotWrittenWhilePagingGoesOn) {
  make_version(1);
  turn_on();
  write(kDteAddr.offset, 0x1000);
  EXPECT_EQ(read(kDteAddr.offset), low(directory_));
  command(Command::enable_stall);
  write(kDteAddr.offset, 0x1000);
  EXPECT_EQ(read(kDteAddr.offset), 0x1000u);
}

TEST_F(RockchipMmu, NothingStallsThatIsNotTranslated) {
  make_version(1);
  command(Command::enable_stall);
  EXPECT_FALSE(has(kStatus["STALL_ACTIVE"]));
  turn_on();
  command(Command::enable_stall);
  EXPECT_TRUE(has(kStatus["STALL_ACTIVE"]));
  EXPECT_FALSE(has(kStatus["STALL_NOT_ACTIVE"]));
  command(Command::disable_stall);
  EXPECT_FALSE(has(kStatus["STALL_ACTIVE"]));
}

TEST_F(RockchipMmu, ARequestDuringAStallThatDoesNotEndIsGivenUpWithoutAFault) {
  make_version(1);
  map(kIova, kPage);
  turn_on();
  command(Command::enable_stall);
  EXPECT_EQ(reach(kIova), kRefused);
  EXPECT_EQ(read(kIntRawstat.offset), 0u);
}

TEST_F(RockchipMmu, ResetClearsRegistersAndCache) {
  make_version(1);
  map(kIova, kPage);
  turn_on();
  EXPECT_EQ(reach(kIova), kPage);
  command(Command::force_reset);
  EXPECT_EQ(read(kDteAddr.offset), 0u);
  EXPECT_EQ(read(kIntMask.offset), 0u);
  EXPECT_EQ(reach(kIova), kIova);
}

TEST_F(RockchipMmu, APageFaultLatchesTheAddressAndWaitsForSoftware) {
  make_version(1);
  map(kIova, kPage);
  turn_on();
  EXPECT_EQ(reach(kIova + 0x7'0010, Access::write), kRefused);
  EXPECT_THAT(lines_, ::testing::ElementsAre(0u));
  EXPECT_EQ(read(kPageFaultAddr.offset), kIova + 0x7'0010u);
  EXPECT_EQ(read(kIntStatus.offset), 1u);
  EXPECT_TRUE(has(kStatus["PAGE_FAULT_ACTIVE"]));
  EXPECT_EQ(reach(kIova), kRefused) << "nobody is served";
  command(Command::page_fault_done);
  EXPECT_EQ(reach(kIova), kPage);
}

TEST_F(RockchipMmu, AMaskedFaultIsKeptButRaisesNothing) {
  make_version(1);
  turn_on();
  write(kIntMask.offset, 0);
  reach(kIova);
  EXPECT_TRUE(lines_.empty());
  EXPECT_EQ(read(kIntRawstat.offset), 1u);
  EXPECT_EQ(read(kIntStatus.offset), 0u);
  write(kIntClear.offset, 1);
  EXPECT_EQ(read(kIntRawstat.offset), 0u);
}

TEST_F(RockchipMmu, ATableThatIsNoMemoryIsABusErrorAndStopsNobody) {
  make_version(1);
  map(kIova, kPage);
  turn_on();
  entry(directory_, 0) = 0xf000'0000 | 1;
  EXPECT_EQ(reach(0), kRefused);
  EXPECT_EQ(read(kIntStatus.offset), 2u);
  EXPECT_FALSE(has(kStatus["PAGE_FAULT_ACTIVE"]));
  EXPECT_EQ(reach(kIova), kPage);
}

TEST_F(RockchipMmu, AnUnmappedPageIsReachableUntilItsLineIsZapped) {
  make_version(1);
  map(kIova, kPage);
  turn_on();
  EXPECT_EQ(reach(kIova), kPage);
  page_word(kIova) = 0;
  EXPECT_EQ(reach(kIova), kPage);
  write(kZapOneLine.offset, kIova ^ 0x10000);
  EXPECT_EQ(reach(kIova), kPage) << "another line";
  write(kZapOneLine.offset, kIova);
  EXPECT_EQ(reach(kIova), kRefused);
}

TEST_F(RockchipMmu, APageMappedBesideOneInUseIsNotSeenUntilTheLineIsZapped) {
  make_version(1);
  map(kIova, kPage);
  turn_on();
  EXPECT_EQ(reach(kIova), kPage);
  map(kIova + 0x1000, kPage + 0x1000);
  EXPECT_EQ(reach(kIova + 0x1000), kRefused);
  write(kZapOneLine.offset, kIova + 0x1000);
  command(Command::page_fault_done);
  EXPECT_EQ(reach(kIova + 0x1000), kPage + 0x1000u);
}

TEST_F(RockchipMmu, ZappingTheCacheForgetsAll) {
  make_version(1);
  map(kIova, kPage);
  turn_on();
  reach(kIova);
  map(kIova, kPage + 0x4000);
  command(Command::zap_cache);
  EXPECT_EQ(reach(kIova), kPage + 0x4000u);
}

TEST_F(RockchipMmu, EachMmuHasRegistersACacheAndAnInterruptOfItsOwn) {
  make_version(1, 2);
  map(kIova, kPage);
  turn_on(1);
  EXPECT_EQ(reach(kIova, Access::read, 0), kIova) << "the first is off";
  EXPECT_EQ(reach(kIova, Access::read, 1), kPage);
  EXPECT_EQ(reach(0, Access::read, 3), kRefused);
  EXPECT_THAT(lines_, ::testing::ElementsAre(1u));
  EXPECT_EQ(read(kIntStatus.offset, 0), 0u);
  EXPECT_EQ(unit_->read32(2 * 0x100), ~0u) << "there is no third";
}

TEST_F(RockchipMmu, ParanoidModeSaysWhichLineWasNotZapped) {
  paranoid_ = true;
  make_version(1);
  map(kIova, kPage);
  turn_on();
  reach(kIova);
  EXPECT_THAT(findings_.all(), ::testing::IsEmpty());
  map(kIova, kPage + 0x4000);
  reach(kIova);
  EXPECT_THAT(findings_.all(), ::testing::ElementsAre(
                                   "mmu: stale translation: MMU 0, iova 0x12345000: the cache says 0x80000000 but the "
                                   "tables say 0x80004000; missing: MMU_ZAP_ONE_LINE or ZAP_CACHE of MMU 0"));
}

}  // namespace
}  // namespace softiommu
