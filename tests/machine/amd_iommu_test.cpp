// SPDX-License-Identifier: BSD-3-Clause
// The AMD IOMMU model: registers, device table, host and guest tables, and the events of what they refuse.
#include "machine/amd_iommu_fixture.h"

namespace softiommu::test {
namespace {

using namespace amd;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// ---- Registers --------------------------------------------------------------------------------------------------

TEST_F(AmdIommuTest, FeaturesFollowFromTheMachineFile) {
  EXPECT_EQ(r64(kEfr) >> 10 & 3, 2u) << "six levels";
  EXPECT_EQ(r64(kEfr) >> 4 & 1, 1u) << "guest tables";
  EXPECT_EQ(r64(kEfr) >> 32 & 31, 15u) << "16 bits of PASID";
  EXPECT_EQ(r64(kEfr) >> 52 & 1, 0u) << "no dirty bits";
  power_on({{"host_levels", 0}, {"guest_levels", 2}, {"gcr3_levels", 3}, {"pasid_bits", 20}, {"page_requests", 0}});
  EXPECT_EQ(r64(kEfr) >> 10 & 3, 3u) << "no host tables";
  EXPECT_EQ(r64(kEfr) >> 12 & 3, 1u) << "five levels";
  EXPECT_EQ(r64(kEfr) >> 14 & 3, 2u);
  EXPECT_EQ(r64(kEfr) >> 32 & 31, 19u);
  EXPECT_EQ(r64(kEfr) & 2, 0u);
  power_on({{"guest_levels", 0}, {"dirty", 2}});
  EXPECT_EQ(r64(kEfr) >> 4 & 1, 0u);
  EXPECT_EQ(r64(kEfr) >> 49 & 9, 9u) << "HASup and HDSup";
}

TEST_F(AmdIommuTest, AUnitWithoutAnyTablesIsNoUnit) {
  const UnitModel model = amd_iommu_unit_model();
  Options options(model.options);
  options.set("host_levels", 0);
  options.set("guest_levels", 0);
  EXPECT_FALSE(model.check(options));
  options.set("guest_levels", 1);
  EXPECT_TRUE(model.check(options));
  options.set("domain_ids", 2);
  EXPECT_FALSE(model.check(options)) << "the driver needs two for itself";
}

TEST_F(AmdIommuTest, HalvesOfARegisterAreWrittenOneByOne) {
  unit_->write32(kEvtBase + 4, 0x0900'0001);
  unit_->write32(kEvtBase, 0x2345'6000);
  EXPECT_EQ(r64(kEvtBase), 0x0900'0001'2345'6000u);
  EXPECT_EQ(unit_->read32(kEvtBase + 4), 0x0900'0001u);
  EXPECT_EQ(unit_->read(kEvtBase, 2), 0u) << "no such width";
}

TEST_F(AmdIommuTest, FeaturesAreReadOnlyAndReservedBitsStayZero) {
  const std::uint64_t features = r64(kEfr);
  w64(kEfr, ~features);
  EXPECT_EQ(r64(kEfr), features);
  w64(kDevTab, ~std::uint64_t{0});
  EXPECT_EQ(r64(kDevTab), 0x000f'ffff'ffff'f1ffu);
  EXPECT_EQ(r64(0x3000), 0u);
}

TEST_F(AmdIommuTest, WhileItIsOffAllAddressesPass) {
  EXPECT_EQ(where(0x1234'5678), 0x1234'5678u);
  start();
  EXPECT_EQ(where(0x1234'5678), std::nullopt);
  turn_off(kOn);
  EXPECT_EQ(where(0x1234'5678), 0x1234'5678u);
}

TEST_F(AmdIommuTest, AResetForgetsEverything) {
  attach_host();
  map(0x1000, 0x8000'1000);
  ASSERT_EQ(where(0x1000), 0x8000'1000u);
  unit_->reset();
  EXPECT_EQ(r64(kControl), 0u);
  EXPECT_EQ(status(), 0u);
  EXPECT_EQ(where(0x1000), 0x1000u);
}

TEST_F(AmdIommuTest, WhatRunsNeedsItsOwnBitAndTheUnits) {
  turn_on(kEvents | kCommands | kPprLog);
  EXPECT_EQ(status(), 0u);
  turn_on(kOn);
  EXPECT_EQ(status(), kEventRun | kCommandRun | kPprRun);
  turn_off(kEvents);
  EXPECT_EQ(status(), kCommandRun | kPprRun);
}

// ---- Device table -----------------------------------------------------------------------------------------------

TEST_F(AmdIommuTest, AnEntryThatIsNotValidLetsAddressesPass) {
  start();
  set_dte(0);
  EXPECT_EQ(where(0x1234'5678, Access::write), 0x1234'5678u);
  EXPECT_THAT(events(), IsEmpty());
}

TEST_F(AmdIommuTest, AnEntryWithoutATranslationRefuses) {
  start();
  set_dte(kV, kDomain);
  EXPECT_EQ(event_of_read(0x1000), page_fault(0x1000));
}

TEST_F(AmdIommuTest, ModeZeroPassesWithTheEntrysRights) {
  start();
  set_dte(kV | kTv | kIr);
  EXPECT_EQ(where(0x1234'5678), 0x1234'5678u);
  EXPECT_EQ(where(0x1234'5678, Access::write), std::nullopt);
  EXPECT_THAT(events(), ElementsAre(page_fault(0x1234'5678, kPr | kPe | kRw)));
}

TEST_F(AmdIommuTest, TheEntrysRightsLimitThoseOfTheTable) {
  attach_host();
  map(0x1000, 0x8000'1000);
  set_dte(kV | kTv | kIr | mode(3) | top_);
  EXPECT_EQ(where(0x1000), 0x8000'1000u);
  EXPECT_EQ(where(0x1000, Access::write), std::nullopt);
}

TEST_F(AmdIommuTest, ADeviceBeyondTheTableIsIllegal) {
  start();
  EXPECT_EQ(where(0x1000, Access::read, 0, 0x100), std::nullopt);
  EXPECT_THAT(events(), ElementsAre(AmdEvent{kIllegalDte, 0x100, 0, 0, 0x1000}));
}

TEST_F(AmdIommuTest, ATableThatIsNotThereIsAHardwareError) {
  start();
  w64(kDevTab, kNothingThere | 1);
  invalidate_device();
  EXPECT_EQ(event_of_read(0x1000), (AmdEvent{kDevTabError, kDevice, 0, kAbort, 0x1000}));
}

// Reserved bits of each word, and bits of what the unit has not.
TEST_F(AmdIommuTest, ReservedBitsOfAnEntryAreIllegal) {
  start();
  constexpr std::uint64_t kGood = kV | kTv | kRights;
  for (const std::uint64_t bit : {std::uint64_t{1} << 2, std::uint64_t{1} << 6, std::uint64_t{1} << 63}) {
    set_dte(kGood | bit);
    EXPECT_EQ(event_of_read(0x1000), illegal(kRz)) << std::hex << bit;
  }
  set_dte(kGood, kDomain, std::uint64_t{1} << 52);
  EXPECT_EQ(event_of_read(0x1000), illegal(kRz));
  for (const std::uint64_t keeps : {kAccessed, kDirty, std::uint64_t{0x100}}) {
    set_dte(kGood | keeps);
    EXPECT_EQ(event_of_read(0x1000), illegal(kRz)) << "HAD without HASup";
  }
}

TEST_F(AmdIommuTest, AnEntryMayNotUseWhatTheUnitHasNot) {
  power_on({{"guest_levels", 0}, {"page_requests", 0}, {"domain_ids", 4}});
  start();
  set_dte(kV | kTv | kRights | kGv);
  EXPECT_EQ(event_of_read(0x1000).flags, kRz);
  set_dte(kV | kTv | kRights | kMayRequest, 3);
  EXPECT_EQ(event_of_read(0x1000).code, kIllegalDte);
  set_dte(kV | kTv | kRights, 4);
  EXPECT_EQ(event_of_read(0x1000).code, kIllegalDte) << "ids 0 to 3";
  set_dte(kV | kTv | kRights, 3);
  EXPECT_TRUE(where(0x1000));
}

TEST_F(AmdIommuTest, GuestTranslationMustBeOn) {
  attach_guest();
  map_guest(0x1000, 0x8000'1000);
  ASSERT_EQ(where(0x1000), 0x8000'1000u);
  turn_off(kGuest);
  invalidate_device();
  EXPECT_EQ(event_of_read(0x1000).code, kIllegalDte);
}

TEST_F(AmdIommuTest, LevelsThatTheUnitHasNotAreIllegalWithoutReservedBits) {
  power_on({{"host_levels", 1}});
  start();
  set_dte(kV | kTv | kRights | mode(5) | new_table());
  EXPECT_EQ(event_of_read(0x1000), illegal(0));
  set_dte(kV | kTv | kRights | mode(7) | new_table());
  EXPECT_EQ(event_of_read(0x1000), illegal(0));
  power_on();
  attach_guest(kGiov | 2 * kGlx);
  EXPECT_EQ(event_of_read(0x1000), illegal(0)) << "two levels of GCR3 tables";
  attach_guest(kGiov, std::uint64_t{1} << 54);
  EXPECT_EQ(event_of_read(0x1000), illegal(0)) << "four levels of guest tables";
}

TEST_F(AmdIommuTest, SuppressAllMakesPageFaultsSilent) {
  start();
  set_dte(kV | kTv | kRights | mode(3) | new_table(), kDomain | kSa);
  EXPECT_FALSE(where(0x1000));
  EXPECT_THAT(events(), IsEmpty());
  EXPECT_THAT(interrupts_, IsEmpty());
  set_dte(kV | kTv | kRights | mode(7), kDomain | kSa);
  EXPECT_FALSE(where(0x1000));
  EXPECT_THAT(events(), ElementsAre(illegal(0))) << "not page faults alone";
}

TEST_F(AmdIommuTest, SuppressAfterTheFirstUntilTheEntryIsInvalidated) {
  start();
  set_dte(kV | kTv | kRights | mode(3) | new_table(), kDomain | kSe);
  EXPECT_FALSE(where(0x1000));
  EXPECT_FALSE(where(0x2000));
  EXPECT_THAT(events(), ElementsAre(page_fault(0x1000)));
  invalidate_device();
  EXPECT_FALSE(where(0x3000));
  EXPECT_THAT(events(), ElementsAre(page_fault(0x3000)));
}

TEST_F(AmdIommuTest, AnEntryIsKeptUntilItIsInvalidated) {
  attach_host();
  map(0x1000, 0x8000'1000);
  ASSERT_TRUE(where(0x1000));
  word(devices_, 4 * kDevice) = kV;
  EXPECT_TRUE(where(0x1000));
  invalidate_device(kDevice + 1);
  EXPECT_TRUE(where(0x1000));
  invalidate_device();
  EXPECT_FALSE(where(0x1000));
}

TEST_F(AmdIommuTest, ParanoidModeNamesAForgottenEntry) {
  power_on({}, true);
  attach_host();
  map(0x1000, 0x8000'1000);
  ASSERT_TRUE(where(0x1000));
  word(devices_, 4 * kDevice) = kV;
  EXPECT_TRUE(where(0x1000));
  EXPECT_THAT(findings_.all(), ElementsAre(::testing::HasSubstr("INVALIDATE_DEVTAB_ENTRY")));
}

// ---- Special addresses ------------------------------------------------------------------------------------------

TEST_F(AmdIommuTest, InterruptAndHyperTransportAddressesAreNoMemory) {
  start();
  set_dte(kV | kTv | kRights);
  EXPECT_EQ(event_of_read(0xfee0'0000), (AmdEvent{kInvalidRequest, kDevice, kDomain, 0, 0xfee0'0000}));
  EXPECT_EQ(event_of_read(0xfd'0000'0000), (AmdEvent{kInvalidRequest, kDevice, kDomain, 0x600, 0xfd'0000'0000}));
  EXPECT_EQ(where(0xfedf'f000), 0xfedf'f000u);
  EXPECT_EQ(where(0xfef0'0000), 0xfef0'0000u);
  EXPECT_EQ(where(0x100'0000'0000), 0x100'0000'0000u);
}

TEST_F(AmdIommuTest, AUnitMayIgnoreTheHyperTransportRange) {
  power_on({{"hypertransport", 0}});
  start();
  set_dte(kV | kTv | kRights);
  EXPECT_EQ(where(0xfd'0000'0000), 0xfd'0000'0000u);
}

TEST_F(AmdIommuTest, ALargePageBesideInterruptsIsHandedOutInPieces) {
  attach_host();
  entry(0xfee0'0000, 2) = 0x8000'0000 | 1 | kRights;  // 2 MiB, half of it interrupts
  EXPECT_FALSE(where(0xfee0'1000));
  const auto page = dma(0xfef0'1000);
  ASSERT_TRUE(page);
  EXPECT_EQ(page->page_lg2, 12u);
  EXPECT_EQ(page->page, PhysAddr{0x8010'1000});
}

TEST_F(AmdIommuTest, TheExclusionRangeIsNotTranslated) {
  attach_host();
  w64(kExclBase, 0x5000 | 3);
  w64(kExclLimit, 0x6000);
  EXPECT_FALSE(where(0x4000));
  EXPECT_EQ(where(0x5123), 0x5123u);
  EXPECT_EQ(where(0x6fff), 0x6fffu);
  EXPECT_FALSE(where(0x7000));
  w64(kExclBase, 0x5000);
  EXPECT_FALSE(where(0x5123));
}

TEST_F(AmdIommuTest, WithoutAllowItIsForDevicesThatSaySo) {
  attach_host();
  w64(kExclBase, 0x5000 | 1);
  w64(kExclLimit, 0x5000);
  EXPECT_FALSE(where(0x5000));
  set_dte(kV | kTv | kRights | mode(3) | top_, kDomain | kEx);
  EXPECT_EQ(where(0x5000), 0x5000u);
}

TEST_F(AmdIommuTest, FirmwareLeavesAnExclusionRange) {
  power_on({{"exclusion_base", 0x10'0000}, {"exclusion_bytes", 0x3000}});
  EXPECT_EQ(r64(kExclBase), 0x10'0003u);
  EXPECT_EQ(r64(kExclLimit), 0x10'2000u);
}

// ---- Host tables ------------------------------------------------------------------------------------------------

TEST_F(AmdIommuTest, EveryNumberOfLevelsIsWalked) {
  start();
  for (unsigned levels = 1; levels <= 6; ++levels) {
    top_ = new_table();
    set_dte(kV | kTv | kRights | mode(levels) | top_, levels);
    const std::uint64_t iova = levels == 6 ? 0x1000'0000'0000'3000 : std::uint64_t{3} << (12 + 9 * (levels - 1));
    entry(iova, 1, levels) = 0x8000'3000 | kPage;
    EXPECT_EQ(where(iova + 0x123), 0x8000'3123u) << levels;
    if (levels < 6) {
      EXPECT_FALSE(where(iova | std::uint64_t{1} << (12 + 9 * levels))) << levels << ": beyond its reach";
    }
  }
}

TEST_F(AmdIommuTest, PagesOfEverySizeAreCodedInTheirAddress) {
  attach_host();
  for (unsigned lg2 = 13; lg2 <= 20; ++lg2) {  // in the lowest table
    const std::uint64_t size = std::uint64_t{1} << lg2, iova = 0x4000'0000, pa = 0x8000'0000;
    for (std::uint64_t at = 0; at < size; at += 0x1000)
      entry(iova + at) = pa | (((size >> 1) - 1) & ~std::uint64_t{0xfff}) | next(7) | kPage;
    invalidate(0x7fff'ffff'ffff'f000, 1);
    const auto page = dma(iova + size - 1);
    ASSERT_TRUE(page);
    EXPECT_EQ(page->page_lg2, lg2);
    EXPECT_EQ(page->page, PhysAddr{pa});
  }
}

TEST_F(AmdIommuTest, LevelsMayBeSkippedWhereTheAddressIsZero) {
  start();
  top_ = new_table();
  set_dte(kV | kTv | kRights | mode(4) | top_);
  const std::uint64_t leaves = new_table();
  word(top_, 1) = leaves | kPage | next(1);  // from level 4 to level 1
  word(leaves, 2) = 0x8000'2000 | kPage;
  constexpr std::uint64_t kBase = std::uint64_t{1} << 39;
  EXPECT_EQ(where(kBase + 0x2000), 0x8000'2000u);
  EXPECT_EQ(event_of_read(kBase + 0x20'2000), page_fault(kBase + 0x20'2000)) << "a skipped bit is not zero";
}

TEST_F(AmdIommuTest, AnEntryThatPointsUpwardsIsReserved) {
  attach_host();
  word(top_, 0) = new_table() | kPage | next(3);
  EXPECT_EQ(event_of_read(0x1000), page_fault(0x1000, kPr | kRz));
}

TEST_F(AmdIommuTest, ReservedBitsOfATableAreAFaultOfTheirOwn) {
  attach_host();
  map(0x1000, 0x8000'1000 | std::uint64_t{1} << 52);
  EXPECT_EQ(event_of_read(0x1000), page_fault(0x1000, kPr | kRz));
}

TEST_F(AmdIommuTest, ATableThatIsNotThereIsAPageTableError) {
  attach_host();
  word(top_, 0) = kNothingThere | kPage | next(2);
  EXPECT_EQ(event_of_read(0x1000), (AmdEvent{kPageTabError, kDevice, kDomain, kAbort, 0x1000}));
}

TEST_F(AmdIommuTest, ReadingAndWritingAreSeparateRights) {
  attach_host();
  map(0x1000, 0x8000'1000, kIr);
  map(0x2000, 0x8000'2000, kIw);
  EXPECT_TRUE(where(0x1000));
  EXPECT_FALSE(where(0x1000, Access::write));
  EXPECT_FALSE(where(0x2000));
  EXPECT_TRUE(where(0x2000, Access::write));
  EXPECT_THAT(events(), ElementsAre(page_fault(0x1000, kPr | kPe | kRw), page_fault(0x2000, kPr | kPe)));
}

TEST_F(AmdIommuTest, ATranslationIsKeptUntilItIsInvalidated) {
  attach_host();
  map(0x1000, 0x8000'1000);
  ASSERT_EQ(where(0x1000), 0x8000'1000u);
  map(0x1000, 0x8000'2000);
  EXPECT_EQ(where(0x1000), 0x8000'1000u);
  invalidate(0x1000);
  EXPECT_EQ(where(0x1000), 0x8000'2000u);
}

TEST_F(AmdIommuTest, AbsenceIsNotKept) {
  attach_host();
  EXPECT_FALSE(where(0x1000));
  map(0x1000, 0x8000'1000);
  EXPECT_TRUE(where(0x1000));
}

TEST_F(AmdIommuTest, AccessedAndDirtyBitsAreKeptAsTheEntrySays) {
  power_on({{"dirty", 2}});
  attach_host();
  map(0x1000, 0x8000'1000);
  ASSERT_TRUE(where(0x1000, Access::write));
  EXPECT_EQ(entry(0x1000) & 0x60, 0u) << "HAD is 0";
  set_dte(kV | kTv | kRights | mode(3) | top_ | kDirty, 6);
  ASSERT_TRUE(where(0x1000));
  EXPECT_EQ(entry(0x1000) & 0x60, 0x20u);
  ASSERT_TRUE(where(0x1000, Access::write)) << "not from the cache: the page was clean";
  EXPECT_EQ(entry(0x1000) & 0x60, 0x60u);
  set_dte(kV | kTv | kRights | mode(3) | top_ | kAccessed, 7);
  map(0x2000, 0x8000'2000);
  ASSERT_TRUE(where(0x2000, Access::write));
  EXPECT_EQ(entry(0x2000) & 0x60, 0x20u);
}

// ---- Guest tables -----------------------------------------------------------------------------------------------

TEST_F(AmdIommuTest, RequestsWithoutAPasidMayUseTheTableOfPasidZero) {
  attach_guest();
  map_guest(0x1000, 0x8000'1000);
  EXPECT_EQ(where(0x1234), 0x8000'1234u);
  EXPECT_EQ(event_of_read(0x2000), (AmdEvent{kPageFault, kDevice, 0, kGn, 0x2000}));
}

TEST_F(AmdIommuTest, WithoutGiovTheyPassOrUseTheHostTable) {
  attach_guest(0);
  EXPECT_EQ(where(0x1234), 0x1234u) << "mode 0";
}

TEST_F(AmdIommuTest, EveryPasidHasATableOfItsOwn) {
  attach_guest();
  map_guest(0x1000, 0x8000'1000);
  const std::uint64_t other = new_table();
  word(gcr3_, 7) = other | 1;
  guest_entry(other, 0x1000) = 0x8000'7000 | kGuestPage;
  EXPECT_EQ(where(0x1000, Access::read, 7), 0x8000'7000u);
  EXPECT_EQ(where(0x1000), 0x8000'1000u);
  EXPECT_EQ(event_of_read(0x1000, 8), (AmdEvent{kPageFault, kDevice, 8, kGn, 0x1000})) << "no table";
  EXPECT_EQ(event_of_read(0x1000, 512), (AmdEvent{kPageFault, kDevice, 512, kGn, 0x1000})) << "beyond the GCR3 table";
}

TEST_F(AmdIommuTest, APasidWithoutGuestTranslationIsAFault) {
  attach_host();
  map(0x1000, 0x8000'1000);
  EXPECT_EQ(event_of_read(0x1000, 3), (AmdEvent{kPageFault, kDevice, 3, kGn, 0x1000}));
}

TEST_F(AmdIommuTest, Gcr3TablesMayHaveTwoAndThreeLevels) {
  for (const unsigned levels : {2u, 3u}) {
    power_on({{"gcr3_levels", 3}, {"pasid_bits", 20}});
    attach_guest(kGiov | (levels - 1) * kGlx);
    const Pasid pasid = levels == 2 ? 0x2'0005 : 0x8'0605;
    const std::uint64_t root = new_table();
    guest_entry(root, 0x1000) = 0x8000'1000 | kGuestPage;
    std::uint64_t table = gcr3_;
    word(gcr3_) = 0;
    for (unsigned level = levels; level-- > 0;) {
      const std::uint64_t next = level == 0 ? root : new_table();
      word(table, pasid >> 9 * level & 511) = next | 1;
      table = next;
    }
    EXPECT_EQ(where(0x1000, Access::read, pasid), 0x8000'1000u) << levels;
    EXPECT_FALSE(where(0x1000, Access::read, pasid + 512)) << levels;
  }
}

TEST_F(AmdIommuTest, TheUpperPartOfAPasidIsInItsFault) {
  attach_guest();
  EXPECT_FALSE(where(0x1000, Access::read, 0x1'2345));
  EXPECT_EQ(word(events_) >> 16 & 0xf, 1u);
  EXPECT_EQ(events().front().domain, 0x2345u);
}

TEST_F(AmdIommuTest, AddressesAreSignExtendedUnderAPasidOnly) {
  attach_guest();
  word(gcr3_, 1) = guest_ | 1;
  constexpr std::uint64_t kLow = 0x0000'8000'0000'1000, kHigh = 0xffff'8000'0000'1000;
  guest_entry(guest_, kLow) = 0x8000'1000 | kGuestPage;
  EXPECT_TRUE(where(kLow));
  EXPECT_FALSE(where(kHigh));
  EXPECT_FALSE(where(kLow, Access::read, 1));
  EXPECT_TRUE(where(kHigh, Access::read, 1));
}

TEST_F(AmdIommuTest, FiveLevelsWhereTheEntrySaysSo) {
  power_on({{"guest_levels", 2}});
  attach_guest(kGiov, std::uint64_t{1} << 54);
  constexpr std::uint64_t kIova = std::uint64_t{3} << 48;
  guest_entry(guest_, kIova, 1, 5) = 0x8000'1000 | kGuestPage;
  EXPECT_EQ(where(kIova), 0x8000'1000u);
}

TEST_F(AmdIommuTest, GuestTablesHaveLargePagesAndRights) {
  attach_guest();
  guest_entry(guest_, 0x20'0000, 2) = 0x8000'0000 | kGuestPage | 0x80;
  guest_entry(guest_, 0x40'0000, 2) = 0x8020'0000 | kGuestReadOnly | 0x80;
  EXPECT_EQ(dma(0x20'1234)->page_lg2, 21u);
  EXPECT_TRUE(where(0x40'0000));
  EXPECT_FALSE(where(0x40'0000, Access::write));
  EXPECT_THAT(events(), ElementsAre(AmdEvent{kPageFault, kDevice, 0, kGn | kPr | kPe | kRw, 0x40'0000}));
}

TEST_F(AmdIommuTest, GuestTablesKeepAccessedAndDirtyBits) {
  attach_guest();
  map_guest(0x1000, 0x8000'1000);
  ASSERT_TRUE(where(0x1000));
  EXPECT_EQ(guest_entry(guest_, 0x1000) & 0x60, 0x20u);
  ASSERT_TRUE(where(0x1000, Access::write));
  EXPECT_EQ(guest_entry(guest_, 0x1000) & 0x60, 0x60u);
}

// ---- Guest tables in a guest's memory ---------------------------------------------------------------------------

// Guest addresses 0x1'0000'0000 and up are at 0x1000 and up of table memory, through the host table.
class NestedAmdIommu : public AmdIommuTest {
 protected:
  static constexpr std::uint64_t kGuestData = 0x40'0000;

  void nest(std::uint64_t more_control = 0) {
    start();
    turn_on(more_control);
    top_ = new_table();
    gcr3_ = new_table();
    word(gcr3_, 1) = guest_address(guest_ = new_table()) | 1;
    const bool is_system = (more_control & kSystemGcr3) != 0;
    const std::uint64_t gcr3 = is_system ? gcr3_ : guest_address(gcr3_);
    set_dte(guest_word0(gcr3) | mode(3) | top_, guest_word1(gcr3));
    map(kGuestData, 0x8000'5000);
    // A guest's table of four levels that maps 0x1000 to kGuestData.
    std::uint64_t table = guest_;
    for (int level = 4; level > 1; --level) {
      const std::uint64_t below = new_table();
      word(table, 0) = guest_address(below) | kGuestPage;
      table = below;
    }
    word(leaf_ = table, 1) = kGuestData | kGuestPage;
  }
  // Gives a table a place in the guest's memory.
  std::uint64_t guest_address(std::uint64_t table) {
    const std::uint64_t at = 0x10'0000 + 0x1000 * tables_++;
    map(at, table);
    return at;
  }
  std::uint64_t leaf_ = 0, tables_ = 0;
};

TEST_F(NestedAmdIommu, BothTablesTranslate) {
  nest();
  EXPECT_EQ(where(0x1234, Access::read, 1), 0x8000'5234u);
  EXPECT_EQ(where(kGuestData), 0x8000'5000u) << "without a PASID: the host table alone";
}

TEST_F(NestedAmdIommu, TheGcr3TableMayStandAtASystemAddress) {
  nest(kSystemGcr3);
  EXPECT_EQ(where(0x1234, Access::write, 1), 0x8000'5234u);
}

TEST_F(NestedAmdIommu, AFaultOfTheHostTableNamesTheGuestsAddress) {
  nest();
  entry(kGuestData) = 0;
  EXPECT_EQ(event_of_read(0x1234, 1), page_fault(kGuestData + 0x234));
}

TEST_F(NestedAmdIommu, RightsAreThoseOfBoth) {
  nest();
  map(kGuestData, 0x8000'5000, kIr);
  EXPECT_TRUE(where(0x1000, Access::read, 1));
  EXPECT_FALSE(where(0x1000, Access::write, 1));
}

TEST_F(NestedAmdIommu, AGuestTableThatMayNotBeWrittenIsNotWalked) {
  nest();
  map(0x10'0000, guest_, kIr);  // accessed bits could not be kept
  EXPECT_EQ(event_of_read(0x1000, 1).domain, kDomain);
}

TEST_F(NestedAmdIommu, AnInvalidationOfAHostPageReachesWhatIsNestedOnIt) {
  nest();
  ASSERT_TRUE(where(0x1000, Access::read, 1));
  map(kGuestData, 0x8000'6000);
  EXPECT_EQ(where(0x1000, Access::read, 1), 0x8000'5000u);
  invalidate(0x7777'0000);  // any address: the guest's page is not known any more
  EXPECT_EQ(where(0x1000, Access::read, 1), 0x8000'6000u);
}

}  // namespace
}  // namespace softiommu::test
