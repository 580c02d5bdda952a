// SPDX-License-Identifier: BSD-3-Clause
#include "base/biased_lock.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace softiommu {

class BiasedLockTest : public ::testing::Test {
 protected:
  void add(unsigned times) {
    for (unsigned i = 0; i < times; ++i) {
      const BiasedGuard guard(lock);
      count = count + 1;
    }
  }
  BiasedLock lock;
  std::uint64_t count = 0;
};

TEST_F(BiasedLockTest, OneThreadAfterTheOtherOwnsIt) {
  for (unsigned n = 0; n < 8; ++n) std::thread([this] { add(1000); }).join();
  add(1000);
  EXPECT_EQ(count, 9000u);
}

// Each round has a fresh lock, so that ownership changes while it is used.
TEST_F(BiasedLockTest, NothingIsLostWhileOwnershipChanges) {
  for (unsigned round = 0; round < 300; ++round) {
    BiasedLock fresh;
    std::uint64_t sum = 0;
    const auto work = [&] {
      for (unsigned i = 0; i < 2000; ++i) {
        const BiasedGuard guard(fresh);
        sum = sum + 1;
      }
    };
    std::vector<std::thread> others;
    for (unsigned n = 0; n < 3; ++n) others.emplace_back(work);
    work();
    for (std::thread& other : others) other.join();
    ASSERT_EQ(sum, 8000u) << round;
  }
}

}  // namespace softiommu
