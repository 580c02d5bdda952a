// SPDX-License-Identifier: BSD-3-Clause
// A VT-d unit in scalable mode: what PASID tables may say, each kind of translation, and what is cached until which
// invalidation. Offsets and bits are written out from the specification.
#include "machine/device_tlb.h"
#include "machine/intel_vtd_fixture.h"

namespace softiommu::test {
namespace {

constexpr Pasid kPasid = 0x47;
constexpr std::uint64_t kGuestBoth = 0x7;                                 // P, R/W, U/S of a first-stage entry
constexpr std::uint64_t kFirst = 1, kSecond = 2, kNested = 3, kPass = 4;  // PGTT
constexpr std::uint64_t kDirtyOn = 1 << 9;                                // SSADE
constexpr std::uint64_t kDirtyBit = 1 << 9;                               // of a second-stage entry

// The device at 00:02.0 with a PASID directory; first-stage tables at first_, second-stage ones at top_.
class IntelVtdScalableTest : public IntelVtdTest {
 protected:
  void start(std::initializer_list<Choice> choices = {}, bool paranoid = false) {
    std::vector<Choice> all{{"scalable", 1}, {"device_tlb", 1}, {"page_requests", 1}};
    all.insert(all.end(), choices.begin(), choices.end());
    power_on(all, paranoid);
    root_ = new_table();
    contexts_ = new_table();
    directory_ = new_table();
    pasids_ = new_table();
    top_ = new_table();
    first_ = new_table();
    word(root_, 0) = contexts_ | 1;
    word(context(), 0) = directory_ | 0x1d | 2 << 9;  // P, DTE, PASIDE, PRE; 2^9 directory entries
    for (const Pasid pasid : {Pasid{0}, kPasid}) word(directory_, pasid >> 6) = (pasid == 0 ? pasids_ : tables()) | 1;
    w64(0x20, root_ | 1 << 10);
    queue_ = new_table();
    w64(0x90, queue_ | 1 << 11);
    w32(0x18, control_ | gcmd::kSetRoot);
    turn_on(gcmd::kQueue);
    turn_on(gcmd::kTranslate);
  }
  std::uint64_t tables() { return high_ != 0 ? high_ : high_ = new_table(); }
  std::uint64_t context() const { return contexts_ + 32 * kDevice; }
  std::uint64_t pasid_entry(Pasid pasid) { return (pasid < 64 ? pasids_ : tables()) + pasid % 64 * 64; }
  void set_pasid(Pasid pasid, std::uint64_t type, std::uint64_t domain = 5, std::uint64_t flags = 0) {
    const std::uint64_t at = pasid_entry(pasid);
    word(at, 1) = domain;
    word(at, 2) = type == kFirst || type == kNested ? first_ : 0;
    word(at, 0) = (type == kSecond || type == kNested ? top_ : 0) | 2 << 2 | type << 6 | flags | 1;
  }
  // First-stage pages; tables above have the same rights.
  void map_first(std::uint64_t iova, std::uint64_t pa, std::uint64_t flags = kGuestBoth) {
    entry(first_, 4, iova) = 0;
    std::uint64_t table = first_;
    for (unsigned level = 4; level > 1; --level) {
      std::uint64_t& next = word(table, iova >> (12 + 9 * (level - 1)) & 511);
      next |= kGuestBoth;
      table = next & 0x000f'ffff'ffff'f000;
    }
    entry(first_, 4, iova) = pa | flags;
  }
  void map_tables_one_to_one() {
    for (const std::uint64_t table : tables_of_first()) map(table, table);
  }
  std::vector<std::uint64_t> tables_of_first() {
    std::vector<std::uint64_t> all{first_};
    std::uint64_t table = first_;
    for (unsigned level = 4; level > 1; --level) {
      table = word(table, 0) & 0x000f'ffff'ffff'f000;
      all.push_back(table);
    }
    return all;
  }
  std::optional<std::uint64_t> at(std::uint64_t iova, Pasid pasid = 0, Access access = Access::read) {
    const auto page = unit_->translate({.stream = kDevice, .pasid = pasid, .iova = Iova{iova}, .access = access});
    if (!page) return std::nullopt;
    return page->page.value + (iova & ((std::uint64_t{1} << page->page_lg2) - 1));
  }
  bool writes(std::uint64_t iova, Pasid pasid = 0) { return at(iova, pasid, Access::write).has_value(); }
  unsigned reason(std::uint64_t iova, Pasid pasid = 0, Access access = Access::read) {
    EXPECT_FALSE(at(iova, pasid, access));
    return last_reason();
  }
  unsigned last_reason() {
    for (unsigned index = 0; index < 8; ++index) {
      if (!recorded(index)) continue;
      clear_fault(index);
      return fault(index).reason;
    }
    return 0;
  }
  // One wide descriptor.
  void command(std::uint64_t low, std::uint64_t high = 0, std::uint64_t third = 0) {
    const std::uint64_t tail = r32(0x88);
    word(queue_ + tail, 0) = low;
    word(queue_ + tail, 1) = high;
    word(queue_ + tail, 2) = third;
    w32(0x88, static_cast<std::uint32_t>((tail + 32) % 4096));
  }
  void drop_pasid(Pasid pasid, std::uint64_t domain = 5) {
    command(7 | 1 << 4 | domain << 16 | std::uint64_t{pasid} << 32);
  }
  void drop_first_stage(Pasid pasid, std::uint64_t domain = 5) {
    command(6 | 2 << 4 | domain << 16 | std::uint64_t{pasid} << 32);
  }
  void drop_domain(std::uint64_t domain = 5) { command(2 | 2 << 4 | domain << 16); }
  std::uint64_t queue_error() { return r32(0x34) & 0x10 ? r64(0xb0) & 0xf : 0; }

