// SPDX-License-Identifier: BSD-3-Clause
#include "base/memlock.h"

#include <gtest/gtest.h>

namespace softiommu {
namespace {

TEST(MemlockLimit, IsAWordOrASize) {
  EXPECT_EQ(MemlockLimit::parse("unlimited")->kind, MemlockLimit::Kind::unlimited);
  EXPECT_EQ(MemlockLimit::parse("rlimit")->kind, MemlockLimit::Kind::rlimit);
  EXPECT_EQ(MemlockLimit::parse("4096")->bytes, 4096U);
  EXPECT_EQ(MemlockLimit::parse("64M")->bytes, std::uint64_t{64} << 20);
  for (const char* text : {"", "M", "1X", "1MB", "-1", "99999999999999999999", "99999999999T", "unlimited "}) {
    EXPECT_FALSE(MemlockLimit::parse(text)) << text;
  }
}

TEST(LockedMemory, CountsUpToTheLimit) {
  constexpr MemlockLimit kLimit{MemlockLimit::Kind::bytes, 3 * 4096};
  LockedMemory locked;
  EXPECT_TRUE(locked.charge(3, kLimit));
  EXPECT_EQ(locked.charge(1, kLimit).error().code, ENOMEM);
  EXPECT_EQ(locked.pages(), 3U);
  locked.uncharge(2);
  EXPECT_TRUE(locked.charge(2, kLimit));
}

TEST(LockedMemory, WithoutALimitItStillCounts) {
  LockedMemory locked;
  EXPECT_TRUE(locked.charge(std::uint64_t{1} << 40, {}));
  EXPECT_EQ(locked.pages(), std::uint64_t{1} << 40);
}

TEST(LockedMemory, WhatIsPinnedIsCountedApart) {
  LockedMemory locked;
  locked.pin(3);
  locked.unpin(1);
  EXPECT_EQ(locked.pinned(), 2U);
  EXPECT_EQ(locked.pages(), 0U);
}

}  // namespace
}  // namespace softiommu
