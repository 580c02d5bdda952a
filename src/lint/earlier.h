// SPDX-License-Identifier: BSD-3-Clause
// Tests that cannot strike: because the same was asked earlier on the path and would have ended it there, or because
// probing has made sure of it (a device that reaches attach has its driver data and firmware specification).
#pragma once

#include <set>
#include <string>
#include <vector>

#include "lint/frames.h"
#include "lint/walk.h"

namespace softiommu::lint {

class Earlier {
 public:
  Earlier(Analysis& analysis, const Outcome& outcome);
  Strikes judge();

 private:
  using Clause = std::set<std::string>;  // literals that hold together; a negated one begins with '!'
  using Clauses = std::vector<Clause>;   // any of them
  struct Question {                      // a condition, in a chain of calls
    const Frames& frames;
    const Node* condition;
    bool holds;
  };

  Clauses split(const Question& question) const;
  Clauses split_binary(const Question& question) const;
  Clauses split_failure(const Question& question, bool pointer) const;
  std::string literal(const Question& question) const;
  const Function* source_of(const Question& question, const Node*& call) const;
  void enter_loops(const Frames& frames, const Node* node, Clauses& ways) const;
  Clauses all_of(const Frames& frames, const std::vector<Guard>& guards) const;
  Clause facts() const;

  void ask_exit(const Node* exit, std::size_t depth);
  void ask_callee(const Node* call, std::size_t depth);
  void ask_failures(const Node* call, const Function& callee, std::size_t depth);
  void ask_loops(const Node* call, const Function& callee, std::size_t depth);
  void ask_setters(const Frames& frames, const Node* node, std::size_t depth);
  void strike(const Clauses& earlier);
  void strike_getter(const std::string& setter);
  Clauses ways() const;

  Analysis& analysis_;
  const Outcome& outcome_;
  Frames frames_;
  Frames::Window window_;
  std::vector<bool> struck_;  // for each way in which the innermost condition can hold
};

}  // namespace softiommu::lint
