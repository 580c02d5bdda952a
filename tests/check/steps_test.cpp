// SPDX-License-Identifier: BSD-3-Clause
// The language of sequences: what is printed can be read again.
#include <gtest/gtest.h>

#include "check/steps.h"

namespace softiommu::check {
namespace {

TEST(CheckSteps, ReadAsTheyArePrinted) {
  constexpr std::string_view kText =
      "own 0000:00:02.0; make A 0000:00:02.0; attach 0000:00:02.0 A !memory:3; replace 0000:00:02.0 identity !ids "
      "*300; "
      "attach-pasid 0000:00:02.0 A 7; unmap A; detach 0000:00:02.0; probe !registers:4";
  const auto steps = parse_steps(kText);
  ASSERT_TRUE(steps);
  EXPECT_EQ(steps->size(), 8u);
  EXPECT_EQ((*steps)[2].failure, (Failure{FailureKind::memory, 3}));
  EXPECT_EQ((*steps)[3].times, 300u);
  EXPECT_EQ(text_of(*steps), kText);
}

TEST(CheckSteps, ThatAreNoneAreRefused) {
  for (const char* text : {"", ";", "fly", "own", "attach 0000:00:02.0 a", "attach 0000:00:02.0 AB", "make A",
                           "own x !fire", "own x !memory:y", "own x 7", "attach-pasid x A"})
    EXPECT_FALSE(parse_steps(text)) << text;
}

TEST(CheckSteps, EveryKindOfFailureHasAName) {
  for (const FailureRow& row : kFailures) {
    const Step step{.verb = Verb::own, .group = "g", .failure = {row.kind, 2}};
    if (row.kind == FailureKind::none) continue;
    EXPECT_EQ(parse_steps(text_of(step))->front(), step) << row.name;
  }
}

}  // namespace
}  // namespace softiommu::check
