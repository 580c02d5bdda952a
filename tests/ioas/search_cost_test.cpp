// SPDX-License-Identifier: BSD-3-Clause
// What it costs to find a domain does not depend on how many groups there are: each is attached once.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/journal.h"
#include "ioas/crowd.h"

namespace softiommu::testing {
namespace {

class SearchCostOf : public ::testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Groups, SearchCostOf, ::testing::Values(16, 256, 4096));

TEST_P(SearchCostOf, GroupsBehindSixtyFourInstancesIsOneAttachForEach) {
  Crowd crowd(GetParam());
  ASSERT_EQ(crowd.system().groups().size(), GetParam());
  ASSERT_TRUE(crowd.join());
  EXPECT_EQ(crowd.domains(), Crowd::kKinds.size()) << "instances of one kind are equal";
  const auto records = crowd.system().journal().all();
  ASSERT_EQ(crowd.system().journal().dropped(), 0U);
  const auto count = [&](AttachRecord::Kind kind) { return std::ranges::count(records, kind, &AttachRecord::kind); };
  EXPECT_EQ(count(AttachRecord::Kind::attach), static_cast<std::ptrdiff_t>(GetParam()));
  EXPECT_EQ(count(AttachRecord::Kind::allocate), static_cast<std::ptrdiff_t>(Crowd::kKinds.size()));
}

}  // namespace
}  // namespace softiommu::testing
