// SPDX-License-Identifier: BSD-3-Clause
// Readers without locks beside maps and unmaps that recycle tables.
#include <thread>

#include "format_suite.h"

namespace softiommu::pt {

class Concurrency : public FormatSuite<Case<VtdSecondStage, 0>> {};

// Each IOVA only ever translates to itself + 16 GiB: an answer from a recycled table would be something else.
TEST_F(Concurrency, AReaderSeesTheRightAddressOrNone) {
  constexpr std::uint64_t kBase = 16 * kGiB, kSpan = 8 * kMiB;
  std::atomic<bool> stop{false};
  std::atomic<unsigned> wrong{0}, hits{0};
  std::thread reader([&] {
    for (std::uint64_t at = 0; !stop.load(std::memory_order_relaxed); at = (at + 13 * kPageSize) % (8 * kSpan)) {
      const auto pa = phys(at);
      if (pa) hits.fetch_add(1, std::memory_order_relaxed);
      if (pa && *pa != at + kBase) wrong.fetch_add(1, std::memory_order_relaxed);
    }
  });
  for (unsigned round = 0; round < 400 || (hits == 0 && round < 100000); ++round) {
    const std::uint64_t iova = round % 8 * kSpan + round % 3 * kPageSize, bytes = kSpan - 3 * kPageSize;
    ASSERT_EQ(map(iova, iova + kBase, bytes), 0);
    ASSERT_EQ(unmap(iova, bytes), bytes);
  }
  stop = true;
  reader.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(tables(), shape.root_tables);
}

TEST_F(Concurrency, WritersOfDifferentPagesDoNotDisturbEachOther) {
  constexpr unsigned kRounds = 2000;
  const auto work = [&](std::uint64_t iova) {
    for (unsigned round = 0; round < kRounds; ++round) {
      Gather own;
      EXPECT_TRUE(table.map(Iova{iova}, PhysAddr{iova}, kPageSize, kReadWrite));
      EXPECT_EQ(table.unmap(Iova{iova}, kPageSize, own), kPageSize);
      own.release(memory);
    }
  };
  std::thread other(work, 0x1000);
  work(0x2000);
  other.join();
  EXPECT_EQ(tables(), shape.root_tables);
}

}  // namespace softiommu::pt
