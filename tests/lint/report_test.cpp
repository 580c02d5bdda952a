// SPDX-License-Identifier: BSD-3-Clause
// What leaves the checker: text, JSON, SARIF, HTML, baselines, and the table of external functions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lint/report.h"
#include "lint_rig.h"

namespace softiommu::lint {
namespace {

using testing::HasSubstr;

class Report : public testing::Test {
 protected:
  Judgement judgement_ = judge_text(read_sample("incompatible_wrong_code.c"));
};

TEST_F(Report, NamesPlacePathConditionAndFix) {
  const std::string text = report_text(judgement_);
  EXPECT_THAT(text, HasSubstr("drivers/iommu/sample-iommu.c:12: error: EBUSY for what depends on the domain"));
  EXPECT_THAT(text, HasSubstr("when: mine->dev  (reads domain state)"));
  EXPECT_THAT(text, HasSubstr("fix:  return -EINVAL"));
}

TEST_F(Report, JsonHoldsFindingsAndSummary) {
  const auto json = nlohmann::json::parse(report_json(judgement_));
  EXPECT_EQ(json["findings"].size(), 4U);
  EXPECT_EQ(json["findings"][0]["rule"], "incompatible-wrong-code");
  EXPECT_EQ(json["summary"]["functions"], 2);
}

TEST_F(Report, SarifHasARuleForEachResultAndItsPath) {
  const auto json = nlohmann::json::parse(report_sarif(judgement_));
  EXPECT_EQ(json["version"], "2.1.0");
  const auto& run = json["runs"][0];
  EXPECT_EQ(run["tool"]["driver"]["rules"].size(), kRuleCount);
  EXPECT_EQ(run["results"][0]["level"], "error");
  EXPECT_EQ(run["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"], 7);
  EXPECT_GE(run["results"][0]["codeFlows"][0]["threadFlows"][0]["locations"].size(), 1U);
}

TEST_F(Report, HtmlEscapesConditions) { EXPECT_THAT(report_html(judgement_), HasSubstr("mine-&gt;dev")); }

TEST_F(Report, BaselineHidesWhatItKnowsWhenLinesMove) {
  const std::set<std::string> known = read_baseline(write_baseline(judgement_));
  const Judgement moved = judge_text("\n\n\n" + read_sample("incompatible_wrong_code.c"));
  ASSERT_EQ(moved.findings.size(), 4U);
  for (const Finding& finding : moved.findings) EXPECT_TRUE(known.contains(finding.fingerprint));
}

TEST(Rules, AreExplainedWithTheirSource) {
  for (const Rule& rule : rules()) {
    EXPECT_GT(rule.explanation.size(), 100U);
    EXPECT_THAT(explain(rule), HasSubstr(std::string("Source: ") + std::string(rule.citation)));
  }
}

TEST(Patterns, MatchLikeAShell) {
  EXPECT_TRUE(matches("arm-smmu*", "arm-smmu-v3"));
  EXPECT_TRUE(matches("?mu", "smu"));
  EXPECT_FALSE(matches("intel", "intel2"));
}

TEST(Trees, WithoutIommuDriversAreRefusedWithAReason) {
  Tree tree;
  std::string why;
  EXPECT_FALSE(tree.load("/nonexistent", why));
  EXPECT_THAT(why, HasSubstr("not a Linux source tree"));
}

TEST(Summary, CountsWhatWasNotUnderstood) {
  const Judgement judgement = judge_text("int f(void) { a = ? ; return 0; }\nint g(void) { return 0; }");
  EXPECT_EQ(judgement.statistics.understood, 1U);
  EXPECT_THAT(summary_text(judgement.statistics, 0),
              HasSubstr("drivers/iommu/sample-iommu.c:1: statement not understood in f"));
}

TEST(Apis, NeedAKindAndASource) {
  ApiTable table;
  std::string why;
  EXPECT_FALSE(table.parse("[[api]]\nnames = [\"f\"]\nkind = \"code\"\n", why));
  EXPECT_THAT(why, HasSubstr("line 1"));
  EXPECT_TRUE(
      table.parse("[[api]]\nnames = [\"f\", \"g\"]\nkind = \"code\"\nerrors = [\"EIO\"]\nsource = \"x.c\"\n", why));
  ASSERT_NE(table.find("g"), nullptr);
  EXPECT_EQ(table.find("g")->errors, std::vector<std::string>{"EIO"});
}

TEST(Apis, BuiltInTableIsWhole) { EXPECT_GT(ApiTable::built_in().size(), 100U); }

}  // namespace
}  // namespace softiommu::lint