  std::uint64_t directory_ = 0, pasids_ = 0, high_ = 0, first_ = 0;
};

// ---- Kinds of translation -------------------------------------------------------------------------------------

TEST_F(IntelVtdScalableTest, TheSecondStageTranslatesRequestsWithoutPasid) {
  start();
  map(0x1000, 0x7000);
  set_pasid(0, kSecond);
  EXPECT_EQ(at(0x1234), 0x7234u);
  EXPECT_FALSE(at(0x1234, kPasid)) << "another PASID";
}

TEST_F(IntelVtdScalableTest, TheFirstStageTranslatesAPasid) {
  start();
  map_first(0x1000, 0x9000);
  set_pasid(kPasid, kFirst);
  EXPECT_EQ(at(0x1010, kPasid), 0x9010u);
  EXPECT_EQ(reason(0x1010), 0x59u) << "requests without a PASID have none";
}

TEST_F(IntelVtdScalableTest, NestedGoesThroughBoth) {
  start();
  map_first(0x1000, 0x4000);
  map_tables_one_to_one();
  map(0x4000, 0x7000);
  set_pasid(0, kNested);
  EXPECT_EQ(at(0x1abc), 0x7abcu);
}

TEST_F(IntelVtdScalableTest, PassThroughLeavesAddressesAlone) {
  start();
  set_pasid(0, kPass);
  EXPECT_EQ(at(0x1234), 0x1234u);
  EXPECT_EQ(reason(std::uint64_t{1} << 50), 0x83u);
}

TEST_F(IntelVtdScalableTest, ThePasidOfRequestsWithoutOneIsConfigured) {
  start();
  map(0x1000, 0x7000);
  set_pasid(kPasid, kSecond);
  word(context(), 1) = kPasid;
  EXPECT_EQ(at(0x1000), 0x7000u);
}

TEST_F(IntelVtdScalableTest, TheUpperHalfOfABusHasATableOfItsOwn) {
  start();
  const std::uint64_t upper = new_table();
  word(root_, 1) = upper | 1;
  for (unsigned i = 0; i < 2; ++i) word(upper + 32 * (0x90 - 0x80), i) = word(context(), i);
  map(0x1000, 0x7000);
  set_pasid(0, kSecond);
  EXPECT_EQ(where(0x1000, 0x90), 0x7000u);
}

TEST_F(IntelVtdScalableTest, LegacyModeIsStillThere) {
  start();
  turn_off(gcmd::kTranslate);
  turn_off(gcmd::kQueue);
  translate_on();
  attach(top_, 5);
  map(0x1000, 0x7000);
  EXPECT_EQ(where(0x1000), 0x7000u);
}

// ---- Rights, accessed and dirty state ---------------------------------------------------------------------------

TEST_F(IntelVtdScalableTest, FirstStageRightsCount) {
  start();
  map_first(0x1000, 0x9000, 0x5);
  set_pasid(0, kFirst);
  EXPECT_TRUE(at(0x1000));
  EXPECT_EQ(reason(0x1000, 0, Access::write), 0x85u);
}

TEST_F(IntelVtdScalableTest, NestedRightsAreThoseOfBoth) {
  start();
  map_first(0x1000, 0x4000);
  map_tables_one_to_one();
  map(0x4000, 0x7000, kReadable);
  set_pasid(0, kNested);
  EXPECT_TRUE(at(0x1000));
  EXPECT_FALSE(writes(0x1000));
}

TEST_F(IntelVtdScalableTest, TheSecondStageIsMarkedDirtyWhenAskedTo) {
  start();
  map(0x1000, 0x7000);
  set_pasid(0, kSecond, 5, kDirtyOn);
  ASSERT_TRUE(at(0x1000));
  EXPECT_FALSE(entry(top_, 4, 0x1000) & kDirtyBit);
  ASSERT_TRUE(writes(0x1000));
  EXPECT_TRUE(entry(top_, 4, 0x1000) & kDirtyBit);
}

TEST_F(IntelVtdScalableTest, TheSecondStageIsNotMarkedOtherwise) {
  start();
  map(0x1000, 0x7000);
  set_pasid(0, kSecond);
  ASSERT_TRUE(writes(0x1000));
  EXPECT_FALSE(entry(top_, 4, 0x1000) & kDirtyBit);
}

TEST_F(IntelVtdScalableTest, ADirtyPageIsNotNoticedAgainUntilItsTranslationIsDropped) {
  start();
  map(0x1000, 0x7000);
  set_pasid(0, kSecond, 5, kDirtyOn);
  ASSERT_TRUE(writes(0x1000));
  entry(top_, 4, 0x1000) &= ~kDirtyBit;
  ASSERT_TRUE(writes(0x1000));
  EXPECT_FALSE(entry(top_, 4, 0x1000) & kDirtyBit);
  drop_domain();
  ASSERT_TRUE(writes(0x1000));
  EXPECT_TRUE(entry(top_, 4, 0x1000) & kDirtyBit);
}

// ---- Caches -----------------------------------------------------------------------------------------------------

TEST_F(IntelVtdScalableTest, PasidEntriesAreKeptUntilThePasidCacheIsInvalidated) {
  start();
  set_pasid(0, kPass);
  EXPECT_TRUE(at(0x1000));
  word(pasid_entry(0), 0) = 0;
  EXPECT_TRUE(at(0x1000));
  drop_pasid(3);
  EXPECT_TRUE(at(0x1000)) << "another PASID";
  drop_pasid(0, 6);
  EXPECT_TRUE(at(0x1000)) << "another domain";
  drop_pasid(0);
  EXPECT_EQ(reason(0x1000), 0x59u);
}

TEST_F(IntelVtdScalableTest, ThePasidCacheIsInvalidatedByDomainAndAsAWhole) {
  for (const std::uint64_t whole : {std::uint64_t{7} | 5 << 16, std::uint64_t{7} | 3 << 4}) {
    start();
    set_pasid(0, kPass);
    EXPECT_TRUE(at(0x1000));
    word(pasid_entry(0), 0) = 0;
    command(whole);
    EXPECT_FALSE(at(0x1000));
  }
}

TEST_F(IntelVtdScalableTest, FirstStageTranslationsAreTaggedWithThePasid) {
  start();
  map_first(0x1000, 0x9000);
  set_pasid(0, kFirst);
  set_pasid(kPasid, kFirst);
  EXPECT_TRUE(at(0x1000) && at(0x1000, kPasid));
  entry(first_, 4, 0x1000) = 0xa000 | kGuestBoth;
  drop_first_stage(kPasid);
  EXPECT_EQ(at(0x1000), 0x9000u);
  EXPECT_EQ(at(0x1000, kPasid), 0xa000u);
}

TEST_F(IntelVtdScalableTest, PagesOfAPasidAreDroppedAlone) {
  start();
  map_first(0x1000, 0x9000);
  map_first(0x2000, 0xb000);
  set_pasid(0, kFirst);
  EXPECT_TRUE(at(0x1000) && at(0x2000));
  entry(first_, 4, 0x1000) = 0xa000 | kGuestBoth;
  entry(first_, 4, 0x2000) = 0xc000 | kGuestBoth;
  command(6 | 3 << 4 | 5 << 16, 0x2000);
  EXPECT_EQ(at(0x1000), 0x9000u);
  EXPECT_EQ(at(0x2000), 0xc000u);
  command(6 | 3 << 4 | 5 << 16, 0x0000 | 2);  // four pages
  EXPECT_EQ(at(0x1000), 0xa000u);
}

TEST_F(IntelVtdScalableTest, SecondStageTranslationsAreSharedByPasids) {
  start();
  map(0x1000, 0x7000);
  set_pasid(0, kSecond);
  set_pasid(kPasid, kSecond);
  EXPECT_TRUE(at(0x1000));
  map(0x1000, 0x8000);
  EXPECT_EQ(at(0x1000, kPasid), 0x7000u);
  drop_first_stage(kPasid);
  EXPECT_EQ(at(0x1000, kPasid), 0x7000u) << "PASID-based invalidation does not reach them";
  drop_domain();
  EXPECT_EQ(at(0x1000, kPasid), 0x8000u);
}

TEST_F(IntelVtdScalableTest, PagesOfTheSecondStageTakeAllNestedTranslationsOfTheDomainWithThem) {
  start();
  map_first(0x1000, 0x4000);
  map_tables_one_to_one();
  map(0x4000, 0x7000);
  set_pasid(0, kNested);
  EXPECT_EQ(at(0x1000), 0x7000u);
  map(0x4000, 0x8000);
  command(2 | 3 << 4 | 6 << 16, 0x4000);
  EXPECT_EQ(at(0x1000), 0x7000u) << "another domain";
  command(2 | 3 << 4 | 5 << 16, 0x4000);
  EXPECT_EQ(at(0x1000), 0x8000u);
}

TEST_F(IntelVtdScalableTest, ContextEntriesAreInvalidatedByDevice) {
  start();
  set_pasid(0, kPass);
  EXPECT_TRUE(at(0x1000));
  word(context(), 0) = 0;
  EXPECT_TRUE(at(0x1000));
  command(1 | 3 << 4 | std::uint64_t{kDevice} << 32);
  EXPECT_EQ(reason(0x1000), 0x41u);
}

TEST_F(IntelVtdScalableTest, ParanoidModeNamesTheInvalidationThatIsMissing) {
  start({}, true);
  map_first(0x1000, 0x9000);
  set_pasid(kPasid, kFirst);
  EXPECT_TRUE(at(0x1000, kPasid));
  entry(first_, 4, 0x1000) = 0xa000 | kGuestBoth;
  EXPECT_TRUE(at(0x1000, kPasid));
  ASSERT_EQ(findings_.all().size(), 1u);
  EXPECT_THAT(findings_.all().front(),
              ::testing::HasSubstr("missing: a PASID-based IOTLB invalidation of domain 5 PASID 71 covering 0x1000"));
  word(pasid_entry(kPasid), 0) = 0;
  EXPECT_TRUE(at(0x1000, kPasid));
  EXPECT_THAT(findings_.all().back(),
              ::testing::HasSubstr("missing: a PASID-cache invalidation of PASID 71 in domain 5"));
}

// ---- Wrong descriptors --------------------------------------------------------------------------------------------

TEST_F(IntelVtdScalableTest, DescriptorsThatAreWrongStopTheQueue) {
  const struct {
    std::uint64_t low, high, third, error;
  } rows[] = {
      {7 | 2 << 4, 0, 0, 4},                           // a granularity that there is not
      {7 | 1 << 4 | std::uint64_t{1} << 60, 0, 0, 4},  // a reserved bit
      {7 | 1 << 4, 1, 0, 4},                           // the high word of a PASID-cache invalidation
      {6 | 1 << 4, 0, 0, 4},                           // an IOTLB granularity that PASIDs have not
      {6 | 2 << 4, std::uint64_t{1} << 8, 0, 4},       // a reserved bit of the address
      {8, 2, 0, 4},                                    // of a device-TLB invalidation with PASID
      {9, 1, 0, 4},                                    // of a page group response
      {7 | 1 << 4, 0, 1, 4},                           // the third word
      {10, 0, 0, 3},                                   // no such type
  };
  for (const auto& row : rows) {
    start();
    command(row.low, row.high, row.third);
    EXPECT_EQ(queue_error(), row.error) << row.low;
  }
}

TEST_F(IntelVtdScalableTest, ScalableModeWantsWideDescriptors) {
  start();
  turn_off(gcmd::kQueue);
  w64(0x90, queue_);
  turn_on(gcmd::kQueue);
  w32(0x88, 16);
  EXPECT_EQ(queue_error(), 5u);
}

TEST_F(IntelVtdScalableTest, ATailInTheMiddleOfADescriptorStopsTheQueue) {
  start();
  w32(0x88, 16);
  EXPECT_EQ(queue_error(), 6u);
}

TEST_F(IntelVtdScalableTest, AUnitInLegacyModeKnowsNoPasidDescriptors) {
  queue_on();
  submit(7 | 3 << 4);
  EXPECT_EQ(IntelVtdTest::queue_error(), 3u);
}

// ---- Faults -------------------------------------------------------------------------------------------------------

TEST_F(IntelVtdScalableTest, FaultsSayWhichEntryIsWrong) {
  start();
  EXPECT_EQ(reason(0x1000), 0x59u) << "PASID entry not present";
  EXPECT_EQ(reason(0x1000, 0x7000), 0x51u) << "directory entry not present";
  EXPECT_EQ(reason(0x1000, 0x8000), 0x46u) << "beyond the directory";
  word(directory_, 2) = pasids_ | 1 | 1 << 3;
  EXPECT_EQ(reason(0x1000, 0x80), 0x52u) << "reserved in the directory";
  word(directory_, 2) = kNothingThere | 1;
  EXPECT_EQ(reason(0x1000, 0x80), 0x58u) << "no memory";
  set_pasid(0, kSecond);
  word(pasid_entry(0), 5) = 1;
  EXPECT_EQ(reason(0x1000), 0x5au) << "reserved in the entry";
  word(pasid_entry(0), 5) = 0;
  set_pasid(0, 7);
  EXPECT_EQ(reason(0x1000), 0x5bu) << "no such translation type";
}

TEST_F(IntelVtdScalableTest, FaultsOfRootAndContext) {
  start();
  word(root_, 0) |= 1 << 4;
  EXPECT_EQ(reason(0x1000), 0x3au);
  word(root_, 0) = 0;
  EXPECT_EQ(reason(0x1000), 0x39u);
  word(root_, 0) = contexts_ | 1;
  word(context(), 3) = 1;
  EXPECT_EQ(reason(0x1000), 0x42u);
  word(context(), 3) = 0;
  word(context(), 0) &= ~std::uint64_t{8};
  EXPECT_EQ(reason(0x1000, kPasid), 0x45u) << "no PASIDs";
}

TEST_F(IntelVtdScalableTest, FaultsOfTheTables) {
  start();
  set_pasid(0, kFirst);
  EXPECT_EQ(reason(0x1000), 0x71u);
  EXPECT_EQ(reason(std::uint64_t{1} << 47), 0x80u) << "not canonical";
  set_pasid(kPasid, kSecond);
  EXPECT_EQ(reason(0x1000, kPasid), 0x79u);
  EXPECT_EQ(reason(std::uint64_t{1} << 48, kPasid), 0x84u);
}

TEST_F(IntelVtdScalableTest, FaultsOfTheSecondStageUnderTheFirst) {
  start();
  map_first(0x1000, 0x4000);
  set_pasid(0, kNested);
  EXPECT_EQ(reason(0x1000), 0x76u) << "the way to a table";
  map_tables_one_to_one();
  EXPECT_EQ(reason(0x1000), 0x79u) << "the page";
}

TEST_F(IntelVtdScalableTest, WhatTheUnitDoesNotHaveIsInvalid) {
  start({{"nested", 0}, {"dirty", 0}});
  set_pasid(0, kNested);
  EXPECT_EQ(reason(0x1000), 0x5bu);
  set_pasid(kPasid, kSecond, 5, kDirtyOn);
  EXPECT_EQ(reason(0x1000, kPasid), 0x5au);
}

TEST_F(IntelVtdScalableTest, FaultsNameThePasid) {
  start();
  EXPECT_FALSE(at(0x1000, kPasid));
  const std::uint64_t high = r64(0x400 + 8);
  EXPECT_EQ(high >> 31 & 1, 1u);
  EXPECT_EQ(high >> 40 & 0xfffff, kPasid);
}

TEST_F(IntelVtdScalableTest, FaultsAreSilencedByContextDirectoryAndEntry) {
  start();
  word(pasid_entry(0), 0) = 2;
  EXPECT_EQ(reason(0x1000), 0u);
  word(pasid_entry(0), 0) = 0;
  word(directory_, 0) |= 2;
  EXPECT_EQ(reason(0x1000), 0u);
  word(directory_, 0) &= ~std::uint64_t{2};
  word(context(), 0) |= 2;
  command(1 | 1 << 4);
  EXPECT_EQ(reason(0x1000), 0u);
}

// ---- Device TLBs and page requests ----------------------------------------------------------------------------------

TEST_F(IntelVtdScalableTest, TranslationRequestsAreAnsweredWithoutFaults) {
  start();
  map(0x1000, 0x7000, kReadable);
  set_pasid(0, kSecond);
  const Transaction read{.stream = kDevice, .iova = Iova{0x1000}}, nothing{.stream = kDevice, .iova = Iova{0x5000}};
  EXPECT_EQ(unit_->translate_for_device(read)->page.value, 0x7000u);
  const auto absent = unit_->translate_for_device(nothing);
  ASSERT_TRUE(absent);
  EXPECT_FALSE(absent->read || absent->write);
  EXPECT_EQ(last_reason(), 0u);
}

TEST_F(IntelVtdScalableTest, DevicesWithoutLeaveAreRefused) {
  start();
  set_pasid(0, kPass);
  word(context(), 0) &= ~std::uint64_t{4};
  const Transaction any{.stream = kDevice, .iova = Iova{0x1000}};
  EXPECT_FALSE(unit_->translate_for_device(any));
  EXPECT_EQ(last_reason(), 0x44u);
  EXPECT_FALSE(unit_->admits_translated(any, {}));
}

TEST_F(IntelVtdScalableTest, InvalidationsReachTheTlbThatTheyName) {
  start();
  DeviceTlb tlb({});
  tlb.enable(true, false);
  unit_->add_device_tlb(kDevice, tlb);
  map(0x1000, 0x7000);
  set_pasid(0, kSecond);
  set_pasid(kPasid, kSecond);
  const auto kept = [&](Pasid pasid) {
    return tlb.translate(*unit_, {.stream = kDevice, .pasid = pasid, .iova = Iova{0x1000}}).translation->page.value;
  };
  EXPECT_EQ(kept(0) + kept(kPasid), 0xe000u);
  map(0x1000, 0x8000);
  drop_domain();
  EXPECT_EQ(kept(0), 0x7000u) << "the IOTLB's invalidation does not reach devices";
  command(3 | std::uint64_t{kDevice} << 32, 0x1000);
  EXPECT_EQ(kept(0), 0x8000u);
  EXPECT_EQ(kept(kPasid), 0x7000u);
  command(8 | std::uint64_t{kDevice} << 16 | std::uint64_t{kPasid} << 32, 0x7fff'ffff'ffff'f000 | 1 << 11);
  EXPECT_EQ(kept(kPasid), 0x8000u);
  unit_->remove_device_tlb(kDevice);
}

TEST_F(IntelVtdScalableTest, PageRequestsAreQueuedAndAnnouncedOnce) {
  start();
  const std::uint64_t ring = new_table();
  w64(0xd0, ring);
  w32(0xe0, 0);
  EXPECT_TRUE(
      unit_->request_page({.stream = kDevice, .pasid = kPasid, .address = Iova{0x5000}, .write = true, .group = 9}));
  EXPECT_TRUE(unit_->request_page({.stream = kDevice, .address = Iova{0x6000}, .read = true, .group = 10}));
  EXPECT_THAT(interrupts_, ::testing::ElementsAre(2u));
  EXPECT_EQ(r32(0xdc), 1u);
  EXPECT_EQ(r32(0xc8), 64u);
  EXPECT_EQ(word(ring, 0), 1u | 1u << 8 | std::uint64_t{kDevice} << 16 | std::uint64_t{kPasid} << 32);
  EXPECT_EQ(word(ring, 1), 0x5000u | 9 << 3 | 4 | 2);
  EXPECT_EQ(word(ring, 5), 0x6000u | 10 << 3 | 4 | 1);
}

TEST_F(IntelVtdScalableTest, AFullPageRequestQueueOverflows) {
  start();
  w64(0xd0, new_table());
  for (unsigned i = 0; i < 127; ++i)
    EXPECT_TRUE(unit_->request_page({.stream = kDevice, .address = Iova{0x1000}, .read = true}));
  EXPECT_EQ(r32(0xdc), 1u);
  unit_->request_page({.stream = kDevice, .address = Iova{0x1000}, .read = true});
  EXPECT_EQ(r32(0xdc), 3u);
  EXPECT_EQ(r32(0xc8), 127u * 32);
}

TEST_F(IntelVtdScalableTest, PageRequestsNeedLeave) {
  start();
  word(context(), 0) &= ~std::uint64_t{16};
  unit_->request_page({.stream = kDevice, .address = Iova{0x1000}, .read = true});
  EXPECT_EQ(last_reason(), 0x47u);
  EXPECT_EQ(r32(0xc8), 0u);
}

TEST_F(IntelVtdScalableTest, ResponsesReachTheRequester) {
  start();
  unsigned woken = 0;
  DeviceTlb tlb([&] { ++woken; });
  tlb.enable(true, true);
  unit_->add_device_tlb(kDevice, tlb);
  w64(0xd0, new_table());
  set_pasid(0, kSecond);
  const Transaction wanted{.stream = kDevice, .iova = Iova{0x1000}};
  EXPECT_TRUE(tlb.translate(*unit_, wanted).page_requested);
  map(0x1000, 0x7000);
  command(9 | std::uint64_t{kDevice} << 16, 0 << 3);
  EXPECT_EQ(woken, 1u);
  EXPECT_TRUE(tlb.translate(*unit_, wanted).translation);
  unit_->remove_device_tlb(kDevice);
}

}  // namespace
}  // namespace softiommu::test
