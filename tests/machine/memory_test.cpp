// SPDX-License-Identifier: BSD-3-Clause
#include "machine/memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <vector>

#include "machine/findings.h"

namespace softiommu {
namespace {

MemorySpec small(std::uint64_t gib_for_users, bool fragmented = false) {
  // The arena is in [0, 1 GiB) of a small machine, else in [1, 2 GiB); the interrupt chunk at 3 GiB is not for users.
  const std::uint64_t top_gib = gib_for_users == 1 ? 2 : 3 + gib_for_users;
  return {.top = top_gib * kGiB, .table_arena = 64 * kMiB, .fragmented = fragmented};
}

class MemoryTest : public testing::Test {
 protected:
  void make(const MemorySpec& spec) { memory_ = std::move(Memory::create(spec)).value(); }
  void SetUp() override { make({}); }
  void TearDown() override {
    for (auto [first, bytes] : mappings_) munmap(first, bytes);
  }

  std::byte* map(std::uint64_t bytes, void* at = nullptr, int flags = MAP_PRIVATE | MAP_ANONYMOUS, int file = -1) {
    if (at != nullptr) flags |= MAP_FIXED;
    void* got = mmap(at, bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, file, 0);
    EXPECT_NE(got, MAP_FAILED);
    mappings_.emplace_back(got, bytes);
    return static_cast<std::byte*>(got);
  }
  // Address space with a 2 MiB boundary in front, untouched. What fits into a GiB of virtual space lies in one: a pin
  // ends where it ends.
  std::byte* map_aligned(std::uint64_t bytes, std::uint64_t alignment = 2 * kMiB) {
    alignment = std::max(alignment, std::min(std::bit_ceil(bytes), kGiB));
    const auto got = reinterpret_cast<std::uint64_t>(map(bytes + alignment));
    return reinterpret_cast<std::byte*>(align_down(got + alignment - 1, alignment));
  }
  static std::uint64_t user(const std::byte* at) { return reinterpret_cast<std::uint64_t>(at); }
  std::vector<PhysRun> pin(const std::byte* at, std::uint64_t bytes) {
    std::vector<PhysRun> runs;
    for (std::uint64_t done = 0; done < bytes; done += runs.back().bytes) {
      const auto run = memory_->pin(user(at) + done, bytes - done);
      EXPECT_TRUE(run) << run.error().why;
      if (!run) break;
      runs.push_back(*run);
    }
    return runs;
  }
  void unpin(const std::vector<PhysRun>& runs) {
    for (const PhysRun& run : runs) memory_->unpin(run);
  }
  bool pinned(const std::byte* at, std::uint64_t bytes = kPageSize) const {
    return memory_->any_pinned(user(at), bytes);
  }

