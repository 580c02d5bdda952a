// SPDX-License-Identifier: BSD-3-Clause
// The rules of the attach contract, and what a breach of one looks like.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace softiommu::lint {

enum class Severity : std::uint8_t { note, warning, error };
const char* severity_name(Severity severity);
bool severity_from(std::string_view name, Severity& out);

struct Rule {
  std::string_view id;
  Severity severity;  // the usual one; a finding may be a note
  std::string_view title;
  std::string_view explanation;
  std::string_view citation;
};

constexpr std::size_t kRuleCount = 11;
const std::array<Rule, kRuleCount>& rules();
const Rule* find_rule(std::string_view id);

// One step of a call path.
struct Step {
  std::string function;
  std::string file;
  std::uint32_t line = 0;
};

struct Finding {
  const Rule* rule = nullptr;
  Severity severity = Severity::note;
  std::string driver;
  std::string file;
  std::uint32_t line = 0;
  std::string function;
  std::string message;
  std::string condition;   // as written, or empty
  std::string reads;       // what the condition reads
  std::string suggestion;  // the code or change in words
  std::vector<Step> path;  // from the callback down
  std::vector<Step> related;
  // Stays when lines move: rule, file, function and the text of the place.
  std::string fingerprint;
};

}  // namespace softiommu::lint
