// SPDX-License-Identifier: BSD-3-Clause
#include "pt/map_plan.h"

#include <gtest/gtest.h>

#include "base/types.h"

namespace softiommu::pt {

constexpr std::uint64_t kAll = 4 * kKiB | 2 * kMiB | kGiB, kHole = 4 * kKiB | kGiB;

TEST(MapPlan, SizesAreUsableWhereBothAddressesAgree) {
  EXPECT_EQ(usable_sizes(kAll, kGiB, 2 * kGiB), kAll);
  EXPECT_EQ(usable_sizes(kAll, kGiB, 2 * kMiB), 4 * kKiB | 2 * kMiB);
  EXPECT_EQ(usable_sizes(kAll, 0, kPageSize), 4 * kKiB);
}

TEST(MapPlan, ThePageIsTheLargestThatIsAlignedAndFits) {
  EXPECT_EQ(page_lg2(kAll, 0, kGiB), 30u);
  EXPECT_EQ(page_lg2(kAll, 0, kGiB - kPageSize), 21u);
  EXPECT_EQ(page_lg2(kAll, kPageSize, kGiB), 12u);
  EXPECT_EQ(page_lg2(kHole, 2 * kMiB, kGiB), 12u);
}

TEST(MapPlan, OnlyTheEdgesOfALargeMappingNeedLeafTables) {
  const auto needed = tables_needed(2 * kMiB - kPageSize, kGiB + kPageSize - 1, kAll, 12, 21);
  EXPECT_EQ(needed.all, 2u);
  EXPECT_EQ(needed.whole, 0u);
}

TEST(MapPlan, WithoutTheMiddleSizeTheEdgesAreLonger) {
  const auto needed = tables_needed(kGiB - 4 * kMiB, 2 * kGiB + kPageSize - 1, kHole, 12, 21);
  EXPECT_EQ(needed.all, 3u);
  EXPECT_EQ(needed.whole, 2u);
  EXPECT_EQ(tables_needed(kGiB - 4 * kMiB, 2 * kGiB + kPageSize - 1, kHole, 21, 30).all, 2u);
  EXPECT_EQ(tables_needed(kGiB - 4 * kMiB, 2 * kGiB + kPageSize - 1, kHole, 21, 30).whole, 0u);
}

TEST(MapPlan, PagesOfSeveralEntriesStandInTheTableOfTheirLevel) {
  constexpr std::uint64_t kSets = kAll | 64 * kKiB;
  const auto needed = tables_needed(kPageSize, 2 * kMiB - 1, kSets, 12, 21);
  EXPECT_EQ(needed.all, 1u);
  EXPECT_EQ(needed.whole, 0u);
  EXPECT_EQ(tables_needed(0, 2 * kMiB - 1, 4 * kKiB | 64 * kKiB, 12, 21).whole, 1u);
}

TEST(MapPlan, TheEndOfTheAddressSpaceDoesNotOverflow) {
  constexpr std::uint64_t kLast = ~std::uint64_t{0};
  EXPECT_EQ(tables_needed(kLast - (kPageSize - 1), kLast, kAll, 12, 21).all, 1u);
  EXPECT_EQ(tables_needed(kLast - (2 * kGiB - 1), kLast, kAll, 12, 21).all, 0u);
  EXPECT_EQ(tables_needed(0, kLast, 4 * kKiB, 57, 66).all, 1u);
}

}  // namespace softiommu::pt
