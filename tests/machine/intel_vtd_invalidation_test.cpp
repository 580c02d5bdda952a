// SPDX-License-Identifier: BSD-3-Clause
// What a VT-d unit keeps until it is told to drop it, the ways to tell it, and what paranoid mode says when software
// does not.
#include <atomic>
#include <thread>

#include "machine/intel_vtd_fixture.h"

namespace softiommu::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::uint64_t kGlobal = 1, kDomain = 2, kSelective = 3;
constexpr std::uint16_t kOther = 0x0018;  // 00:03.0

class IntelVtdInvalidationTest : public IntelVtdTest {
 protected:
  // Domain 5 with a page at 0x1000 in the IOTLB whose table entry is gone.
  void make_stale(std::initializer_list<Choice> choices = {}) {
    power_on(choices);
    attach_empty_domain();
    map(0x1000, 0x7000);
    EXPECT_EQ(where(0x1000), 0x7000u);
    unmap(0x1000);
    EXPECT_EQ(where(0x1000), 0x7000u);
  }
  bool stale() { return where(0x1000).has_value(); }
};

// ---- IOTLB --------------------------------------------------------------------------------------------------

TEST_F(IntelVtdInvalidationTest, GlobalInvalidationDropsAll) {
  make_stale();
  EXPECT_EQ(iotlb_command(kGlobal), kGlobal);
  EXPECT_FALSE(stale());
}

TEST_F(IntelVtdInvalidationTest, DomainInvalidationDropsOneDomain) {
  make_stale();
  EXPECT_EQ(iotlb_command(kDomain, 6), kDomain);
  EXPECT_TRUE(stale());
  EXPECT_EQ(iotlb_command(kDomain, 5), kDomain);
  EXPECT_FALSE(stale());
}

TEST_F(IntelVtdInvalidationTest, PageInvalidationDropsTheNamedPages) {
  make_stale();
  EXPECT_EQ(iotlb_command(kSelective, 5, 0x2000), kSelective);
  EXPECT_EQ(iotlb_command(kSelective, 6, 0x1000), kSelective);
  EXPECT_TRUE(stale());
  EXPECT_EQ(iotlb_command(kSelective, 5, 0x1000), kSelective);
  EXPECT_FALSE(stale());
}

TEST_F(IntelVtdInvalidationTest, AddressMaskCoversAnAlignedRange) {
  make_stale();
  iotlb_command(kSelective, 5, 0x8000 | 3);  // pages 8..15
  EXPECT_TRUE(stale());
  iotlb_command(kSelective, 5, 0x3000 | 1);  // pages 2..3
  EXPECT_TRUE(stale());
  iotlb_command(kSelective, 5, 0x3000 | 2);  // pages 0..3: low bits do not count
  EXPECT_FALSE(stale());
}

