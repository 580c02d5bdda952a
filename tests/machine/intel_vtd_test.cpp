// SPDX-License-Identifier: BSD-3-Clause
// A VT-d unit's registers, translation and faults. Invalidation is in intel_vtd_invalidation_test.cpp.
#include "machine/iommu/unit.h"

#include "machine/intel_vtd_fixture.h"

namespace softiommu::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// ---- Capabilities and reset ---------------------------------------------------------------------------------

TEST_F(IntelVtdTest, DefaultUnitLooksLikeAServersUnit) {
  EXPECT_EQ(r32(reg::kVer), 0x10u);
  // ND 6, SAGAW 39 and 48, MGAW 48, FRO 0x40, SLLPS 2M and 1G, PSI, 8 fault registers, MAMV 18, DWD, DRD.
  EXPECT_EQ(r64(reg::kCap), 0x00d2'078c'402f'0606u);
  EXPECT_EQ(r64(reg::kEcap), 0x50c3u);  // C, QI, PT, SC, IRO 0x50
  EXPECT_EQ(unit_->register_bytes(), 4096u);
  EXPECT_EQ(unit_->model(), "intel-vtd");
}

TEST_F(IntelVtdTest, ResetStateIsOffAndMasked) {
  EXPECT_EQ(r32(reg::kGsts), 0u);
  EXPECT_EQ(r32(reg::kFectl), 0x8000'0000u);
  EXPECT_EQ(r32(reg::kIectl), 0x8000'0000u);
  EXPECT_EQ(r32(reg::kFsts), 0u);
  EXPECT_EQ(r64(reg::kRtaddr), 0u);
}

TEST_F(IntelVtdTest, EachOptionShowsInTheCapabilities) {
  power_on({{"address_widths", std::uint64_t{1} << 57},
            {"caching_mode", 1},
            {"write_buffer_flush", 1},
            {"domain_id_bits", 8},
            {"fault_registers", 1},
            {"page_selective", 0},
            {"large_pages", 1u << 21},
            {"snoop_control", 0},
            {"coherent", 0},
            {"pass_through", 0},
            {"queued_invalidation", 0}});
  EXPECT_EQ(r64(reg::kCap), 0x00c0'0004'4038'0892u);
  EXPECT_EQ(r64(reg::kEcap), 0x5000u);
}

TEST_F(IntelVtdTest, OptionsThatNoUnitHasAreRefused) {
  const UnitModel model = intel_vtd_unit_model();
  const auto refused = [&](std::string_view key, std::uint64_t value) {
    Options options(model.options);
    options.set(key, value);
    const auto made = model.create({.name = "dmar0", .memory = *memory_, .findings = findings_}, options);
    return !made && made.error().code == EINVAL;
  };
  EXPECT_TRUE(refused("address_widths", std::uint64_t{1} << 40));
  EXPECT_TRUE(refused("address_widths", 0));
  EXPECT_TRUE(refused("large_pages", 1u << 22));
  EXPECT_TRUE(refused("domain_id_bits", 7));
  EXPECT_TRUE(refused("guest_address_width", 31));
  EXPECT_TRUE(refused("host_address_width", 12));
}

TEST_F(IntelVtdTest, RegistersOfMissingFeaturesReadZero) {
  for (const std::uint64_t offset : {reg::kPmen, reg::kIrta}) {
    w32(offset, 0xffff'ffff);
    EXPECT_EQ(r32(offset), 0u);
  }
  w32(reg::kCap, 0);
  EXPECT_NE(r32(reg::kCap), 0u);
}

TEST_F(IntelVtdTest, NarrowAndStrayAccessesAreHarmless) {
  w32(reg::kFedata, 0x1234'5678);
  unit_->write(reg::kFedata, 1, 0xff);
  EXPECT_EQ(unit_->read(reg::kFedata + 1, 1), 0x56u);
  EXPECT_EQ(unit_->read(reg::kFedata + 2, 2), 0x1234u);
  EXPECT_EQ(unit_->read(0x1000, 4), ~std::uint64_t{0});
  EXPECT_EQ(unit_->read(0xffc, 8), ~std::uint64_t{0});
  unit_->write(0x1000, 4, 1);
}

TEST_F(IntelVtdTest, ResetForgetsEverything) {
  attach_empty_domain();
  map(0x1000, 0x7000);
  EXPECT_EQ(where(0x1000), 0x7000u);
  EXPECT_FALSE(where(0x2000));
  unit_->reset();
  EXPECT_EQ(r32(reg::kGsts) | r32(reg::kFsts) | r64(reg::kRtaddr), 0u);
  EXPECT_FALSE(recorded(0));
  EXPECT_EQ(where(0x2000), 0x2000u);
  unmap(0x1000);
  w64(reg::kRtaddr, root_);
  w32(reg::kGcmd, gcmd::kSetRoot);
  w32(reg::kGcmd, gcmd::kTranslate);
  EXPECT_FALSE(where(0x1000)) << "the IOTLB kept an entry over reset";
}

// ---- Global commands ----------------------------------------------------------------------------------------

TEST_F(IntelVtdTest, SetRootIsAOneShotCommand) {
  w32(reg::kGcmd, gcmd::kSetRoot);
  EXPECT_EQ(r32(reg::kGsts), 0x4000'0000u);
  EXPECT_EQ(r32(reg::kGcmd), 0u);
  w32(reg::kGcmd, gcmd::kTranslate);
  EXPECT_EQ(r32(reg::kGsts), 0xc000'0000u);
  w32(reg::kGcmd, 0);
  EXPECT_EQ(r32(reg::kGsts), 0x4000'0000u);
}

TEST_F(IntelVtdTest, RootAddressCountsFromSetRootOn) {
  translate_on();
  w64(reg::kRtaddr, kNothingThere);
  EXPECT_EQ(reason_of_read(0x1000), kContextAbsent);
  w32(reg::kGcmd, control_ | gcmd::kSetRoot);
  EXPECT_EQ(reason_of_read(0x1000), kRootAccess);
}

TEST_F(IntelVtdTest, WriteBufferFlushIsDoneAtOnce) {
  power_on({{"write_buffer_flush", 1}});
  w32(reg::kGcmd, gcmd::kFlushWrites);
  EXPECT_EQ(r32(reg::kGsts), 0u);
}

TEST_F(IntelVtdTest, QueueCannotBeTurnedOnWithoutOne) {
  power_on({{"queued_invalidation", 0}});
  w32(reg::kGcmd, gcmd::kQueue);
  EXPECT_EQ(r32(reg::kGsts), 0u);
  w64(reg::kIqa, 0x1000);
  EXPECT_EQ(r64(reg::kIqa), 0u);
}

// ---- Translation --------------------------------------------------------------------------------------------

TEST_F(IntelVtdTest, TranslationOffPassesAddresses) {
  const auto page = dma(0x1234'5678, Access::write);
  ASSERT_TRUE(page);
  EXPECT_TRUE(page->read && page->write);
  EXPECT_EQ(where(0x1234'5678), 0x1234'5678u);
}

TEST_F(IntelVtdTest, TurningTranslationOnChangesTheGeneration) {
  const std::uint64_t before = unit_->generation();
  translate_on();
  EXPECT_NE(unit_->generation(), before);
  EXPECT_FALSE(where(0x1000));
}

TEST_F(IntelVtdTest, WalksFourLevels) {
  attach_empty_domain();
  map(0x1234'5678'9000, 0x7000);
  const auto page = dma(0x1234'5678'9abc);
  ASSERT_TRUE(page);
  EXPECT_EQ(page->page.value, 0x7000u);
  EXPECT_EQ(page->page_lg2, 12);
  EXPECT_TRUE(page->cacheable);
}

TEST_F(IntelVtdTest, WalksThreeAndFiveLevels) {
  power_on({{"address_widths", std::uint64_t{1} << 39 | std::uint64_t{1} << 57}});
  translate_on();
  const std::uint64_t three = new_table(), five = new_table();
  attach(three, 3, 3, 0x0018);
  attach(five, 5, 5, 0x0028);
  entry(three, 3, 0x12'3456'7000) = 0x8000 | kBoth;
  entry(five, 5, 0x123'4567'89ab'c000) = 0x9000 | kBoth;
  EXPECT_EQ(where(0x12'3456'7010, 0x0018), 0x8010u);
  EXPECT_EQ(where(0x123'4567'89ab'c010, 0x0028), 0x9010u);
}

TEST_F(IntelVtdTest, MapsLargePages) {
  attach_empty_domain();
  entry(top_, 4, 0x4020'0000, 2) = 0x20'0000 | kLarge | kBoth;
  entry(top_, 4, 0x80'0000'0000, 3) = 0x4000'0000 | kLarge | kBoth;
  EXPECT_EQ(where(0x403f'ff00), 0x3f'ff00u);
  EXPECT_EQ(dma(0x403f'ff00)->page_lg2, 21);
  EXPECT_EQ(where(0x80'3fff'ff00), 0x7fff'ff00u);
  EXPECT_EQ(dma(0x80'3fff'ff00)->page_lg2, 30);
}

TEST_F(IntelVtdTest, LargePagesThatAreNotSupportedAreReservedBits) {
  power_on({{"large_pages", 1u << 21}});
  attach_empty_domain();
  entry(top_, 4, 0x4020'0000, 2) = 0x20'0000 | kLarge | kBoth;
  entry(top_, 4, 0x80'0000'0000, 3) = 0x4000'0000 | kLarge | kBoth;
  EXPECT_TRUE(where(0x4020'0000));
  EXPECT_EQ(reason_of_read(0x80'0000'0000), kTableReserved);
}

TEST_F(IntelVtdTest, RightsAreThoseThatAllLevelsAllow) {
  attach_empty_domain();
  map(0x1000, 0x7000);
  entry(top_, 4, 0x1000, 3) = (entry(top_, 4, 0x1000, 3) & ~kBoth) | kReadable;
  EXPECT_TRUE(dma(0x1000, Access::read));
  EXPECT_FALSE(dma(0x1000, Access::write));
  EXPECT_EQ(fault(), (Fault{kNoWrite, kDevice, 0x1000, false}));
}

TEST_F(IntelVtdTest, PassThroughIgnoresTables) {
  translate_on();
  set_context(2 << 2 | 1, 5 << 8 | 2);
  EXPECT_EQ(where(0x1234'5678), 0x1234'5678u);
  EXPECT_EQ(reason_of_read(std::uint64_t{1} << 48), kBeyondWidth);
}

TEST_F(IntelVtdTest, SnoopNeedsSnoopControl) {
  attach_empty_domain();
  map(0x1000, 0x7000, kBoth | kSnoop);
  EXPECT_EQ(where(0x1000), 0x7000u);
  power_on({{"snoop_control", 0}});
  attach_empty_domain();
  map(0x1000, 0x7000, kBoth | kSnoop);
  EXPECT_EQ(reason_of_read(0x1000), kTableReserved);
}

TEST_F(IntelVtdTest, AccessedAndDirtyAreNotSetInLegacyMode) {
  attach_empty_domain();
  map(0x1000, 0x7000);
  EXPECT_TRUE(dma(0x1000, Access::write));
  EXPECT_EQ(entry(top_, 4, 0x1000), 0x7000 | kBoth);
}

TEST_F(IntelVtdTest, InterruptRangeIsNeverMemory) {
  EXPECT_FALSE(dma(0xfee0'0000, Access::write));
  EXPECT_EQ(dma(0xfedf'f000)->page_lg2, 12) << "a larger page would reach into the range";
  attach_empty_domain();
  map(0xfee0'1000, 0x7000);
  EXPECT_FALSE(dma(0xfee0'1000, Access::write));
  EXPECT_FALSE(recorded(0));
  map(0x2000, 0xfeef'f000);
  EXPECT_EQ(reason_of_read(0x2000), kInterruptRange);
}

// ---- Fault reasons ------------------------------------------------------------------------------------------

TEST_F(IntelVtdTest, RootTableFaults) {
  translate_on();
  EXPECT_EQ(reason_of_read(0x1000, 0x0110), kRootAbsent);
  word(root_, 2) = new_table() | 3;
  EXPECT_EQ(reason_of_read(0x1000, 0x0110), kRootReserved);
  word(root_, 2) = kNothingThere | 1;
  EXPECT_EQ(reason_of_read(0x1000, 0x0110), kContextAccess);
  word(root_, 3) = 1;
  EXPECT_EQ(reason_of_read(0x1000, 0x0110), kRootReserved);
}

TEST_F(IntelVtdTest, ScalableModeIsNotThere) {
  translate_on();
  w64(reg::kRtaddr, root_ | 1 << 10);
  w32(reg::kGcmd, control_ | gcmd::kSetRoot);
  EXPECT_EQ(reason_of_read(0x1000), kModeInvalid);
}

TEST_F(IntelVtdTest, ContextEntryFaults) {
  attach_empty_domain();
  const std::uint64_t good_high = 5 << 8 | 2;
  const auto reason = [&](std::uint64_t low, std::uint64_t high) {
    set_context(low, high);
    return reason_of_read(0x1000);
  };
  EXPECT_EQ(reason(0, 0), kContextAbsent);
  EXPECT_EQ(reason(top_ | 1 << 4 | 1, good_high), kContextReserved);
  EXPECT_EQ(reason(top_ | 1, good_high | 1 << 24), kContextReserved);
  EXPECT_EQ(reason(top_ | 1, good_high | 1 << 7), kContextReserved);
  EXPECT_EQ(reason(top_ | std::uint64_t{1} << 60 | 1, good_high), kContextReserved);
  EXPECT_EQ(reason(top_ | 1, 5 << 8 | 3), kContextInvalid) << "five levels";
  EXPECT_EQ(reason(top_ | 1, 5 << 8 | 0), kContextInvalid) << "two levels";
  EXPECT_EQ(reason(top_ | 3 << 2 | 1, good_high), kContextInvalid) << "reserved type";
  EXPECT_EQ(reason(top_ | 1 << 2 | 1, good_high), kContextInvalid) << "no device TLBs";
  EXPECT_EQ(reason(2 << 2 | 1, 5 << 8 | 1), kContextInvalid) << "pass-through names the largest width";
  EXPECT_EQ(reason(kNothingThere | 1, good_high), kTableAccess);
}

TEST_F(IntelVtdTest, IgnoredContextBitsAreIgnored) {
  attach_empty_domain();
  map(0x1000, 0x7000);
  set_context(top_ | 1, 5 << 8 | 0x78 | 2);
  EXPECT_EQ(where(0x1000), 0x7000u);
}

TEST_F(IntelVtdTest, PassThroughWithoutSupportIsInvalid) {
  power_on({{"pass_through", 0}});
  translate_on();
  set_context(2 << 2 | 1, 5 << 8 | 2);
  EXPECT_EQ(reason_of_read(0x1000), kContextInvalid);
}

TEST_F(IntelVtdTest, DomainIdsBeyondTheWidthAreReserved) {
  power_on({{"domain_id_bits", 8}});
  translate_on();
  attach(new_table(), 0x100);
  EXPECT_EQ(reason_of_read(0x1000), kContextReserved);
  attach(new_table(), 0xff);
  EXPECT_EQ(reason_of_read(0x1000), kNoRead);
}

TEST_F(IntelVtdTest, AddressesBeyondTheWidthFault) {
  translate_on();
  attach(new_table(), 5, 3);
  EXPECT_EQ(reason_of_read(std::uint64_t{1} << 39), kBeyondWidth) << "three levels";
  attach(new_table(), 5, 4, 0x0018);
  EXPECT_EQ(reason_of_read(std::uint64_t{1} << 48, 0x0018), kBeyondWidth) << "the unit";
  EXPECT_EQ(reason_of_read((std::uint64_t{1} << 48) - 1, 0x0018), kNoRead);
}

TEST_F(IntelVtdTest, GuestAddressWidthLimitsWiderTables) {
  power_on({{"guest_address_width", 40}});
  attach_empty_domain();
  EXPECT_EQ(reason_of_read(std::uint64_t{1} << 40), kBeyondWidth);
  EXPECT_EQ(reason_of_read((std::uint64_t{1} << 40) - 1), kNoRead);
}

TEST_F(IntelVtdTest, TableEntryFaults) {
  attach_empty_domain();
  const auto reason = [&](std::uint64_t value, unsigned level = 1) {
    std::uint64_t& place = entry(top_, 4, 0x1000, level);
    const std::uint64_t before = std::exchange(place, value);
    const unsigned found = reason_of_read(0x1000);
    place = before;
    return found;
  };
  EXPECT_EQ(reason(0), kNoRead);
  EXPECT_EQ(reason(0x7000 | kWritable), kNoRead);
  iotlb_command(1);
  EXPECT_EQ(reason(0x7000 | std::uint64_t{1} << 50 | kBoth), kTableReserved) << "above the host's addresses";
  EXPECT_EQ(reason(0x7000 | std::uint64_t{1} << 62 | kBoth), kTableReserved) << "TM without device TLBs";
  EXPECT_EQ(reason(kNothingThere | kBoth, 2), kTableAccess);
  EXPECT_EQ(reason(kNothingThere | kSnoop | kBoth, 2), kTableReserved) << "SNP in a table entry";
  EXPECT_EQ(reason(0x1000 | kLarge | kBoth, 2), kTableReserved) << "address bits below a large page";
  EXPECT_EQ(reason(kLarge | kBoth, 4), kTableReserved) << "no pages of 512 GiB";
}

TEST_F(IntelVtdTest, RequestsWithPasidAreBlocked) {
  attach_empty_domain();
  EXPECT_FALSE(unit_->translate({.stream = kDevice, .pasid = 7, .iova = Iova{0x1000}, .access = Access::write}));
  EXPECT_EQ(fault().reason, kBlocked);
  EXPECT_EQ(r64(reg::kFrcd + 8) >> 40 & 0xfffff, 7u);
  EXPECT_EQ(r64(reg::kFrcd + 8) >> 31 & 1, 1u);
}

TEST_F(IntelVtdTest, FaultProcessingDisableSuppressesQualifiedFaults) {
  attach_empty_domain();
  set_context(top_ | 2 | 1, 5 << 8 | 2);
  EXPECT_EQ(reason_of_read(0x1000), 0u);
  set_context(2, 0);
  context_command(1);
  EXPECT_EQ(reason_of_read(0x1000), 0u) << "FPD counts in an entry that is not present, too";
  word(root_, 0) = 0;
  EXPECT_EQ(reason_of_read(0x1000), kRootAbsent);
}

// ---- Fault recording and its event --------------------------------------------------------------------------

TEST_F(IntelVtdTest, FaultRecordsSayWhoAndWhere) {
  attach_empty_domain();
  EXPECT_FALSE(dma(0x1234'5678, Access::write));
  EXPECT_FALSE(dma(0x8000, Access::read, 0x0199));
  EXPECT_EQ(fault(0), (Fault{kNoWrite, kDevice, 0x1234'5000, false}));
  EXPECT_EQ(fault(1), (Fault{kRootAbsent, 0x0199, 0x8000, true}));
  EXPECT_EQ(r32(reg::kFsts), 0x02u);  // PPF, FRI 0
}

TEST_F(IntelVtdTest, FaultRecordIndexNamesTheFirstPending) {
  attach_empty_domain();
  EXPECT_FALSE(where(0x1000));
  clear_fault(0);
  EXPECT_EQ(r32(reg::kFsts), 0u);
  EXPECT_FALSE(where(0x2000));
  EXPECT_FALSE(where(0x3000));
  EXPECT_EQ(r32(reg::kFsts), 0x102u);
  EXPECT_EQ(fault(1).page, 0x2000u);
}

TEST_F(IntelVtdTest, OverflowKeepsTheOldFaultsAndStopsRecording) {
  power_on({{"fault_registers", 2}});
  attach_empty_domain();
  for (const unsigned iova : {0x1000u, 0x2000u, 0x3000u}) EXPECT_FALSE(where(iova));
  EXPECT_EQ(r32(reg::kFsts), 0x03u);  // PFO, PPF
  EXPECT_EQ(fault(0).page, 0x1000u);
  clear_fault(0);
  EXPECT_FALSE(where(0x4000));
  EXPECT_FALSE(recorded(0)) << "PFO is still set";
  w32(reg::kFsts, 1);
  EXPECT_FALSE(where(0x5000));
  EXPECT_EQ(fault(0).page, 0x5000u);
}

TEST_F(IntelVtdTest, MaskedFaultEventWaitsUntilUnmasked) {
  attach_empty_domain();
  EXPECT_FALSE(where(0x1000));
  EXPECT_THAT(interrupts_, IsEmpty());
  EXPECT_EQ(r32(reg::kFectl), 0xc000'0000u);
  w32(reg::kFectl, 0);
  EXPECT_THAT(interrupts_, ElementsAre(0u));
  EXPECT_EQ(r32(reg::kFectl), 0u);
}

TEST_F(IntelVtdTest, OneEventUntilSoftwareHasSeenAllFaults) {
  attach_empty_domain();
  w32(reg::kFectl, 0);
  EXPECT_FALSE(where(0x1000));
  EXPECT_FALSE(where(0x2000));
  EXPECT_THAT(interrupts_, ElementsAre(0u));
  clear_fault(0);
  clear_fault(1);
  EXPECT_FALSE(where(0x3000));
  EXPECT_THAT(interrupts_, ElementsAre(0u, 0u));
}

TEST_F(IntelVtdTest, ServicingAllFaultsCancelsTheWaitingEvent) {
  attach_empty_domain();
  EXPECT_FALSE(where(0x1000));
  clear_fault(0);
  EXPECT_EQ(r32(reg::kFectl), 0x8000'0000u);
  w32(reg::kFectl, 0);
  EXPECT_THAT(interrupts_, IsEmpty());
}

TEST_F(IntelVtdTest, HandlerMayReadAndClearTheFault) {
  attach_empty_domain();
  w32(reg::kFectl, 0);
  Fault seen{};
  unit_->on_interrupt([&](unsigned) {
    seen = fault(0);
    clear_fault(0);
    unmap(0x9000);
    iotlb_command(2, 5);
  });
  EXPECT_FALSE(where(0x1000));
  EXPECT_EQ(seen, (Fault{kNoRead, kDevice, 0x1000, true}));
  EXPECT_FALSE(recorded(0));
}

}  // namespace
}  // namespace softiommu::test
