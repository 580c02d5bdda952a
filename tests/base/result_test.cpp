// SPDX-License-Identifier: BSD-3-Clause
#include "base/result.h"

#include <gtest/gtest.h>

#include "base/attach_error.h"

namespace softiommu {
namespace {

Result<int> half(int n) {
  if (n % 2 != 0) return fail(EINVAL, "odd");
  return n / 2;
}

Result<int> quarter(int n) { return half(TRY(half(n))); }

TEST(Result, TryYieldsTheValueOrReturnsTheError) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).error().code, EINVAL);
}

TEST(Result, AFailedAllocationBecomesENOMEM) {
  const auto result = without_throwing([]() -> Result<int> { throw std::bad_alloc(); });
  EXPECT_EQ(result.error().code, ENOMEM);
}

TEST(AttachError, EachFailureHasItsOwnErrno) {
  EXPECT_EQ(to_errno(AttachFailure::incompatible), EINVAL);
  EXPECT_EQ(to_errno(AttachFailure::no_memory), ENOMEM);
  EXPECT_EQ(to_errno(AttachFailure::no_space), ENOSPC);
  EXPECT_EQ(to_errno(AttachFailure::busy), EBUSY);
  EXPECT_EQ(to_errno(AttachFailure::no_device), ENODEV);
}

TEST(AttachError, DriverSaysKeepsTheReason) {
  const AttachResult<> answer = driver_says(AttachFailure::incompatible, {"address width", 48, 39});
  EXPECT_EQ(answer.error().code, EINVAL);
  EXPECT_EQ(answer.error().reason, (Reason{"address width", 48, 39}));
}

}  // namespace
}  // namespace softiommu
