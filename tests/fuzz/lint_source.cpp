// SPDX-License-Identifier: BSD-3-Clause
#include "lint_source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "fuzzed.h"
#include "lint/judge.h"
#include "lint/report.h"

namespace softiommu::test {

bool judge_source(std::string text) {
  using namespace softiommu::lint;
  const auto lines = static_cast<std::uint32_t>(std::count(text.begin(), text.end(), '\n') + 1);
  Tree tree;
  tree.add("drivers/iommu/any-iommu.c", std::move(text));
  tree.index();
  const Judgement judgement = judge(tree, ApiTable::built_in());
  for (const Finding& finding : judgement.findings)
    if (finding.rule == nullptr || finding.line == 0 || finding.line > lines || finding.path.empty()) return false;
  const Statistics& counts = judgement.statistics;
  if (counts.understood > counts.functions || counts.files != 1) return false;
  if (counts.understood < counts.functions && counts.not_understood.empty()) return false;
  std::set<std::string> known;
  std::string why;
  if (!read_baseline(write_baseline(judgement), known, why)) return false;
  return !report_json(judgement).empty() && !report_sarif(judgement).empty() && !report_html(judgement).empty() &&
         !report_markdown(judgement).empty() && !summary_text(counts, judgement.findings.size()).empty();
}

// For libFuzzer, which makes its sources from the samples of the rules.
void run_program(std::span<const std::uint8_t> bytes) {
  EXPECT_TRUE(judge_source(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
}

}  // namespace softiommu::test
