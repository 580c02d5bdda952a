// SPDX-License-Identifier: BSD-3-Clause
#include "check/steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace softiommu::check {

namespace {

constexpr auto kVerbs = std::to_array<VerbRow>({
    {Verb::own, "own", true, false, false},
    {Verb::release, "release", true, false, false},
    {Verb::make, "make", true, true, false},
    {Verb::make_pasid, "make-pasid", true, true, false},
    {Verb::attach, "attach", true, true, false},
    {Verb::replace, "replace", true, true, false},
    {Verb::detach, "detach", true, false, false},
    {Verb::attach_pasid, "attach-pasid", true, true, true},
    {Verb::replace_pasid, "replace-pasid", true, true, true},
    {Verb::detach_pasid, "detach-pasid", true, false, true},
    {Verb::unmap, "unmap", false, true, false},
    {Verb::map, "map", false, true, false},
    {Verb::drop, "drop", false, true, false},
    {Verb::probe, "probe", false, false, false},
});

struct NamedDomain {
  char domain;
  std::string_view name;
};
constexpr NamedDomain kStatic[] = {{kBlocked, "blocked"}, {kIdentity, "identity"}};

std::string name_of_domain(char domain) {
  const auto row = std::ranges::find(kStatic, domain, &NamedDomain::domain);
  return row != std::end(kStatic) ? std::string(row->name) : std::string(1, domain);
}

Result<char> parse_domain(std::string_view word) {
  const auto row = std::ranges::find(kStatic, word, &NamedDomain::name);
  if (row != std::end(kStatic)) return row->domain;
  if (word.size() != 1 || word[0] < 'A' || word[0] > 'Z') return fail(EINVAL, "a domain is a letter from A to Z");
  return word[0];
}

Result<unsigned> parse_number(std::string_view word) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc{} || end != word.data() + word.size()) return fail(EINVAL, "not a number");
  return number;
}

Result<Failure> parse_failure(std::string_view word) {
  const std::size_t colon = std::min(word.find(':'), word.size());
  const auto row = std::ranges::find(kFailures, word.substr(0, colon), &FailureRow::name);
  if (row == kFailures.end()) return fail(EINVAL, "no such kind of failure");
  if (colon == word.size()) return Failure{row->kind, 0};
  return Failure{row->kind, TRY(parse_number(word.substr(colon + 1)))};
}

std::string_view next_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \n"), text.size()));
  const std::string_view word = text.substr(0, std::min(text.find_first_of(" \n"), text.size()));
  text.remove_prefix(word.size());
  return word;
}

// make A GROUP, but attach GROUP A: as people say it.
bool domain_first(Verb verb) { return verb == Verb::make || verb == Verb::make_pasid; }

Result<Step> parse_step(std::string_view text) {
  const auto row = std::ranges::find(kVerbs, next_word(text), &VerbRow::name);
  if (row == kVerbs.end()) return fail(EINVAL, "no such step");
  Step step{.verb = row->verb};
  if (row->domain && domain_first(row->verb)) step.domain = TRY(parse_domain(next_word(text)));
  if (row->group) step.group = next_word(text);
  if (row->domain && !domain_first(row->verb)) step.domain = TRY(parse_domain(next_word(text)));
  if (row->pasid) step.pasid = TRY(parse_number(next_word(text)));
  if (row->group && step.group.empty()) return fail(EINVAL, "a step needs a group");
  for (std::string_view word = next_word(text); !word.empty(); word = next_word(text)) {
    if (word[0] == '!')
      step.failure = TRY(parse_failure(word.substr(1)));
    else if (word[0] == '*')
      step.times = std::max(1u, TRY(parse_number(word.substr(1))));
    else
      return fail(EINVAL, "a step has no such part");
  }
  return step;
}

}  // namespace

const VerbRow& row_of(Verb verb) { return kVerbs[std::to_underlying(verb)]; }

std::string text_of(const Step& step) {
  const VerbRow& row = row_of(step.verb);
  std::string text(row.name);
  if (row.domain && domain_first(row.verb)) text += " " + name_of_domain(step.domain);
  if (row.group) text += " " + step.group;
  if (row.domain && !domain_first(row.verb)) text += " " + name_of_domain(step.domain);
  if (row.pasid) text += fmt::format(" {}", step.pasid);
  if (step.failure.kind != FailureKind::none) text += fmt::format(" !{}", name_of(step.failure.kind));
  if (step.failure.nth != 0) text += fmt::format(":{}", step.failure.nth);
  if (step.times != 1) text += fmt::format(" *{}", step.times);
  return text;
}

std::string text_of(const Steps& steps) {
  std::string text;
  for (const Step& step : steps) text += (text.empty() ? "" : "; ") + text_of(step);
  return text;
}

Result<Steps> parse_steps(std::string_view text) {
  Steps steps;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(';'), text.size());
    if (text.substr(0, end).find_first_not_of(" \n") != std::string_view::npos)
      steps.push_back(TRY(parse_step(text.substr(0, end))));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (steps.empty()) return fail(EINVAL, "no steps");
  return steps;
}

}  // namespace softiommu::check