TEST_F(IntelVtdInvalidationTest, PageInvalidationInsideALargePageDropsIt) {
  attach_empty_domain();
  entry(top_, 4, 0x4000'0000, 2) = 0x20'0000 | kLarge | kBoth;
  EXPECT_EQ(where(0x4000'5000), 0x20'5000u);
  entry(top_, 4, 0x4000'0000, 2) = 0;
  iotlb_command(kSelective, 5, 0x401f'f000);
  EXPECT_FALSE(where(0x4000'5000));
}

TEST_F(IntelVtdInvalidationTest, TooLargeAMaskIsRefused) {
  make_stale();
  EXPECT_EQ(iotlb_command(kSelective, 5, 19), 0u);
  EXPECT_TRUE(stale());
  EXPECT_EQ(iotlb_command(kSelective, 5, 18), kSelective);
  EXPECT_FALSE(stale());
}

TEST_F(IntelVtdInvalidationTest, WithoutPageSelectionTheDomainIsDropped) {
  make_stale({{"page_selective", 0}});
  EXPECT_EQ(iotlb_command(kSelective, 5, 0x9000), kDomain);
  EXPECT_FALSE(stale());
}

TEST_F(IntelVtdInvalidationTest, CommandBitsAreClearWhenTheWriteReturns) {
  attach_empty_domain();
  iotlb_command(kGlobal);
  context_command(kGlobal);
  EXPECT_EQ(r64(reg::kIotlb) >> 63, 0u);
  EXPECT_EQ(r64(reg::kCcmd) >> 63, 0u);
  EXPECT_EQ(r64(reg::kIva), 0u) << "write-only";
}

TEST_F(IntelVtdInvalidationTest, EveryInvalidationChangesTheGeneration) {
  attach_empty_domain();
  std::uint64_t before = unit_->generation();
  iotlb_command(kSelective, 5, 0x1000);
  EXPECT_NE(unit_->generation(), before);
  before = unit_->generation();
  context_command(kSelective, 5, kDevice);
  EXPECT_NE(unit_->generation(), before);
}

TEST_F(IntelVtdInvalidationTest, DevicesOfADomainShareItsTranslations) {
  make_stale();
  attach(top_, 5, 4, kOther);
  EXPECT_EQ(where(0x1000, kOther), 0x7000u);
}

TEST_F(IntelVtdInvalidationTest, AbsentTranslationsAreCachedInCachingModeOnly) {
  attach_empty_domain();
  EXPECT_FALSE(where(0x1000));
  map(0x1000, 0x7000);
  EXPECT_EQ(where(0x1000), 0x7000u);

  power_on({{"caching_mode", 1}});
  attach_empty_domain();
  EXPECT_FALSE(where(0x1000));
  map(0x1000, 0x7000);
  EXPECT_EQ(reason_of_read(0x1000), kNoRead);
  iotlb_command(kSelective, 5, 0x1000);
  EXPECT_EQ(where(0x1000), 0x7000u);
}

// ---- Context cache ------------------------------------------------------------------------------------------

TEST_F(IntelVtdInvalidationTest, ContextEntriesStayUntilInvalidated) {
  attach_empty_domain();
  map(0x1000, 0x7000);
  EXPECT_TRUE(where(0x1000));
  set_context(0, 0);
  EXPECT_TRUE(where(0x1000));
  EXPECT_EQ(context_command(kDomain, 6), kDomain);
  EXPECT_TRUE(where(0x1000));
  EXPECT_EQ(context_command(kDomain, 5), kDomain);
  EXPECT_EQ(reason_of_read(0x1000), kContextAbsent);
}

TEST_F(IntelVtdInvalidationTest, DeviceSelectionNeedsDeviceAndDomain) {
  attach_empty_domain();
  map(0x1000, 0x7000);
  EXPECT_TRUE(where(0x1000));
  set_context(0, 0);
  context_command(kSelective, 5, kOther);
  context_command(kSelective, 6, kDevice);
  EXPECT_TRUE(where(0x1000));
  EXPECT_EQ(context_command(kSelective, 5, kDevice), kSelective);
  EXPECT_FALSE(where(0x1000));
}

TEST_F(IntelVtdInvalidationTest, FunctionMaskWidensTheDevice) {
  attach_empty_domain();
  map(0x1000, 0x7000);
  attach(top_, 5, 4, 0x0013);
  EXPECT_TRUE(where(0x1000, 0x0013));
  set_context(0, 0, 0x0013);
  context_command(kSelective, 5, 0x0010, 1);  // bit 2 is not compared
  context_command(kSelective, 5, 0x0011, 2);  // bits 2:1 are not
  EXPECT_FALSE(where(0x1000, 0x0013));

  attach(top_, 5, 4, 0x0013);
  EXPECT_TRUE(where(0x1000, 0x0013));
  set_context(0, 0, 0x0013);
  context_command(kSelective, 5, 0x0010, 2);
  EXPECT_TRUE(where(0x1000, 0x0013));
  context_command(kSelective, 5, 0x0010, 3);
  EXPECT_FALSE(where(0x1000, 0x0013));
}

TEST_F(IntelVtdInvalidationTest, NewRootTableNeedsAContextInvalidation) {
  attach_empty_domain();
  map(0x1000, 0x7000);
  EXPECT_TRUE(where(0x1000));
  w64(reg::kRtaddr, new_table());
  w32(reg::kGcmd, control_ | gcmd::kSetRoot);
  EXPECT_TRUE(where(0x1000));
  context_command(kGlobal);
  EXPECT_EQ(reason_of_read(0x1000), kRootAbsent);
}

TEST_F(IntelVtdInvalidationTest, ContextInvalidationKeepsTheIotlb) {
  make_stale();
  context_command(kGlobal);
  EXPECT_TRUE(stale());
}

TEST_F(IntelVtdInvalidationTest, AbsentContextsAreCachedUnderDomainZeroInCachingMode) {
  power_on({{"caching_mode", 1}});
  translate_on();
  EXPECT_EQ(reason_of_read(0x1000), kContextAbsent);
  top_ = new_table();
  map(0x1000, 0x7000);
  attach(top_, 5);
  EXPECT_EQ(reason_of_read(0x1000), kContextAbsent);
  context_command(kSelective, 5, kDevice);
  EXPECT_EQ(reason_of_read(0x1000), kContextAbsent);
  context_command(kSelective, 0, kDevice);
  EXPECT_EQ(where(0x1000), 0x7000u);
}

TEST_F(IntelVtdInvalidationTest, ReservedGranularityIsRefused) {
  make_stale();
  EXPECT_EQ(iotlb_command(0), 0u);
  EXPECT_EQ(context_command(0), 0u);
  EXPECT_TRUE(stale());
}

// ---- Queue --------------------------------------------------------------------------------------------------

TEST_F(IntelVtdInvalidationTest, QueueRunsInsideTheTailWrite) {
  make_stale();
  queue_on();
  place(0, 0x5'0022, 0);  // IOTLB, domain 5
  EXPECT_TRUE(stale());
  w32(reg::kIqt, 0x10);
  EXPECT_FALSE(stale());
  EXPECT_EQ(r64(reg::kIqh), 0x10u);
  EXPECT_EQ(queue_error(), 0u);
}

TEST_F(IntelVtdInvalidationTest, QueueTakesEachGranularity) {
  make_stale();
  queue_on();
  submit(0x6'0022);               // domain 6
  submit(0x5'0032, 0x2000);       // another page
  submit(0x5'00f2, 0x2000 | 64);  // the same, leaf entries only, drained
  EXPECT_TRUE(stale());
  submit(0x5'0032, 0x1000);
  EXPECT_FALSE(stale());
  map(0x1000, 0x7000);
  EXPECT_TRUE(stale());
  unmap(0x1000);
  submit(0x12);  // all
  EXPECT_FALSE(stale());
  EXPECT_EQ(queue_error(), 0u);
}

TEST_F(IntelVtdInvalidationTest, QueueDropsContexts) {
  attach_empty_domain();
  map(0x1000, 0x7000);
  EXPECT_TRUE(where(0x1000));
  queue_on();
  set_context(0, 0);
  submit(0x0018'0005'0031);  // another device of domain 5
  EXPECT_TRUE(where(0x1000));
  submit(0x0010'0005'0031);
  EXPECT_EQ(reason_of_read(0x1000), kContextAbsent);
}

TEST_F(IntelVtdInvalidationTest, QueueWrapsAround) {
  make_stale();
  queue_on();
  for (int i = 0; i < 300; ++i) submit(0x6'0022);
  EXPECT_EQ(r64(reg::kIqh), (300u - 256u) * 16u);
  EXPECT_EQ(r64(reg::kIqt), r64(reg::kIqh));
  EXPECT_TRUE(stale());
  submit(0x5'0022);
  EXPECT_FALSE(stale());
}

TEST_F(IntelVtdInvalidationTest, LongerQueuesHaveMoreDescriptors) {
  make_stale();
  queue_on(1);
  for (unsigned i = 0; i < 511; ++i) place(i, 0x6'0022, 0);
  place(510, 0x5'0022, 0);
  w32(reg::kIqt, 511 * 16);
  EXPECT_EQ(r64(reg::kIqh), 511u * 16u);
  EXPECT_FALSE(stale());
}

TEST_F(IntelVtdInvalidationTest, WaitDescriptorWritesItsStatus) {
  queue_on();
  const std::uint64_t status = new_table();
  word(status) = 0xaaaa'bbbb'cccc'dddd;
  submit(0x1234'5678'0000'0065, status + 4);
  EXPECT_EQ(word(status), 0x1234'5678'cccc'ddddu);
  EXPECT_EQ(r32(reg::kIcs), 0u);
  EXPECT_THAT(interrupts_, IsEmpty());
}

TEST_F(IntelVtdInvalidationTest, WaitDescriptorRaisesTheCompletionEvent) {
  queue_on();
  submit(0x15);
  EXPECT_EQ(r32(reg::kIcs), 1u);
  EXPECT_EQ(r32(reg::kIectl), 0xc000'0000u);
  w32(reg::kIectl, 0);
  EXPECT_THAT(interrupts_, ElementsAre(1u));
  submit(0x15);
  EXPECT_THAT(interrupts_, ElementsAre(1u)) << "the last one has not been seen yet";
  w32(reg::kIcs, 1);
  submit(0x15);
  EXPECT_THAT(interrupts_, ElementsAre(1u, 1u));
}

TEST_F(IntelVtdInvalidationTest, WaitStatusOutsideOfMemoryIsAFinding) {
  queue_on();
  submit(0x25, kNothingThere);
  EXPECT_EQ(queue_error(), 0u);
  EXPECT_THAT(findings_.all(), ElementsAre("dmar0: the status address of a wait descriptor is not in memory"));
}

TEST_F(IntelVtdInvalidationTest, DeviceTlbDescriptorIsAccepted) {
  queue_on();
  submit(0x0010'0000'0003, 0x1000);
  EXPECT_EQ(queue_error(), 0u);
  EXPECT_EQ(r64(reg::kIqh), 0x10u);
}

TEST_F(IntelVtdInvalidationTest, EachQueueErrorIsNamed) {
  const auto error_of = [&](std::uint64_t low, std::uint64_t high = 0) {
    power_on();
    queue_on();
    submit(low, high);
    EXPECT_EQ(r64(reg::kIqh), 0u);
    return queue_error();
  };
  EXPECT_EQ(error_of(0), 3u);
  EXPECT_EQ(error_of(0x6), 3u) << "PASID-based";
  EXPECT_EQ(error_of(0x4), 3u) << "interrupt entries";
  EXPECT_EQ(error_of(0x202), 3u) << "upper type bits";
  EXPECT_EQ(error_of(0x02), 4u) << "granularity 0";
  EXPECT_EQ(error_of(0x112), 4u) << "reserved bit 8";
  EXPECT_EQ(error_of(0x32, 0x80), 4u) << "reserved bit 7 of the high word";
  EXPECT_EQ(error_of(0x32, 19), 4u) << "mask beyond MAMV";
  EXPECT_EQ(error_of(0x11, 1), 4u);
  EXPECT_EQ(error_of(0x25, 1), 4u) << "status address is not a multiple of 4";
  EXPECT_EQ(error_of(0xa5), 4u) << "no page requests to drain";
  EXPECT_EQ(error_of(0x13), 4u);
}

TEST_F(IntelVtdInvalidationTest, TailOutsideAndQueueOutsideOfMemoryAreErrors) {
  queue_on();
  w32(reg::kIqt, 0x1000);
  EXPECT_EQ(queue_error(), 1u);
  power_on();
  queue_on();
  w64(reg::kIqa, kNothingThere);
  w32(reg::kIqt, 0x10);
  EXPECT_EQ(queue_error(), 2u);
}

TEST_F(IntelVtdInvalidationTest, QueueGoesOnWhenTheErrorIsCleared) {
  make_stale();
  queue_on();
  w32(reg::kFectl, 0);
  submit(0);
  EXPECT_THAT(interrupts_, ElementsAre(0u));
  submit(0x5'0022);
  EXPECT_TRUE(stale()) << "the queue stands still";
  place(0, 0x6'0022, 0);
  w32(reg::kFsts, 0x10);
  EXPECT_FALSE(stale());
  EXPECT_EQ(r64(reg::kIqh), 0x20u);
  EXPECT_EQ(queue_error(), 0u);
}

TEST_F(IntelVtdInvalidationTest, RegistersDoNotInvalidateWhileTheQueueIsOn) {
  make_stale();
  queue_on();
  EXPECT_EQ(iotlb_command(kGlobal), 0u);
  EXPECT_EQ(context_command(kGlobal), 0u);
  EXPECT_TRUE(stale());
  EXPECT_EQ(findings_.all().size(), 2u);
}

TEST_F(IntelVtdInvalidationTest, TurningTheQueueOffStartsItAnew) {
  make_stale();
  queue_on();
  submit(0x6'0022);
  turn_off(gcmd::kQueue);
  EXPECT_EQ(r64(reg::kIqh), 0u);
  place(0, 0x5'0022, 0);
  w32(reg::kIqt, 0x10);
  EXPECT_TRUE(stale());
  turn_on(gcmd::kQueue);
  EXPECT_FALSE(stale());
}

// ---- Paranoid mode ------------------------------------------------------------------------------------------

TEST_F(IntelVtdInvalidationTest, ParanoidModeNamesTheMissingInvalidation) {
  power_on({}, true);
  attach_empty_domain();
  map(0x1000, 0x7000);
  EXPECT_TRUE(where(0x1000));
  EXPECT_TRUE(where(0x1000));
  EXPECT_THAT(findings_.all(), IsEmpty());
  unmap(0x1000);
  EXPECT_TRUE(where(0x1010));
  EXPECT_TRUE(where(0x1010)) << "reported once";
  EXPECT_THAT(
      findings_.all(),
      ElementsAre("dmar0: stale translation: device 00:02.0, domain id 5, iova 0x1010: the IOTLB says 0x7010 "
                  "but the tables say not present; missing: an IOTLB invalidation of domain 5 covering 0x1000"));
}

TEST_F(IntelVtdInvalidationTest, ParanoidModeSeesMovedPagesAndLostRights) {
  power_on({}, true);
  attach_empty_domain();
  map(0x1000, 0x7000);
  map(0x2000, 0x8000);
  EXPECT_TRUE(where(0x1000) && where(0x2000));
  map(0x1000, 0x9000);
  map(0x2000, 0x8000, kReadable);
  EXPECT_TRUE(where(0x1000) && where(0x2000));
  ASSERT_EQ(findings_.all().size(), 2u);
  EXPECT_THAT(findings_.all()[0], testing::HasSubstr("the IOTLB says 0x7000 but the tables say 0x9000; missing"));
  EXPECT_THAT(findings_.all()[1], testing::HasSubstr("says 0x8000 but the tables say 0x8000 (read only); missing"));
}

TEST_F(IntelVtdInvalidationTest, ParanoidModeAcceptsDoneInvalidations) {
  power_on({}, true);
  attach_empty_domain();
  map(0x1000, 0x7000);
  EXPECT_TRUE(where(0x1000));
  map(0x1000, 0x9000);
  iotlb_command(kSelective, 5, 0x1000);
  EXPECT_EQ(where(0x1000), 0x9000u);
  EXPECT_THAT(findings_.all(), IsEmpty());
}

TEST_F(IntelVtdInvalidationTest, ParanoidModeNamesAStaleContextEntry) {
  power_on({}, true);
  translate_on();
  set_context(2 << 2 | 1, 5 << 8 | 2);
  EXPECT_TRUE(where(0x1000));
  set_context(0, 0);
  EXPECT_TRUE(where(0x1000));
  EXPECT_TRUE(where(0x2000));
  EXPECT_THAT(
      findings_.all(),
      ElementsAre("dmar0: stale context entry: device 00:02.0: the context cache says domain id 5, table 0x0, 4 "
                  "levels, translation type 2 but the tables say not present; missing: a context-cache "
                  "invalidation of device 00:02.0 in domain 5"));
}

TEST_F(IntelVtdInvalidationTest, PortsMayKeepNothingInParanoidMode) {
  power_on({}, true);
  attach_empty_domain();
  map(0x1000, 0x7000);
  EXPECT_FALSE(dma(0x1000)->cacheable);
  EXPECT_FALSE(dma(0x1000)->cacheable);
}

// ---- Threads ------------------------------------------------------------------------------------------------

// A page is only ever mapped to one of two frames, and each change is followed by an invalidation: once the wait
// descriptor is done, no translation to the old frame may appear.
TEST_F(IntelVtdInvalidationTest, NoOldTranslationAppearsAfterTheWait) {
  attach_empty_domain();
  map(0x1000, 0x7000);
  queue_on();
  const std::uint64_t status = new_table();
  std::atomic<bool> stop{false};
  std::thread device([&] {
    while (!stop.load()) static_cast<void>(where(0x1000));
  });
  for (unsigned i = 0; i < 2000; ++i) {
    const std::uint64_t frame = i % 2 != 0 ? 0x7000 : 0x8000;
    std::atomic_ref(entry(top_, 4, 0x1000)).store(frame | kBoth);
    submit(0x5'0032, 0x1000);
    submit(std::uint64_t{i + 1} << 32 | 0x25, status);
    EXPECT_EQ(word(status), i + 1);
    EXPECT_EQ(where(0x1000), frame);
  }
  stop.store(true);
  device.join();
}

}  // namespace
}  // namespace softiommu::test
