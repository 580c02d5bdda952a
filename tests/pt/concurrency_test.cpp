// SPDX-License-Identifier: BSD-3-Clause
// Several threads on one table: more of it than the laws have time for in every format.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "arena.h"
#include "pt/formats/vtd_second_stage.h"
#include "pt/page_table.h"

namespace softiommu::pt {

class Concurrency : public ::testing::Test {
 protected:
  static constexpr Prot kReadWrite{.read = true, .write = true};

  Arena memory;
  PageTable<VtdSecondStage> table = *PageTable<VtdSecondStage>::create(memory, {});
};

// Each IOVA only ever translates to itself + 16 GiB: an answer from a recycled table would be something else.
TEST_F(Concurrency, AReaderSeesTheRightAddressOrNone) {
  constexpr std::uint64_t kBase = 16 * kGiB, kSpan = 8 * kMiB;
  std::atomic<bool> stop{false};
  std::atomic<unsigned> wrong{0}, hits{0};
  std::thread reader([&] {
    for (std::uint64_t at = 0; !stop.load(std::memory_order_relaxed); at = (at + 13 * kPageSize) % (8 * kSpan)) {
      const auto pa = table.iova_to_phys(Iova{at});
      if (pa) hits.fetch_add(1, std::memory_order_relaxed);
      if (pa && pa->value != at + kBase) wrong.fetch_add(1, std::memory_order_relaxed);
    }
  });
  Gather gather;
  for (unsigned round = 0; round < 400 || (hits == 0 && round < 100000); ++round) {
    const std::uint64_t iova = round % 8 * kSpan + round % 3 * kPageSize, bytes = kSpan - 3 * kPageSize;
    ASSERT_TRUE(table.map(Iova{iova}, PhysAddr{iova + kBase}, bytes, kReadWrite));
    ASSERT_EQ(table.unmap(Iova{iova}, bytes, gather), bytes);
    gather.release(memory);
  }
  stop = true;
  reader.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(memory.allocated_bytes(), table.root_bytes());
}

// Single pages, runs and large pages of several threads, each in pages of its own that lie between those of the others.
TEST_F(Concurrency, WritersOfDifferentPagesDoNotDisturbEachOther) {
  constexpr unsigned kThreads = 4, kRounds = 3000;
  constexpr std::uint64_t kSlot = 64 * kPageSize;
  const auto work = [&](std::uint64_t me) {
    std::mt19937_64 random(me);
    for (unsigned round = 0; round < kRounds; ++round) {
      Gather own;
      const std::uint64_t iova = (random() % 64 * kThreads + me) * kSlot, bytes = (1 + random() % 64) * kPageSize;
      EXPECT_TRUE(table.map(Iova{iova}, PhysAddr{iova + kGiB + kPageSize}, bytes, kReadWrite));
      EXPECT_EQ(table.iova_to_phys(Iova{iova + bytes - 1}), PhysAddr{iova + kGiB + kPageSize + bytes - 1});
      if (round % 16 == 0) table.read_dirty(table.aperture(), true, [](Iova, std::uint64_t) { ADD_FAILURE(); });
      EXPECT_EQ(table.unmap(Iova{iova}, bytes, own), bytes);
      const Iova large{(1 + me) * kGiB + random() % 4 * 2 * kMiB};
      EXPECT_TRUE(table.map(large, PhysAddr{0}, 2 * kMiB, kReadWrite));
      if (round % 4 == 0) {
        EXPECT_TRUE(table.cut(IovaRange::of(large, kPageSize), own));
      }
      EXPECT_EQ(table.unmap(large, 2 * kMiB, own), 2 * kMiB);
      own.release(memory);
    }
  };
  std::vector<std::thread> others;
  for (std::uint64_t me = 1; me < kThreads; ++me) others.emplace_back(work, me);
  work(0);
  for (std::thread& other : others) other.join();
  EXPECT_EQ(memory.allocated_bytes(), table.root_bytes());
}

// Two threads map and unmap runs in one leaf table; a third makes both take the long way again and again.
TEST_F(Concurrency, RunsInOneTableAreCountedOnce) {
  constexpr unsigned kRounds = 20000;
  std::atomic<bool> stop{false};
  std::thread evictor([&] {
    Gather gather;
    while (!stop) EXPECT_TRUE(table.cut(IovaRange::of(Iova{0}, kPageSize), gather));
  });
  const auto work = [&](std::uint64_t first) {
    for (unsigned round = 0; round < kRounds; ++round) {
      Gather own;
      EXPECT_TRUE(table.map(Iova{first}, PhysAddr{kGiB + first}, 2 * kPageSize, kReadWrite));
      EXPECT_EQ(table.unmap(Iova{first}, 2 * kPageSize, own), 2 * kPageSize);
      own.release(memory);
    }
  };
  std::thread other(work, 16 * kPageSize);
  work(32 * kPageSize);
  other.join();
  stop = true;
  evictor.join();
  EXPECT_EQ(memory.allocated_bytes(), table.root_bytes());
}

}  // namespace softiommu::pt
