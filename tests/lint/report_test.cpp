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
  std::set<std::string> known;
  std::string why;
  ASSERT_TRUE(read_baseline(write_baseline(judgement_), known, why)) << why;
  const Judgement moved = judge_text("\n\n\n" + read_sample("incompatible_wrong_code.c"));
  ASSERT_EQ(moved.findings.size(), 4U);
  for (const Finding& finding : moved.findings) EXPECT_TRUE(known.contains(finding.fingerprint));
}

TEST(Baselines, AreRefusedWhenTheyAreSomethingElse) {
  std::set<std::string> known;
  std::string why;
  EXPECT_FALSE(read_baseline("int main(void) { return 0; }\n", known, why));
  EXPECT_FALSE(read_baseline("", known, why));
  EXPECT_FALSE(read_baseline("# Known findings of softiommu lint\nno-such-rule|a.c|f|x\n", known, why));
  EXPECT_THAT(why, HasSubstr("line 2"));
}

TEST(Json, TakesSourcesThatAreNoUtf8) {
  const Judgement judgement = judge_text(
      "static int attach(struct iommu_domain *domain, struct device *dev)\n{\n"
      "\tif (domain->unit != unit_of(dev, \"\xa4\"))\n\t\treturn -ENXIO;\n\treturn 0;\n}\n"
      "static const struct iommu_domain_ops a = { .attach_dev = attach };\n");
  EXPECT_THAT(report_json(judgement), HasSubstr("\xef\xbf\xbd"));
  EXPECT_TRUE(nlohmann::json::accept(report_json(judgement)));
  EXPECT_TRUE(nlohmann::json::accept(report_sarif(judgement)));
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
  EXPECT_FALSE(matches("*a*a*a*a*a*a*a*a*a*a*b", std::string(200, 'a')));
  EXPECT_TRUE(matches("", ""));
}

TEST(Trees, WithoutIommuDriversAreRefusedWithAReason) {
  Tree tree;
  std::string why;
  EXPECT_FALSE(tree.load("/nonexistent", why));
  EXPECT_THAT(why, HasSubstr("there is no such folder"));
  EXPECT_FALSE(tree.load("/proc/self", why));
  EXPECT_THAT(why, HasSubstr("not a Linux source tree"));
}

TEST(Summary, CountsWhatWasNotUnderstood) {
  const Judgement judgement = judge_text("int f(void) { a = ? ; return 0; }\nint g(void) { return 0; }");
  EXPECT_EQ(judgement.statistics.understood, 1U);
  EXPECT_THAT(summary_text(judgement.statistics, 0),
              HasSubstr("drivers/iommu/sample-iommu.c:1: statement not understood in f"));
}

TEST(Summary, ShowsTheFirstOfManyComplaintsAndCountsTheRest) {
  std::string junk = "int f(void)\n{\n";
  for (int i = 0; i < 1000; ++i) junk += "a = ? ;\n";
  const std::string text = summary_text(judge_text(junk + "}\n").statistics, 0);
  EXPECT_THAT(text, HasSubstr("... and 960 more"));
  EXPECT_LT(text.size(), 5000U);
}

TEST(Summary, CountsFilesThatWereCut) {
  const Judgement judgement = judge_text("int f(void)\n{\n\treturn 0;\nint g(void)\n{\n\treturn 1;\n}\n");
  EXPECT_EQ(judgement.statistics.cut_files, 1U);
  EXPECT_EQ(judgement.statistics.understood, 0U);
  EXPECT_THAT(summary_text(judgement.statistics, 0), HasSubstr("(1 not read, or not wholly)"));
  EXPECT_THAT(summary_text(judgement.statistics, 0),
              HasSubstr("sample-iommu.c:2: a bracket does not close: the rest of the file is not read"));
}

TEST(Summary, CountsTablesThatUnknownMacrosFill) {
  const Judgement judgement = judge_text(
      "#define OPS(f) .attach_dev = f\n"
      "static const struct iommu_domain_ops known = { OPS(one) };\n"
      "static const struct iommu_domain_ops part = { ELSEWHERE(two), .free = three };\n"
      "static const struct iommu_domain_ops whole = ELSEWHERE_TOO;\n"
      "static const struct iommu_domain_ops fields = { .attach_dev = four };\n");
  EXPECT_THAT(judgement.statistics.unknown_tables,
              testing::ElementsAre(HasSubstr(":3: part by ELSEWHERE"), HasSubstr(":4: whole by ELSEWHERE_TOO")));
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
