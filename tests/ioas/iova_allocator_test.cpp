// SPDX-License-Identifier: BSD-3-Clause
// The oracle of the allocator is one bit a page.
#include "ioas/iova_allocator.h"

#include <gtest/gtest.h>

#include <bit>
#include <optional>
#include <random>
#include <vector>

namespace softiommu {
namespace {

constexpr IovaRange kWhole{Iova{0}, Iova{~std::uint64_t{0}}};

IovaRange pages(std::uint64_t first, std::uint64_t count) {
  return IovaRange::of(Iova{first * kPageSize}, count * kPageSize);
}

TEST(IovaAllocator, TakesTheHighestAddressThatTheDeviceReaches) {
  IovaAllocator allocator(pages(1, 100));
  EXPECT_EQ(allocator.allocate({.bytes = kPageSize}), Iova{100 * kPageSize});
  EXPECT_EQ(allocator.allocate({.bytes = kPageSize, .limit = Iova{50 * kPageSize}}), Iova{49 * kPageSize});
  EXPECT_EQ(allocator.allocate({.bytes = 4 * kPageSize, .alignment = 4 * kPageSize}), Iova{96 * kPageSize});
}

TEST(IovaAllocator, ReservedRangesAreNeverHandedOut) {
  IovaAllocator allocator(pages(1, 10));
  ASSERT_TRUE(allocator.reserve(pages(3, 6)));
  EXPECT_EQ(allocator.allocate({.bytes = 2 * kPageSize}), Iova{9 * kPageSize});
  EXPECT_EQ(allocator.allocate({.bytes = 2 * kPageSize}), Iova{1 * kPageSize});
  EXPECT_EQ(allocator.allocate({.bytes = kPageSize}).error().code, ENOSPC);
}

TEST(IovaAllocator, OnlyWhatIsAllocatedIsFreed) {
  IovaAllocator allocator(pages(1, 10));
  const Iova iova = *allocator.allocate({.bytes = 2 * kPageSize});
  EXPECT_EQ(allocator.free(iova + kPageSize).error().code, ENOENT);
  EXPECT_TRUE(allocator.free(iova));
  EXPECT_EQ(allocator.free(iova).error().code, ENOENT);
}

TEST(IovaAllocator, PartsOfPagesAndOddAlignmentsAreRefused) {
  IovaAllocator allocator(pages(1, 10));
  EXPECT_EQ(allocator.allocate({.bytes = 0}).error().code, EINVAL);
  EXPECT_EQ(allocator.allocate({.bytes = 100}).error().code, EINVAL);
  EXPECT_EQ(allocator.allocate({.bytes = kPageSize, .alignment = 3 * kPageSize}).error().code, EINVAL);
}

TEST(IovaAllocator, AgreesWithABitmapUntilNothingFits) {
  constexpr std::uint64_t kPages = 3'000;
  IovaAllocator allocator(pages(0, kPages));
  std::vector<bool> used(kPages);
  std::vector<IovaRange> live;
  std::mt19937_64 random(3);
  const auto highest = [&](std::uint64_t count) -> std::optional<std::uint64_t> {
    for (std::uint64_t at = (kPages - count) / count * count;; at -= count) {
      bool free = true;
      for (std::uint64_t i = at; i < at + count; ++i) free = free && !used[i];
      if (free) return at;
      if (at == 0) return std::nullopt;
    }
  };
  const auto mark = [&](IovaRange range, bool value) {
    for (std::uint64_t i = range.first.value / kPageSize; i <= range.last.value / kPageSize; ++i) used[i] = value;
  };
  for (int i = 0; i < 6'000; ++i) {
    const std::uint64_t count = std::uint64_t{1} << random() % 6;
    const auto expected = highest(count);
    const auto got = allocator.allocate({.bytes = count * kPageSize, .alignment = count * kPageSize});
    ASSERT_EQ(got.has_value(), expected.has_value());
    if (got) {
      ASSERT_EQ(*got, Iova{*expected * kPageSize});
      live.push_back(IovaRange::of(*got, count * kPageSize));
      mark(live.back(), true);
    } else {
      ASSERT_EQ(got.error().code, ENOSPC);
    }
    if (random() % 3 != 0 || !got) {
      std::swap(live[random() % live.size()], live.back());
      ASSERT_TRUE(allocator.free(live.back().first));
      mark(live.back(), false);
      live.pop_back();
    }
  }
  EXPECT_EQ(allocator.size(), live.size());
}

TEST(IoasRequest, IsAlignedAsTheMemoryIsButToNoMoreThanAHugePage) {
  EXPECT_EQ(ioas_request(64 * kKiB, kMiB, 1)->alignment, 64 * kKiB);
  EXPECT_EQ(ioas_request(kGiB, 12 * kKiB, 1)->alignment, 16 * kKiB);
  EXPECT_EQ(ioas_request(kGiB, kGiB, 1)->alignment, 2 * kMiB);
  EXPECT_EQ(ioas_request(0, kMiB, 1)->alignment, kMiB);
  EXPECT_EQ(ioas_request(kGiB + 0x800, kMiB, 1)->offset, 0x800U);
}

TEST(IoasRequest, WhatTheDomainsCannotMapIsRefused) {
  EXPECT_EQ(ioas_request(kGiB + 0x800, kMiB, kPageSize).error().code, EINVAL);
  EXPECT_EQ(ioas_request(0, 0, 1).error().code, EOVERFLOW);
  EXPECT_EQ(ioas_request(0, std::uint64_t{1} << 63, 1).error().code, EOVERFLOW);
}

TEST(FindIova, TakesTheLowestHoleInTheAllowedRanges) {
  AreaMap areas;
  ASSERT_TRUE(areas.insert(pages(1, 3)));
  ASSERT_TRUE(areas.insert(pages(10, 2)));
  const auto find = [&](std::span<const IovaRange> allowed, std::uint64_t count) {
    return find_iova(areas, allowed, *ioas_request(kGiB, count * kPageSize, 1));
  };
  const IovaRange all[] = {kWhole};
  EXPECT_EQ(find(all, 1), Iova{4 * kPageSize});
  EXPECT_EQ(find(all, 8), Iova{16 * kPageSize});
  const IovaRange two[] = {pages(2, 9), pages(30, 2)};
  EXPECT_EQ(find(two, 2), Iova{4 * kPageSize});
  const IovaRange narrow[] = {pages(10, 2), pages(30, 1)};
  EXPECT_EQ(find(narrow, 1), Iova{30 * kPageSize});
  EXPECT_EQ(find(narrow, 2).error().code, ENOSPC);
}

TEST(FindIova, TheFirstAndTheLastPageAreNeverUsed) {
  AreaMap areas;
  const IovaRange all[] = {kWhole};
  EXPECT_EQ(find_iova(areas, all, *ioas_request(kGiB, kPageSize, 1)), Iova{kPageSize});
  const IovaRange last[] = {{Iova{~std::uint64_t{0} - 2 * kPageSize + 1}, Iova{~std::uint64_t{0}}}};
  EXPECT_EQ(find_iova(areas, last, *ioas_request(kGiB, 2 * kPageSize, 1)).error().code, ENOSPC);
}

}  // namespace
}  // namespace softiommu
