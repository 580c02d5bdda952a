// SPDX-License-Identifier: BSD-3-Clause
#include "core/user_data.h"

#include <gtest/gtest.h>

namespace softiommu {
namespace {

struct Entry {
  std::uint32_t first, second;
};

UserArray array_of(std::uint32_t entry_bytes, std::size_t bytes) {
  std::vector<std::byte> data(bytes);
  for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::byte>(i + 1);
  return {7, entry_bytes, std::move(data)};
}

TEST(UserArray, GivesOneEntryAfterTheOtherOnceItWasAccepted) {
  UserArray entries = array_of(8, 16);
  EXPECT_EQ(entries.next<Entry>(7, 8)->first, 0x04030201u);
  EXPECT_EQ(entries.next<Entry>(7, 8)->first, 0x04030201u);
  entries.accept();
  EXPECT_EQ(entries.next<Entry>(7, 8)->first, 0x0c0b0a09u);
  EXPECT_TRUE(entries.more());
  entries.accept();
  EXPECT_FALSE(entries.more());
  EXPECT_EQ(entries.accepted(), 2u);
}

TEST(UserArray, FillsShortEntriesWithZeros) {
  UserArray entries = array_of(4, 8);
  EXPECT_EQ(entries.next<Entry>(7, 4)->second, 0u);
  EXPECT_EQ(entries.next_of_any_length<Entry>(7)->second, 0u);
}

TEST(UserArray, JudgesTheTypeAndTheLength) {
  EXPECT_EQ(array_of(8, 8).next<Entry>(8, 8).error().code, EINVAL);
  EXPECT_EQ(array_of(7, 7).next<Entry>(7, 8).error().code, EINVAL);
  EXPECT_EQ(array_of(9, 9).next<Entry>(7, 8).error().code, EINVAL);
  EXPECT_EQ(array_of(9, 9).next_of_any_length<Entry>(7).error().code, E2BIG);
  EXPECT_EQ(array_of(9, 9).next_of_any_length<Entry>(8).error().code, EINVAL);
}

TEST(UserArray, HasNoMoreWithoutWholeEntries) {
  EXPECT_FALSE(array_of(8, 7).more());
  EXPECT_FALSE(array_of(8, 0).more());
  EXPECT_FALSE(array_of(0, 0).more());
}

}  // namespace
}  // namespace softiommu
