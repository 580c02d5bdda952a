// SPDX-License-Identifier: BSD-3-Clause
// The forms of a report, and shards that become one again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "check/plan.h"
#include "check/report.h"

namespace softiommu::check {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Breach breach(Law law, std::uint64_t order, std::string steps) {
  return {.law = law,
          .failure = FailureKind::memory,
          .machine = "m",
          .steps = std::move(steps),
          .what = "A & B <read>",
          .order = order};
}

CheckReport report(Shard shard, std::vector<Breach> breaches) {
  CheckReport made{.seed = 7, .shards = {shard}, .drivers = {{.name = "good"}, {.name = "bad"}}};
  made.drivers[0].cases[0] = 1500;
  made.drivers[1].cases[1] = 20;
  for (Breach& one : breaches) add_breach(made.drivers[1], std::move(one));
  return made;
}

TEST(CheckReport, InTextHasALineForEachDriverAndTheCommandOfEachBreach) {
  const std::string text = report_text(report({}, {breach(Law::leak, 5, "own g")}));
  EXPECT_THAT(text, HasSubstr("good                1,500 cases  kept\n"));
  EXPECT_THAT(text, HasSubstr("bad                    20 cases  BROKEN"));
  EXPECT_THAT(text, HasSubstr("softiommu check --driver bad --machine m --seed 7 --steps 'own g'"));
}

TEST(CheckReport, InJsonCanBeReadAgain) {
  const CheckReport whole = report({}, {breach(Law::leak, 5, "own g"), breach(Law::code, 6, "own h")});
  const auto again = parse_report(report_json(whole));
  ASSERT_TRUE(again);
  EXPECT_EQ(report_json(*again), report_json(whole));
  for (const char* text : {"", "{}", "[]", "null", "{\"softiommu_check\": 2}"})
    EXPECT_FALSE(parse_report(text)) << text;
}

TEST(CheckReport, InHtmlIsGreenOrLinksTheBreachAndEscapesIt) {
  const std::string page = report_html(report({}, {breach(Law::leak, 5, "own g")}));
  EXPECT_THAT(page, HasSubstr("<td class=\"kept\">1500</td>"));
  EXPECT_THAT(page, HasSubstr("<td class=\"broken\">20<br><a href=\"#bad-memory-leak\">leak</a></td>"));
  EXPECT_THAT(page, HasSubstr("A &amp; B &lt;read&gt;"));
  EXPECT_THAT(page, Not(HasSubstr("http")));
}

TEST(CheckReport, InJunitCountsWhatFailed) {
  const std::string xml = report_junit(report({}, {breach(Law::leak, 5, "own g"), breach(Law::code, 5, "own g")}));
  EXPECT_THAT(xml, HasSubstr("<testsuite name=\"bad\" tests=\"8\" failures=\"1\""));
  EXPECT_THAT(xml, HasSubstr("<failure type=\"leak\" message=\"A &amp; B &lt;read&gt;\">"));
}

TEST(CheckShards, AreMergedInAnyOrder) {
  const CheckReport first = report({1, 2}, {breach(Law::leak, 9, "own g; own h")});
  const CheckReport second = report({2, 2}, {breach(Law::leak, 5, "own g")});
  const auto merged = merge({first, second}), reversed = merge({second, first});
  ASSERT_TRUE(merged && reversed);
  EXPECT_EQ(report_json(*merged), report_json(*reversed));
  EXPECT_EQ(merged->shards, (std::vector<Shard>{{1, 1}}));
  ASSERT_EQ(merged->drivers[1].breaches.size(), 1u);
  EXPECT_EQ(merged->drivers[1].breaches[0].steps, "own g");
  EXPECT_EQ(merged->drivers[1].breaches[0].count, 2u);
  EXPECT_EQ(merged->cases(), 3040u);
}

TEST(CheckShards, ThatAreMissingAreNamed) {
  const auto merged = merge({report({1, 3}, {}), report({3, 3}, {})});
  ASSERT_TRUE(merged);
  EXPECT_THAT(report_text(*merged), HasSubstr("only shards 1/3 3/3"));
}

TEST(CheckShards, OfDifferentChecksAreRefused) {
  CheckReport other = report({2, 2}, {});
  other.seed = 8;
  EXPECT_FALSE(merge({report({1, 2}, {}), other}));
  EXPECT_FALSE(merge({report({1, 2}, {}), report({1, 2}, {})}));
  EXPECT_FALSE(merge({report({1, 2}, {}), report({2, 3}, {})}));
  EXPECT_FALSE(merge({}));
}

}  // namespace
}  // namespace softiommu::check
