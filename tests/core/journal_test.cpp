// SPDX-License-Identifier: BSD-3-Clause
#include "core/journal.h"

#include <gtest/gtest.h>

namespace softiommu {
namespace {

AttachRecord record(std::uint64_t domain) {
  return {.group = 1, .devices = "0000:00:02.0", .domain = domain, .domain_driver = "intel"};
}

TEST(Journal, ASuccessIsDescribedInOneLine) {
  EXPECT_EQ(describe(record(7)), "group 1 (0000:00:02.0): attach to intel domain 7: ok");
}

TEST(Journal, AFailureIsDescribedWithItsReasonAndBothValues) {
  AttachRecord refused = record(7);
  refused.fresh = true;
  refused.error = AttachError{AttachFailure::incompatible, EINVAL, {"address width", 0x30, 0x27}};
  EXPECT_EQ(
      describe(refused),
      "group 1 (0000:00:02.0): attach to intel domain 7 (fresh): incompatible: address width, domain 0x30, device "
      "0x27");
}

TEST(Journal, RecordsComeBackInOrder) {
  Journal journal;
  for (std::uint64_t id = 1; id <= 3; ++id) journal.add(record(id));
  const auto all = journal.all();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all.front().domain, 1u);
  EXPECT_EQ(all.back().domain, 3u);
}

TEST(Journal, WhenItIsFullTheOldestRecordsGo) {
  Journal journal;
  for (std::uint64_t id = 1; id <= Journal::kMost + 5; ++id) journal.add(record(id));
  const auto all = journal.all();
  ASSERT_EQ(all.size(), Journal::kMost);
  EXPECT_EQ(all.front().domain, 6u);
  EXPECT_EQ(all.back().domain, Journal::kMost + 5);
  EXPECT_EQ(journal.dropped(), 5u);
}

}  // namespace
}  // namespace softiommu
