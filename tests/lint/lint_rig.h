// SPDX-License-Identifier: BSD-3-Clause
// What the tests of the checker share: judging one file given as text.
#pragma once

#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <utility>

#include "lint/judge.h"

namespace softiommu::lint {

inline std::string read_sample(const std::string& name) {
  std::ifstream in(std::string(SOFTIOMMU_SOURCE_DIR) + "/tests/lint/samples/" + name);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

inline Judgement judge_text(const std::string& text, const std::string& path = "drivers/iommu/sample-iommu.c") {
  Tree tree;
  tree.add(path, text);
  tree.index();
  return judge(tree, ApiTable::built_in());
}

using Place = std::pair<std::uint32_t, std::string>;  // line, rule

inline std::set<Place> places(const Judgement& judgement) {
  std::set<Place> out;
  for (const Finding& finding : judgement.findings) out.emplace(finding.line, finding.rule->id);
  return out;
}

}  // namespace softiommu::lint
