// SPDX-License-Identifier: BSD-3-Clause
#include "base/fault.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

namespace softiommu {
namespace {

using Names = std::vector<std::string>;

class FaultPoints : public ::testing::Test {
 protected:
  void TearDown() override { fault::disarm(); }
  // Passes the point as often as said, in one call; '.' passed, 'x' failed.
  static std::string pass(const char* point, unsigned times = 1) {
    const fault::Call call;
    std::string answers;
    while (times-- > 0) answers += fault::pass(point) ? '.' : 'x';
    return answers;
  }
};

TEST_F(FaultPoints, TheNthPassFailsOnce) {
  fault::fail_nth(2);
  EXPECT_TRUE(fault::pass("first"));
  EXPECT_FALSE(fault::struck());
  EXPECT_EQ(fault::pass("second").error().code, ENOMEM);
  EXPECT_TRUE(fault::struck());
  EXPECT_TRUE(fault::pass("third"));
  EXPECT_EQ(fault::seen(), (Names{"first", "second", "third"}));
}

TEST_F(FaultPoints, ANamedPointFailsEachTime) {
  fault::fail_point("here");
  EXPECT_FALSE(fault::pass("here"));
  EXPECT_FALSE(fault::pass("here"));
  EXPECT_TRUE(fault::pass("there"));
  fault::disarm();
  EXPECT_TRUE(fault::pass("here"));
}

TEST_F(FaultPoints, ANamedPointFailsOnlyInItsNthPassWhenAsked) {
  fault::fail_point("here", 2);
  EXPECT_TRUE(fault::pass("here"));
  EXPECT_FALSE(fault::pass("here"));
  EXPECT_TRUE(fault::pass("here"));
}

TEST_F(FaultPoints, APointFailsWithItsOwnErrno) {
  fault::fail_nth(1);
  EXPECT_EQ(fault::pass("copy", EFAULT).error().code, EFAULT);
}

TEST_F(FaultPoints, EachThreadCountsForItself) {
  fault::fail_nth(1);
  bool other = false;
  std::thread([&] { other = static_cast<bool>(fault::pass("here")); }).join();
  EXPECT_TRUE(other);
  EXPECT_FALSE(fault::pass("here"));
}

TEST_F(FaultPoints, WhatIsLeftOfAThreadsCountdownCanBeAsked) {
  ASSERT_TRUE(fault::arm_thread(gettid(), 3));
  EXPECT_EQ(fault::left_of_thread(gettid()), 3U);
  EXPECT_EQ(pass("here", 2), "..");
  EXPECT_EQ(fault::left_of_thread(gettid()), 1U);
  EXPECT_EQ(pass("here", 2), "x.");
  EXPECT_EQ(fault::left_of_thread(gettid()), 0U);
}

TEST_F(FaultPoints, ACountdownOfNoneEndsIt) {
  fault::fail_nth(1);
  fault::fail_nth(0);
  EXPECT_TRUE(fault::pass("here"));
  EXPECT_FALSE(fault::struck());
}

TEST_F(FaultPoints, CountdownsAreOfBoundedNumber) {
  pid_t thread = 1;
  while (thread < 1000 && fault::arm_thread(thread, 1)) ++thread;
  EXPECT_EQ(thread, 65);
  ASSERT_TRUE(fault::arm_thread(7, 0));
  EXPECT_TRUE(fault::arm_thread(thread, 1)) << "one that ended makes room";
}

TEST_F(FaultPoints, ThePausedPassNothing) {
  fault::fail_nth(1);
  {
    const fault::Paused paused;
    EXPECT_TRUE(fault::pass("here"));
  }
  EXPECT_FALSE(fault::pass("here"));
  EXPECT_EQ(fault::passed().at(0).passes, 1U);
}

TEST_F(FaultPoints, TheHeapFailsInCallsOnly) {
  fault::fail_nth(1);
  EXPECT_FALSE(fault::heap_strikes());
  const fault::Call call;
  EXPECT_TRUE(fault::heap_strikes());
}

TEST_F(FaultPoints, TheNthOfTheProcessFailsOnce) {
  ASSERT_TRUE(fault::add_rule("nth=3"));
  EXPECT_TRUE(fault::pass("outside"));
  EXPECT_EQ(pass("a", 2), "..");
  EXPECT_EQ(pass("b", 2), "x.");
}

TEST_F(FaultPoints, ARuleMeansTheNamesThatItsGlobMatches) {
  ASSERT_TRUE(fault::add_rule("point=io*.?rea"));
  EXPECT_EQ(pass("ioas.area"), "x");
  EXPECT_EQ(pass("io.area"), "x");
  EXPECT_EQ(pass("ioas.arena"), ".");
  EXPECT_EQ(pass("ioas.rea"), ".");
  EXPECT_EQ(pass("memory.area"), ".");
}

TEST_F(FaultPoints, ChanceIsTheSeedsAlone) {
  const auto run = [&](const char* rule) {
    fault::disarm();
    EXPECT_TRUE(fault::add_rule(rule));
    return pass("here", 1000);
  };
  const std::string one = run("point=*,probability=0.25,seed=1");
  EXPECT_EQ(run("point=*,probability=0.25,seed=1"), one);
  EXPECT_NE(run("point=*,probability=0.25,seed=2"), one);
  EXPECT_NEAR(static_cast<double>(std::ranges::count(one, 'x')), 250, 60);
}

TEST_F(FaultPoints, ImpossibleAndCertainAreExact) {
  ASSERT_TRUE(fault::add_rule("point=never,probability=0"));
  ASSERT_TRUE(fault::add_rule("point=always,probability=1"));
  EXPECT_EQ(pass("never", 100), std::string(100, '.'));
  EXPECT_EQ(pass("always", 100), std::string(100, 'x'));
}

TEST_F(FaultPoints, AListFailsNothingAndCounts) {
  ASSERT_TRUE(fault::add_rule("list"));
  ASSERT_TRUE(fault::add_rule("point=b"));
  EXPECT_EQ(pass("a", 3), "...");
  EXPECT_EQ(pass("b", 2), "xx");
  const auto passed = fault::passed();
  ASSERT_EQ(passed.size(), 2U);
  EXPECT_EQ(passed[0].point, "a");
  EXPECT_EQ(passed[0].passes, 3U);
  EXPECT_EQ(passed[0].failures, 0U);
  EXPECT_EQ(passed[1].failures, 2U);
}

TEST_F(FaultPoints, WhatIsNoRuleIsRefused) {
  for (const char* text : {"", "nth=", "nth=0", "nth=-1", "nth=1x", "lists", "point=", "point=a,probability=2",
                           "point=a,probability=-1", "point=a,probability=nan", "point=a,seed=x", "point=a,color=red",
                           "probability=1", "point=a,", "point=A", "point=a;b"}) {
    const auto checked = fault::check_rule(text);
    ASSERT_FALSE(checked) << text;
    EXPECT_EQ(checked.error().code, EINVAL);
  }
  EXPECT_FALSE(fault::check_rule("point=" + std::string(64, 'a')));
  EXPECT_TRUE(fault::check_rule("point=" + std::string(63, 'a')));
}

TEST_F(FaultPoints, RulesAreOfBoundedNumber) {
  for (unsigned i = 0; i < 16; ++i) ASSERT_TRUE(fault::add_rule("list"));
  EXPECT_EQ(fault::add_rule("list").error().code, ENOSPC);
}

}  // namespace
}  // namespace softiommu
