// SPDX-License-Identifier: BSD-3-Clause
// The AMD IOMMU model: every command, the event log, the log of page requests, and who waits for whom.
#include <thread>

#include "machine/amd_iommu_fixture.h"
#include "machine/dma_port.h"

namespace softiommu::test {
namespace {

using namespace amd;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::uint64_t kSize = 1, kGuestFlag = 4, kAll = 0x7fff'ffff'ffff'f000;

class AmdIommuCommands : public AmdIommuTest {
 protected:
  // Cached translations of 0x1000, 0x2000 ... that memory no longer has.
  void cache_pages(unsigned count) {
    for (unsigned page = 1; page <= count; ++page) map(page * 0x1000, 0x8000'0000 + page * 0x1000);
    for (unsigned page = 1; page <= count; ++page) ASSERT_TRUE(where(page * 0x1000));
    for (unsigned page = 1; page <= count; ++page) entry(page * 0x1000) = 0;
  }
  // Which of them are still there.
  std::vector<unsigned> cached(unsigned count) {
    std::vector<unsigned> pages;
    for (unsigned page = 1; page <= count; ++page)
      if (where(page * 0x1000)) pages.push_back(page);
    return pages;
  }
  static std::array<std::byte, 4096> filled_with(char c) {
    std::array<std::byte, 4096> all;
    all.fill(static_cast<std::byte>(c));
    return all;
  }
  bool stopped() { return (status() & kCommandRun) == 0; }
};

// ---- COMPLETION_WAIT --------------------------------------------------------------------------------------------

TEST_F(AmdIommuCommands, ACompletionWaitStores) {
  start();
  const std::uint64_t place = new_table();
  submit(op(1) | (place + 8) | 1, 0x1122'3344'5566'7788);
  EXPECT_EQ(word(place, 1), 0x1122'3344'5566'7788u);
  EXPECT_EQ(word(place, 0), 0u);
  EXPECT_EQ(r64(kCmdHead), r64(kCmdTail));
  EXPECT_THAT(interrupts_, IsEmpty());
}

TEST_F(AmdIommuCommands, ACompletionWaitInterruptsOnceUntilItIsAcknowledged) {
  start();
  submit(op(1) | 2);
  submit(op(1) | 2);
  EXPECT_THAT(interrupts_, ElementsAre(0));
  EXPECT_NE(status() & kWaited, 0u);
  w64(kStatus, kWaited);
  EXPECT_EQ(status() & kWaited, 0u);
  submit(op(1) | 2);
  EXPECT_THAT(interrupts_, ElementsAre(0, 0));
}

TEST_F(AmdIommuCommands, WithoutItsEnableBitItSaysSoInTheStatusOnly) {
  start();
  turn_off(kWaitInt);
  submit(op(1) | 2);
  EXPECT_THAT(interrupts_, IsEmpty());
  EXPECT_NE(status() & kWaited, 0u);
}

TEST_F(AmdIommuCommands, ACompletionWaitWaitsForDmaThatUsesTheOldTranslation) {
  attach_host();
  alignas(4096) static std::array<std::byte, 4096> memory{};
  const auto run = memory_->pin(reinterpret_cast<std::uintptr_t>(memory.data()), memory.size());
  ASSERT_TRUE(run);
  map(0x1000, run->first.value);
  const std::atomic_ref<std::uint64_t> leaf(entry(0x1000));
  const std::uint64_t mapped = leaf.load();
  DmaPort port(*memory_, unit_.get(), kDevice);
  std::jthread dma([&](const std::stop_token& stop) {
    const std::array<std::byte, 4096> zeros{};
    while (!stop.stop_requested()) static_cast<void>(port.write(Iova{0x1000}, zeros));
  });
  const std::uint64_t place = new_table();
  for (std::uint64_t round = 1; round <= 50; ++round) {
    leaf.store(0);
    invalidate(0x1000);
    submit(op(1) | place | 1, round);
    ASSERT_EQ(word(place), round);
    memory.fill(std::byte{'x'});
    std::this_thread::yield();
    ASSERT_EQ(memory, filled_with('x')) << "the device still wrote";
    leaf.store(mapped);
  }
}

// ---- INVALIDATE_IOMMU_PAGES -------------------------------------------------------------------------------------

TEST_F(AmdIommuCommands, OnePage) {
  attach_host();
  cache_pages(4);
  invalidate(0x2000);
  EXPECT_THAT(cached(4), ElementsAre(1, 3, 4));
}

TEST_F(AmdIommuCommands, SizesArePowersOfTwoAroundTheAddress) {
  attach_host();
  cache_pages(9);
  invalidate(0x2000, kSize);  // 8 KiB: no ones
  EXPECT_THAT(cached(9), ElementsAre(1, 4, 5, 6, 7, 8, 9));
  invalidate(0x5000, kSize);  // 16 KiB: one of them, from 0x4000
  EXPECT_THAT(cached(9), ElementsAre(1, 8, 9));
  invalidate(0x3000, kSize);  // 32 KiB from 0
  EXPECT_THAT(cached(9), ElementsAre(8, 9));
}

TEST_F(AmdIommuCommands, TheLargestSizeIsTheWholeDomain) {
  attach_host();
  cache_pages(3);
  invalidate(kAll, kSize | 2);
  EXPECT_THAT(cached(3), IsEmpty());
}

TEST_F(AmdIommuCommands, OtherDomainsKeepTheirs) {
  attach_host();
  cache_pages(2);
  invalidate(kAll, kSize, kDomain + 1);
  EXPECT_THAT(cached(2), ElementsAre(1, 2));
}

TEST_F(AmdIommuCommands, ASmallInvalidationTakesALargePage) {
  attach_host();
  entry(0x20'0000, 2) = 0x8000'0000 | kPage;
  ASSERT_TRUE(where(0x20'0000));
  entry(0x20'0000, 2) = 0;
  ASSERT_TRUE(where(0x20'0000));
  invalidate(0x3f'f000);
  EXPECT_FALSE(where(0x20'0000));
}

TEST_F(AmdIommuCommands, GuestTranslationsGoByPasid) {
  attach_guest();
  map_guest(0x1000, 0x8000'1000);
  word(gcr3_, 3) = guest_ | 1;
  ASSERT_TRUE(where(0x1000) && where(0x1000, Access::read, 3));
  guest_entry(guest_, 0x1000) = 0;
  invalidate(0x1000);
  EXPECT_TRUE(where(0x1000)) << "GN is 0: a host page";
  invalidate(0x1000, kGuestFlag, kDomain, 3);
  EXPECT_TRUE(where(0x1000));
  EXPECT_FALSE(where(0x1000, Access::read, 3));
  invalidate(0x1000, kGuestFlag);
  EXPECT_FALSE(where(0x1000));
}

TEST_F(AmdIommuCommands, TheWholeDomainHasTheTranslationsOfItsPasids) {
  attach_guest();
  map_guest(0x1000, 0x8000'1000);
  ASSERT_TRUE(where(0x1000));
  guest_entry(guest_, 0x1000) = 0;
  invalidate(kAll, kSize);
  EXPECT_FALSE(where(0x1000));
}

// ---- The other commands -----------------------------------------------------------------------------------------

TEST_F(AmdIommuCommands, InvalidateAllForgetsEntriesAndTranslations) {
  attach_host();
  cache_pages(2);
  submit(op(8));
  EXPECT_THAT(cached(2), IsEmpty());
  word(devices_, 4 * kDevice) = 0;
  EXPECT_FALSE(where(0x1000));
  submit(op(8));
  EXPECT_EQ(where(0x1000), 0x1000u);
}

TEST_F(AmdIommuCommands, DeviceTlbsAndInterruptTablesAreNotHereButTheirCommandsAre) {
  start();
  submit(op(4) | kDevice | std::uint64_t{kDevice} << 32, 0x1000);
  submit(op(5) | kDevice);
  EXPECT_FALSE(stopped());
  EXPECT_THAT(events(), IsEmpty());
}

TEST_F(AmdIommuCommands, APrefetchedPageIsInTheCache) {
  attach_host();
  for (unsigned page = 1; page <= 3; ++page) map(page * 0x1000, 0x8000'0000);
  submit(op(6) | kDevice | 1u << 24, 0x1000);  // two pages
  for (unsigned page = 1; page <= 3; ++page) entry(page * 0x1000) = 0;
  EXPECT_THAT(cached(3), ElementsAre(1, 2));
}

TEST_F(AmdIommuCommands, APrefetchMayForgetFirstAndIsSilent) {
  attach_host();
  map(0x1000, 0x8000'1000);
  ASSERT_TRUE(where(0x1000));
  map(0x1000, 0x8000'2000);
  submit(op(6) | kDevice, 0x1000 | 0x10);
  EXPECT_EQ(where(0x1000), 0x8000'2000u);
  submit(op(6) | kDevice, 0x9000);
  EXPECT_THAT(events(), IsEmpty());
}

// ---- What stops the buffer --------------------------------------------------------------------------------------

class IllegalCommands : public AmdIommuCommands, public ::testing::WithParamInterface<std::array<std::uint64_t, 2>> {};

constexpr std::uint64_t opcode(std::uint64_t code) { return code << 60; }

INSTANTIATE_TEST_SUITE_P(
    Forms, IllegalCommands,
    ::testing::Values(std::array{opcode(0), std::uint64_t{0}}, std::array{opcode(9), std::uint64_t{0}},
                      std::array{opcode(1) | std::uint64_t{1} << 52, std::uint64_t{0}},
                      std::array{opcode(2) | 0x1'0000, std::uint64_t{0}},
                      std::array{opcode(2) | kDevice, std::uint64_t{1}},
                      std::array{opcode(3) | 0x10'0000, std::uint64_t{0}}, std::array{opcode(3), std::uint64_t{8}},
                      std::array{opcode(5) | kDevice, std::uint64_t{1}},
                      std::array{opcode(7) | 0x1'0000, std::uint64_t{0}}, std::array{opcode(8) | 1, std::uint64_t{0}}));

TEST_P(IllegalCommands, AreAnEventAndStopTheBuffer) {
  start();
  submit(GetParam()[0], GetParam()[1]);
  EXPECT_TRUE(stopped());
  EXPECT_EQ(r64(kCmdHead), 0u) << "the head stays at the command";
  EXPECT_THAT(events(), ElementsAre(AmdEvent{kIllegalCommand, 0, 0, 0, commands_}));
  EXPECT_THAT(interrupts_, ElementsAre(0));
}

TEST_F(AmdIommuCommands, CommandsOfFeaturesThatAreNotThereAreIllegal) {
  power_on({{"prefetch", 0}, {"page_requests", 0}, {"invalidate_all", 0}});
  for (const std::uint64_t code : {std::uint64_t{6}, std::uint64_t{7}, std::uint64_t{8}}) {
    start();
    restart_commands();
    submit(op(code));
    EXPECT_TRUE(stopped()) << code;
  }
}

TEST_F(AmdIommuCommands, AStoppedBufferRunsAgainWhenItIsEnabledAnew) {
  start();
  submit(op(9));
  submit(op(1) | 2);
  EXPECT_EQ(status() & kWaited, 0u);
  restart_commands();
  EXPECT_EQ(r64(kCmdHead), 0u);
  submit(op(1) | 2);
  EXPECT_NE(status() & kWaited, 0u);
}

TEST_F(AmdIommuCommands, ABufferThatIsNotThereIsAHardwareError) {
  start();
  w64(kCmdBase, kNothingThere | std::uint64_t{8} << 56);
  w64(kCmdTail, 16);
  EXPECT_TRUE(stopped());
  EXPECT_THAT(events(), ElementsAre(AmdEvent{kCommandError, 0, 0, kAbort, kNothingThere}));
}

TEST_F(AmdIommuCommands, TheBufferIsARing) {
  start();
  const std::uint64_t place = new_table();
  for (std::uint64_t i = 1; i <= 600; ++i) submit(op(1) | place | 1, i);
  EXPECT_EQ(word(place), 600u);
}

// ---- The event log ----------------------------------------------------------------------------------------------

TEST_F(AmdIommuCommands, AnEventInterruptsOnceUntilItIsAcknowledged) {
  start();
  EXPECT_FALSE(where(0x1000));
  EXPECT_FALSE(where(0x2000));
  EXPECT_THAT(interrupts_, ElementsAre(0));
  EXPECT_EQ(events().size(), 2u);
  EXPECT_FALSE(where(0x3000));
  EXPECT_THAT(interrupts_, ElementsAre(0, 0));
}

TEST_F(AmdIommuCommands, WithoutItsEnableBitTheLogFillsSilently) {
  start();
  turn_off(kEventInt);
  EXPECT_FALSE(where(0x1000));
  EXPECT_THAT(interrupts_, IsEmpty());
  EXPECT_EQ(events().size(), 1u);
}

TEST_F(AmdIommuCommands, AFullLogStopsUntilItIsEnabledAnew) {
  start();
  for (int i = 0; i < 300; ++i) EXPECT_FALSE(where(0x1000));
  EXPECT_NE(status() & kOverflow, 0u);
  EXPECT_EQ(status() & kEventRun, 0u);
  EXPECT_EQ(events().size(), 255u) << "one entry less than it has";
  EXPECT_FALSE(where(0x1000));
  EXPECT_THAT(events(), IsEmpty());
  turn_off(kEvents);
  w64(kStatus, kOverflow);
  turn_on(kEvents);
  EXPECT_FALSE(where(0x2000));
  EXPECT_EQ(events().size(), 1u);
}

TEST_F(AmdIommuCommands, TheHandlerMayReadTheLogAndUseTheBuffer) {
  start();
  const std::uint64_t place = new_table();
  std::size_t seen = 0;
  unit_->on_interrupt([&](unsigned) {
    seen += events().size();
    submit(op(1) | place | 1, seen);
  });
  EXPECT_FALSE(where(0x1000));
  EXPECT_FALSE(where(0x2000));
  EXPECT_EQ(seen, 2u);
  EXPECT_EQ(word(place), 2u);
}

// ---- Page requests ----------------------------------------------------------------------------------------------

class AmdPageRequests : public AmdIommuCommands {
 protected:
  static constexpr amd_iommu::PageRequest kRequest{
      .stream = kDevice, .pasid = 0x1'2345, .page = Iova{0x7000}, .read = true, .write = true, .tag = 0x1a5};
  void let_request() { attach_guest(kGiov | kMayRequest); }
};

TEST_F(AmdPageRequests, AreLoggedWithAnInterrupt) {
  let_request();
  EXPECT_TRUE(model().log_page_request(kRequest));
  EXPECT_EQ(word(pprs_), 0x1164'05a5'2345'0010u) << "GN, US, W, R; the PASID in two pieces";
  EXPECT_EQ(word(pprs_, 1), 0x7000u);
  EXPECT_EQ(r64(kPprTail), 16u);
  EXPECT_THAT(interrupts_, ElementsAre(1));
  EXPECT_NE(status() & kPprLogged, 0u);
}

TEST_F(AmdPageRequests, OfADeviceThatMayNotAreAnEvent) {
  attach_guest();
  EXPECT_FALSE(model().log_page_request(kRequest));
  const auto all = events();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].code, kInvalidPpr);
  EXPECT_EQ(all[0].address, 0x7000u);
  EXPECT_EQ(r64(kPprTail), 0u);
}

TEST_F(AmdPageRequests, NeedTheUnitsConsent) {
  let_request();
  turn_off(kPpr);
  EXPECT_FALSE(model().log_page_request(kRequest));
  EXPECT_EQ(events().front().code, kInvalidPpr);
}

TEST_F(AmdPageRequests, AreLostWhenTheLogIsFull) {
  let_request();
  for (int i = 0; i < 255; ++i) EXPECT_TRUE(model().log_page_request(kRequest));
  EXPECT_FALSE(model().log_page_request(kRequest));
  EXPECT_NE(status() & kPprOverflow, 0u);
  EXPECT_EQ(status() & kPprRun, 0u);
}

TEST_F(AmdPageRequests, AreAnsweredByACommand) {
  let_request();
  std::vector<amd_iommu::PageResponse> answers;
  model().on_page_response([&](const amd_iommu::PageResponse& answer) { answers.push_back(answer); });
  submit(op(7) | kDevice | std::uint64_t{0x1'2345} << 32, kGuestFlag | std::uint64_t{0x11a5} << 32);
  submit(op(7) | kDevice, std::uint64_t{0xf002} << 32);
  EXPECT_THAT(answers, ElementsAre(amd_iommu::PageResponse{kDevice, 0x1'2345, 0x1a5, 1},
                                   amd_iommu::PageResponse{kDevice, 0, 2, 15}));
}

}  // namespace
}  // namespace softiommu::test
