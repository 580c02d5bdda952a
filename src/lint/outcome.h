// SPDX-License-Identifier: BSD-3-Clause
// What a function can answer, and what happened on the way: the summaries that callers build on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lint/api.h"
#include "lint/ast.h"
#include "lint/classify.h"

namespace softiommu::lint {

// A call, a log or a change, with its place.
struct Site {
  const Function* function = nullptr;
  const Node* node = nullptr;

  std::uint32_t line() const { return node->line; }
  bool operator==(const Site&) const = default;
};

enum class Source : std::uint8_t {
  literal,   // this code is written in the tree
  api,       // a known external function's
  unknown,   // an external function that the table does not know
  firmware,  // a status word, not an errno
  positive,  // a number above zero
};

// Can the test that leads to an outcome strike at all (earlier.h)?
enum class Strikes : std::uint8_t {
  possible,
  asked_before,  // an earlier test on the path has the same condition
  guaranteed,    // probing has made sure, or probing and an earlier test
};

struct Outcome {
  Source source = Source::literal;
  std::string code;  // "EINVAL", "any"
  Site origin;       // the literal, or the call of the external function
  const Api* api = nullptr;
  std::string callee;         // the external function's name
  std::vector<Site> path;     // calls from the summarised function down to the origin's function
  std::vector<Guard> guards;  // innermost first, the origin's and those of the calls
  Reads reads = kReadsNeither;
  std::vector<Site> logs;     // above debug level, on the path of the failure
  std::vector<Site> changes;  // what was changed before, and not undone
  bool fresh = false;         // under "the domain is not set up yet"
  bool open = false;          // what a caller passes may exclude it
  Strikes strikes = Strikes::possible;
};

// A callee's failure that its caller did not hand on.
struct Loss {
  enum class How : std::uint8_t { ignored, success, overwritten } how = How::ignored;
  Site call;
  Site replaced_at;  // the return or literal that took its place
  std::string callee;
  std::string lost;  // codes that the callee can give
  std::string code;  // overwritten: the new code
  bool external = false;
  bool optional = false;  // attach goes on without a feature, and knows it
  const Api* api = nullptr;
};

struct Summary {
  std::vector<Outcome> failures;
  std::vector<Loss> losses;
  std::vector<std::pair<Site, const Function*>> calls;  // inside the tree
  bool answers_null = false;
  bool bounded = false;  // some paths were merged or left out
  bool recursive = false;
  bool may_fail() const { return !failures.empty(); }
};

}  // namespace softiommu::lint
