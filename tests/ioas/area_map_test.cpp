// SPDX-License-Identifier: BSD-3-Clause
#include "ioas/area_map.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "base/fault.h"

namespace softiommu {
namespace {

IovaRange pages(std::uint64_t first, std::uint64_t count) {
  return IovaRange::of(Iova{first * kPageSize}, count * kPageSize);
}

TEST(AreaMap, FindsWhatOverlaps) {
  AreaMap map;
  ASSERT_TRUE(map.insert(pages(10, 5)));
  EXPECT_EQ(map.find(pages(0, 10)), nullptr);
  EXPECT_EQ(map.find(pages(15, 5)), nullptr);
  ASSERT_NE(map.find(pages(14, 1)), nullptr);
  EXPECT_EQ(map.find(pages(0, 100))->range, pages(10, 5));
}

TEST(AreaMap, AnOverlapIsRefused) {
  AreaMap map;
  ASSERT_TRUE(map.insert(pages(10, 5)));
  EXPECT_EQ(map.insert(pages(14, 1)).error().code, EEXIST);
  EXPECT_EQ(map.insert(pages(5, 6)).error().code, EEXIST);
  EXPECT_EQ(map.insert(pages(0, 100)).error().code, EEXIST);
  EXPECT_TRUE(map.insert(pages(15, 1)));
  EXPECT_TRUE(map.insert(pages(9, 1)));
}

TEST(AreaMap, TheTopPageHasAPlace) {
  AreaMap map;
  const IovaRange top{Iova{~std::uint64_t{0} - (kPageSize - 1)}, Iova{~std::uint64_t{0}}};
  ASSERT_TRUE(map.insert(top));
  EXPECT_EQ(map.at(map.seek(top.last))->range, top);
}

TEST(AreaMap, AFailedAllocationChangesNothing) {
  AreaMap map;
  fault::fail_nth(1);
  EXPECT_EQ(map.insert(pages(1, 1)).error().code, ENOMEM);
  fault::disarm();
  EXPECT_TRUE(map.empty());
  EXPECT_EQ(map.at(map.first()), nullptr);
}

TEST(AreaMap, RunsThatTouchAreOne) {
  AreaMap map;
  Area& area = **map.insert(pages(1, 4));
  area.add_run({PhysAddr{0x1000}, 0x1000});
  area.add_run({PhysAddr{0x2000}, 0x1000});
  EXPECT_EQ(area.runs().size(), 1U);
  area.add_run({PhysAddr{0x9000}, 0x2000});
  ASSERT_EQ(area.runs().size(), 2U);
  EXPECT_EQ(area.runs()[0].bytes, 0x2000U);
  EXPECT_EQ(area.runs()[1].first, PhysAddr{0x9000});
}

TEST(AreaMap, ACutAreaKeepsItsMemory) {
  AreaMap map;
  Area& lower = **map.insert(pages(4, 6));
  lower.user = 0x10000;
  lower.add_run({PhysAddr{0x1000}, 0x2000});
  lower.add_run({PhysAddr{0x9000}, 0x4000});
  Area& upper = **map.split(map.seek(Iova{7 * kPageSize}), Iova{7 * kPageSize});
  EXPECT_EQ(lower.range, pages(4, 3));
  EXPECT_EQ(upper.range, pages(7, 3));
  EXPECT_EQ(upper.user, 0x13000U);
  ASSERT_EQ(lower.runs().size(), 2U);
  EXPECT_EQ(lower.runs()[1].bytes, 0x1000U);
  ASSERT_EQ(upper.runs().size(), 1U);
  EXPECT_EQ(upper.runs()[0].first, PhysAddr{0xa000});
  EXPECT_EQ(map.find(pages(9, 1)), &upper);
}

TEST(AreaMap, ACutThatFailsChangesNothing) {
  AreaMap map;
  ASSERT_TRUE(map.insert(pages(4, 6)));
  fault::fail_nth(1);
  EXPECT_EQ(map.split(map.first(), Iova{5 * kPageSize}).error().code, ENOMEM);
  fault::disarm();
  EXPECT_EQ(map.find(pages(5, 1))->range, pages(4, 6));
  EXPECT_EQ(map.size(), 1U);
}

// The oracle is a std::map of first page to number of pages.
TEST(AreaMap, AgreesWithAPlainMapOverManyChanges) {
  AreaMap map;
  std::map<std::uint64_t, std::uint64_t> plain;
  std::mt19937_64 random(1);
  for (int i = 0; i < 40'000; ++i) {
    const std::uint64_t first = random() % 3000, count = 1 + random() % 3;
    auto above = plain.upper_bound(first);
    const bool hit = (above != plain.begin() && std::prev(above)->first + std::prev(above)->second > first) ||
                     (above != plain.end() && above->first < first + count);
    ASSERT_EQ(map.find(pages(first, count)) != nullptr, hit);
    if (!hit && random() % 3 != 0) {
      ASSERT_TRUE(map.insert(pages(first, count)));
      plain[first] = count;
    } else if (hit) {
      const auto position = map.seek(Iova{first * kPageSize});
      const std::uint64_t own = map.at(position)->range.first.value / kPageSize;
      const auto next = map.erase(position);
      const auto after = plain.erase(plain.find(own));
      ASSERT_EQ(map.at(next) == nullptr, after == plain.end());
      if (after != plain.end()) {
        ASSERT_EQ(map.at(next)->range.first.value, after->first * kPageSize);
      }
    }
    ASSERT_EQ(map.size(), plain.size());
  }
  auto position = map.first();
  for (const auto& [first, count] : plain) {
    ASSERT_EQ(map.at(position)->range, pages(first, count));
    position = map.after(position);
  }
  EXPECT_EQ(map.at(position), nullptr);
}

}  // namespace
}  // namespace softiommu
