// SPDX-License-Identifier: BSD-3-Clause
#include "ioas/iova_ranges.h"

#include <gtest/gtest.h>

namespace softiommu {
namespace {

IovaRange range(std::uint64_t first, std::uint64_t last) { return {Iova{first}, Iova{last}}; }

TEST(IovaRanges, StartsWithEverything) {
  const IovaRanges ranges;
  EXPECT_TRUE(ranges.allows(range(0, ~std::uint64_t{0})));
}

TEST(IovaRanges, AnExclusionLeavesBothSides) {
  IovaRanges ranges;
  ranges.intersect(range(0, 999));
  ranges.exclude(range(100, 199));
  EXPECT_TRUE(ranges.allows(range(0, 99)));
  EXPECT_TRUE(ranges.allows(range(200, 999)));
  EXPECT_FALSE(ranges.allows(range(99, 100)));
  EXPECT_FALSE(ranges.allows(range(50, 250)));
  EXPECT_FALSE(ranges.allows(range(900, 1000)));
}

TEST(IovaRanges, TheEndsOfTheSpaceCanGo) {
  IovaRanges ranges;
  ranges.exclude(range(0, 99));
  ranges.exclude(range(~std::uint64_t{0} - 9, ~std::uint64_t{0}));
  ASSERT_EQ(ranges.all().size(), 1U);
  EXPECT_EQ(ranges.all()[0], range(100, ~std::uint64_t{0} - 10));
  ranges.exclude(ranges.all()[0]);
  EXPECT_TRUE(ranges.empty());
}

}  // namespace
}  // namespace softiommu
