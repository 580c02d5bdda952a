// SPDX-License-Identifier: BSD-3-Clause
// What a condition reads: the domain's state, the device's, both or neither. Locals and simple accessors are followed.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "lint/ast.h"

namespace softiommu::lint {

using Reads = std::uint8_t;
constexpr Reads kReadsNeither = 0, kReadsDomain = 1, kReadsDevice = 2, kReadsBoth = 3;

const char* reads_name(Reads reads);

// What the names of one function stand for. Flow-insensitive: a local reads whatever any assignment gives it.
class Origins {
 public:
  explicit Origins(const Function& function);
  Reads of(const Node* expression) const;

 private:
  bool learn(const Node* node);
  bool add(std::string_view name, Reads reads);

  std::unordered_map<std::string_view, Reads> names_;
  std::unordered_map<std::string, Reads> members_;  // fields that this function itself fills from a call
};

// A condition that governs a statement, and whether it holds there or its opposite.
struct Guard {
  const Node* condition = nullptr;
  bool holds = true;
};

// The conditions around `node`, innermost first; when there is none, the exit just before it.
std::vector<Guard> guards_of(const Node* node);
std::string guard_text(const Guard& guard);
// Is the statement under the default label of a switch?
bool in_default_case(const Node* node);
// Does every path through this statement leave the function or block?
bool always_leaves(const Node* statement);

}  // namespace softiommu::lint
