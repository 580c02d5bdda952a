// SPDX-License-Identifier: BSD-3-Clause
// Every rule on our own C: what breaks it is reported on its line, what comes close is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "lint_rig.h"

namespace softiommu::lint {
namespace {

// "// expect: rule" or "// expect: rule severity".
std::set<Place> expected(const std::string& text) {
  std::set<Place> out;
  std::istringstream in(text);
  std::string line;
  for (std::uint32_t number = 1; std::getline(in, line); ++number) {
    const std::size_t at = line.find("// expect: ");
    if (at != std::string::npos) out.emplace(number, line.substr(at + 11));
  }
  return out;
}

class Sample : public testing::TestWithParam<std::string> {};

// What is reported, with the severity where the mark at its line names one.
std::set<Place> reported(const std::string& text) {
  const std::set<Place> wanted = expected(text);
  std::set<Place> out;
  for (const Finding& finding : judge_text(text).findings) {
    const std::string rule(finding.rule->id), graded = rule + " " + severity_name(finding.severity);
    const bool grades = std::any_of(wanted.begin(), wanted.end(), [&](const Place& place) {
      return place.first == finding.line && place.second.starts_with(rule + " ");
    });
    out.emplace(finding.line, grades ? graded : rule);
  }
  return out;
}

TEST_P(Sample, ReportsTheMarkedLinesAndNoOthers) {
  const std::string text = read_sample(GetParam());
  EXPECT_THAT(reported(text), testing::ContainerEq(expected(text)));
}

TEST_P(Sample, IsUnderstoodWhole) {
  const Judgement judgement = judge_text(read_sample(GetParam()));
  EXPECT_THAT(judgement.statistics.not_understood, testing::IsEmpty());
  EXPECT_THAT(judgement.statistics.unresolved, testing::IsEmpty());
}

std::vector<std::string> all_samples() {
  std::vector<std::string> names;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(SOFTIOMMU_SOURCE_DIR) + "/tests/lint/samples"))
    if (entry.path().extension() == ".c") names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, Sample, testing::ValuesIn(all_samples()),
                         [](const auto& test) { return test.param.substr(0, test.param.find('.')); });

TEST(Samples, LoopsInLoopsEnd) {
  std::string text = "static int attach(struct iommu_domain *domain, struct device *dev)\n{\n";
  for (int i = 0; i < 100; ++i) text += "while (a) ";
  text += "b = c;\nreturn (((a ? b : c) ? d : e) ? f : g) ? -EINVAL : 0;\n}\nstruct x y = { .attach_dev = attach };\n";
  EXPECT_EQ(judge_text(text).statistics.bounded.size(), 1U);
}

TEST(Samples, HaveOneFileForEachRule) {
  for (const Rule& rule : rules()) {
    std::string name(rule.id);
    std::replace(name.begin(), name.end(), '-', '_');
    EXPECT_THAT(all_samples(), testing::Contains(name + ".c"));
  }
}

}  // namespace
}  // namespace softiommu::lint