  std::unique_ptr<Memory> memory_;
  std::vector<std::pair<void*, std::uint64_t>> mappings_;
};

TEST_F(MemoryTest, AnArenaWithoutRoomForUsersIsRefused) {
  EXPECT_EQ(Memory::create({.top = 4 * kGiB, .table_arena = 4 * kGiB}).error().code, EINVAL);
  EXPECT_EQ(Memory::create({.top = 2 * kGiB, .table_arena = kGiB}).error().code, EINVAL);
  EXPECT_EQ(Memory::create({.top = std::uint64_t{1} << 53}).error().code, EINVAL);
  EXPECT_EQ(Memory::create({.table_arena = 4097}).error().code, EINVAL);
}

TEST_F(MemoryTest, TablesLieBelowTheTopAndAreMemory) {
  const PhysAddr table = take(memory_->tables().allocate());
  EXPECT_LT(table.value, memory_->top());
  memory_->tables().words(table)[3] = 77;
  std::uint64_t contiguous = 0;
  EXPECT_EQ(memory_->host(table + 24, &contiguous), static_cast<void*>(memory_->tables().words(table) + 3));
  EXPECT_GE(contiguous, kPageSize - 24);
}

TEST_F(MemoryTest, APinnedPageIsReachedByItsPhysicalAddress) {
  std::byte* page = map(kPageSize);
  const auto runs = pin(page, kPageSize);
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(memory_->host(runs[0].first + 5), page + 5);
  EXPECT_EQ(runs[0].first.value % kGiB, user(page) % kGiB) << "congruent";
  EXPECT_TRUE(pinned(page));
  unpin(runs);
  EXPECT_FALSE(pinned(page));
  EXPECT_EQ(memory_->host(runs[0].first), nullptr);
}

TEST_F(MemoryTest, NothingIsAtAddressesNobodyPinned) {
  EXPECT_EQ(memory_->host(PhysAddr{0}), nullptr);
  EXPECT_EQ(memory_->host(PhysAddr{memory_->top() - 1}), nullptr);
  EXPECT_EQ(memory_->host(PhysAddr{memory_->top()}), nullptr);
  EXPECT_EQ(memory_->host(PhysAddr{~std::uint64_t{0}}), nullptr);
}

TEST_F(MemoryTest, APageHasOneAddressHoweverOftenItIsPinned) {
  std::byte* page = map(kPageSize);
  const auto once = pin(page, kPageSize), again = pin(page, kPageSize);
  EXPECT_EQ(once[0].first, again[0].first);
  EXPECT_EQ(memory_->pinned_pages(), 2u);
  unpin(once);
  EXPECT_TRUE(pinned(page));
  unpin(again);
  EXPECT_FALSE(pinned(page));
  EXPECT_EQ(memory_->pinned_pages(), 0u);
}

TEST_F(MemoryTest, BlocksMayBeUnpinnedInOtherPiecesThanTheyWerePinned) {
  std::byte* area = map_aligned(4 * kMiB);
  const auto runs = pin(area, 4 * kMiB);
  ASSERT_EQ(runs.size(), 1u);
  memory_->unpin({runs[0].first + 3 * kPageSize, kPageSize});
  EXPECT_FALSE(pinned(area + 3 * kPageSize));
  EXPECT_TRUE(pinned(area + 2 * kPageSize));
  EXPECT_TRUE(pinned(area + 4 * kPageSize));
  memory_->unpin({runs[0].first, 3 * kPageSize});
  memory_->unpin({runs[0].first + 4 * kPageSize, 4 * kMiB - 4 * kPageSize});
  EXPECT_FALSE(pinned(area, 4 * kMiB));
  EXPECT_EQ(memory_->pinned_pages(), 0u);
}

TEST_F(MemoryTest, NeighbouringGibibytesAreNeighboursInPhysicalSpace) {
  std::byte* area = map_aligned(3 * kGiB, kGiB);
  const auto runs = pin(area, 3 * kGiB);
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[1].first.value, runs[0].first.value + kGiB);
  EXPECT_EQ(runs[2].first.value, runs[1].first.value + kGiB);
  unpin(runs);
}

// A small machine, as in boards: a program's heap, stack and mappings are in several GiB of virtual space.
TEST_F(MemoryTest, PhysicalSpaceRunsOutAndComesBack) {
  make(small(1));
  constexpr std::uint64_t kChunk = std::uint64_t{1} << MemorySpec::kSmallChunkLg2;
  constexpr std::uint64_t kApart = 3 * kGiB, kChunks = kGiB / kChunk - 1;  // without the window of a GART
  std::byte* area = map_aligned((kChunks + 1) * kApart, kGiB);
  std::vector<PhysRun> runs;
  for (std::uint64_t i = 0; i < kChunks; ++i) {
    runs.push_back(pin(area + i * kApart, kPageSize).front());
    EXPECT_EQ(runs.back().first.value % kChunk, user(area + i * kApart) % kChunk) << "congruent";
    EXPECT_NE(align_down(runs.back().first.value, kChunk), 0x5800'0000u) << "no memory is behind the window";
  }
  std::byte* const more = area + kChunks * kApart;
  EXPECT_EQ(memory_->pin(user(more), kPageSize).error().code, ENOMEM);
  memory_->unpin(runs[5]);
  const auto second = pin(more, kPageSize);
  EXPECT_EQ(second[0].first, runs[5].first);
  EXPECT_EQ(memory_->host(second[0].first), more);
  EXPECT_FALSE(pinned(area + 5 * kApart));
  EXPECT_TRUE(pinned(area + 6 * kApart));
  unpin(second);
  runs.erase(runs.begin() + 5);
  unpin(runs);
}

TEST_F(MemoryTest, ASmallMachinesPagesAreNeighboursAcrossChunks) {
  make(small(1));
  constexpr std::uint64_t kChunk = std::uint64_t{1} << MemorySpec::kSmallChunkLg2;
  std::byte* area = map_aligned(4 * kChunk, MemorySpec::kSamePlace);
  const auto runs = pin(area, 4 * kChunk);
  ASSERT_EQ(runs.size(), 4u) << "a run ends with a chunk";
  for (std::size_t i = 1; i < runs.size(); ++i) EXPECT_EQ(runs[i].first, runs[i - 1].first + kChunk);
  unpin(runs);
}

// At MemorySpec::kSamePlace.
TEST_F(MemoryTest, PhysicalAddressesCanBeRepeated) {
  for (const std::uint64_t gib : {1u, 64u}) {
    std::vector<PhysAddr> first;
    for (int time = 0; time < 2; ++time) {
      make(small(gib, true));
      std::byte* area = map_aligned(8 * kMiB, MemorySpec::kSamePlace);
      const auto runs = pin(area, 8 * kMiB);
      std::vector<PhysAddr> addresses;
      for (const PhysRun& run : runs) addresses.push_back(run.first);
      if (time == 0) first = addresses;
      EXPECT_EQ(addresses, first);
      unpin(runs);
    }
  }
}

TEST_F(MemoryTest, AnAddressBeyond48BitsIsOutOfMemory) {
  EXPECT_EQ(memory_->pin(std::uint64_t{1} << 52, kPageSize).error().code, ENOMEM);
  EXPECT_FALSE(memory_->any_pinned(std::uint64_t{1} << 52, kPageSize));
  EXPECT_FALSE(memory_->any_pinned(0, ~std::uint64_t{0}));
}

TEST_F(MemoryTest, FaultPointFailsPinAndCountsNothing) {
  std::byte* page = map(kPageSize);
  fault::fail_point("memory.pin");
  EXPECT_EQ(memory_->pin(user(page), kPageSize).error().code, ENOMEM);
  fault::disarm();
  EXPECT_FALSE(pinned(page));
}

TEST_F(MemoryTest, MovedPagesKeepTheirAddressAndContent) {
  std::byte* page = map(kPageSize);
  page[7] = std::byte{0x11};
  const auto old_run = pin(page, kPageSize);
  ASSERT_TRUE(memory_->move_aside(user(page), kPageSize));
  EXPECT_FALSE(pinned(page));
  map(kPageSize, page);
  std::byte* hidden = memory_->host(old_run[0].first);
  ASSERT_NE(hidden, nullptr);
  ASSERT_NE(hidden, page);
  EXPECT_EQ(hidden[7], std::byte{0x11});
  hidden[8] = std::byte{0x22};
  EXPECT_EQ(page[8], std::byte{0}) << "the new page is another one";

  const auto new_run = pin(page, kPageSize);
  EXPECT_NE(new_run[0].first, old_run[0].first);
  EXPECT_EQ(new_run[0].first.value % kGiB, old_run[0].first.value % kGiB) << "still congruent";
  EXPECT_EQ(memory_->host(new_run[0].first), page);
  unpin(old_run);
  EXPECT_EQ(memory_->host(old_run[0].first), nullptr);
  EXPECT_EQ(pin(page, kPageSize)[0].first, new_run[0].first) << "one page, one address, as long as it is pinned";
}

TEST_F(MemoryTest, UnpinGivesMovedPagesBackToTheHost) {
  std::byte* area = map_aligned(4 * kMiB);
  const auto runs = pin(area, 4 * kMiB);
  ASSERT_TRUE(memory_->move_aside(user(area), 4 * kMiB));
  std::byte* hidden = memory_->host(runs[0].first);
  unsigned char resident[1];
  ASSERT_EQ(mincore(hidden, kPageSize, resident), 0);
  unpin(runs);
  EXPECT_EQ(mincore(hidden, kPageSize, resident), -1);
  EXPECT_EQ(errno, ENOMEM);
}

TEST_F(MemoryTest, SharedFileMappingsMoveToo) {
  const int file = memfd_create("shared", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(file, kPageSize), 0);
  std::byte* page = map(kPageSize, nullptr, MAP_SHARED, file);
  const auto run = pin(page, kPageSize);
  ASSERT_TRUE(memory_->move_aside(user(page), kPageSize));
  *memory_->host(run[0].first) = std::byte{0x5a};
  char content = 0;
  EXPECT_EQ(pread(file, &content, 1, 0), 1);
  EXPECT_EQ(content, 0x5a) << "the device still writes to the file";
  unpin(run);
  close(file);
}

TEST_F(MemoryTest, OnlyThePinnedPartMovesAndAcrossMappings) {
  std::byte* area = map_aligned(16 * kPageSize);
  map(4 * kPageSize, area + 8 * kPageSize, MAP_SHARED | MAP_ANONYMOUS);  // a mapping of another kind inside
  for (int i = 0; i < 16; ++i) area[i * 4096] = std::byte(i);
  const auto runs = pin(area + 4 * kPageSize, 10 * kPageSize);
  ASSERT_TRUE(memory_->move_aside(user(area), 16 * kPageSize));
  EXPECT_EQ(area[0], std::byte{0}) << "not pinned: stays";
  for (unsigned i = 0; i < 10; ++i) {
    EXPECT_EQ(*memory_->host(runs[0].first + i * kPageSize), std::byte(4 + i));
  }
  unpin(runs);
}

TEST_F(MemoryTest, MovingWhatIsGoneIsAnErrorAndThePageKeepsItsPlace) {
  std::byte* page = map(kPageSize);
  const auto run = pin(page, kPageSize);
  munmap(page, kPageSize);
  EXPECT_EQ(memory_->move_aside(user(page), kPageSize).error().code, EFAULT);
  EXPECT_EQ(memory_->host(run[0].first), page);
  unpin(run);
}

TEST_F(MemoryTest, APageCanMoveManyTimes) {
  make(small(8));
  std::byte* page = map(kPageSize);
  std::vector<PhysRun> runs;
  for (int i = 0; i < 5; ++i) {
    *page = std::byte(i);
    runs.push_back(pin(page, kPageSize)[0]);
    ASSERT_TRUE(memory_->move_aside(user(page), kPageSize));
    map(kPageSize, page);
  }
  for (unsigned i = 0; i < 5; ++i) EXPECT_EQ(*memory_->host(runs[i].first), std::byte(i));
  unpin(runs);
  EXPECT_EQ(pin(page, kPageSize)[0].first, runs[0].first) << "free again";
}

TEST_F(MemoryTest, LargeRangesStayLargeAfterAMove) {
  std::byte* area = map_aligned(8 * kMiB);
  const auto before = pin(area, 8 * kMiB);
  ASSERT_TRUE(memory_->move_aside(user(area), 8 * kMiB));
  map(8 * kMiB, area);
  const auto after = pin(area, 8 * kMiB);
  ASSERT_EQ(after.size(), 1u);
  EXPECT_EQ(after[0].first.value % (2 * kMiB), 0u);
  unpin(before);
  unpin(after);
}

TEST_F(MemoryTest, FragmentedMemoryIsNeitherCongruentNorContiguousButRight) {
  make(small(4, true));
  std::byte* area = map_aligned(kMiB);
  for (unsigned i = 0; i < 256; ++i) area[i * kPageSize] = std::byte(i);
  const auto runs = pin(area, kMiB);
  EXPECT_GE(runs.size(), 64u);
  unsigned page = 0, congruent = 0;
  for (const PhysRun& run : runs) {
    EXPECT_LE(run.bytes, 4 * kPageSize);
    congruent += (run.first.value - page * kPageSize - user(area)) % (2 * kMiB) == 0;
    for (std::uint64_t at = 0; at < run.bytes; at += kPageSize, ++page) {
      EXPECT_EQ(memory_->host(run.first + at), area + page * kPageSize);
    }
  }
  EXPECT_LT(congruent, 8u);
  EXPECT_TRUE(pinned(area + 100 * kPageSize));
  ASSERT_TRUE(memory_->move_aside(user(area), kMiB));
  EXPECT_EQ(*memory_->host(runs[1].first), std::byte(runs[0].bytes / kPageSize));
  unpin(runs);
  EXPECT_EQ(memory_->pinned_pages(), 0u);
}

TEST_F(MemoryTest, AnIdleMachineUsesLittleMemory) {
  const auto resident = [] {
    std::ifstream statm("/proc/self/statm");
    std::uint64_t all = 0, in_memory = 0;
    statm >> all >> in_memory;
    return in_memory * kPageSize;
  };
  const std::uint64_t before = resident();
  make({});
  EXPECT_LT(resident(), before + 2 * kMiB);
}

TEST_F(MemoryTest, ALostPageIsReportedOnce) {
  Findings findings;
  memory_->set_findings(&findings);
  memory_->report_lost(PhysAddr{0x1234'5000}, Iova{0x9000}, 0x10);
  memory_->report_lost(PhysAddr{0x1234'5010}, Iova{0x9010}, 0x10);
  memory_->report_lost(PhysAddr{0x1234'6000}, Iova{0xa000}, 0x10);
  EXPECT_EQ(findings.all().size(), 2u);
}

}  // namespace
}  // namespace softiommu
