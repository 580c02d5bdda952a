// SPDX-License-Identifier: BSD-3-Clause
// One function per question that the rules ask of an outcome or of a lost failure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lint/judge.h"

namespace softiommu::lint {

// Findings, one per rule and place, however many callbacks and paths lead there.
class Findings {
 public:
  // `salt` tells two findings of one rule at one place apart (usually empty).
  void add(Finding finding);
  std::vector<Finding> take();

 private:
  std::map<std::string, Finding> by_place_;
};

void judge_outcome(const Root& root, const Outcome& outcome, Findings& findings);
Way way_of(const Root& root, const Outcome& outcome);
void judge_loss(const Root& root, const std::vector<Site>& path, const Loss& loss, Findings& findings);

}  // namespace softiommu::lint
