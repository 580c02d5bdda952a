// SPDX-License-Identifier: BSD-3-Clause
// Applies the rules to every attach path of a tree.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "lint/rules.h"
#include "lint/walk.h"

namespace softiommu::lint {

// Where an attach begins.
struct Root {
  const Function* function = nullptr;
  std::string field;   // attach_dev, set_dev_pasid, or "core"
  std::string holder;  // the ops table
  std::uint32_t line = 0;
  const SourceFile* file = nullptr;
  bool fixed_kind = false;  // the domain is the identity, blocked, nested or SVA one: its kind is domain state
  bool core = false;
};

struct Statistics {
  std::string version;
  std::size_t files = 0, cut_files = 0, functions = 0, understood = 0;
  std::size_t roots = 0, callbacks = 0, reached = 0, failures = 0;
  std::vector<std::string> not_understood;  // "file:line: what"
  std::vector<std::string> bounded;         // functions whose paths were not all walked
  std::vector<std::string> unresolved;      // ops entries whose function was not found
  std::vector<std::string> unknown_tables;  // tables of domain operations that an unknown macro fills
  std::set<std::string> unknown_externals;
};

// One way in which a callback can fail, whether a rule minds it or not.
struct Way {
  std::string driver, callback, code, source, condition, reads;
  std::vector<Step> path, logs, changes;  // the path ends at the code's origin
  bool fresh = false;
};

struct Judgement {
  std::vector<Finding> findings;  // by file and line
  Statistics statistics;
  std::vector<Root> roots;
  std::vector<Way> ways;
};

// Patterns of drivers' names; none means all.
struct Selection {
  std::vector<std::string> patterns;
  bool takes(std::string_view driver) const;
};

std::vector<Root> find_roots(const Tree& tree, std::vector<std::string>& unresolved);
std::set<std::string> known_drivers(const Tree& tree);  // those with an attach path
Judgement judge(const Tree& tree, const ApiTable& apis, const Selection& selection = {});

}  // namespace softiommu::lint
