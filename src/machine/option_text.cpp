// SPDX-License-Identifier: BSD-3-Clause
#include "machine/option_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>
#include <utility>

namespace softiommu {
namespace {

struct Suffix {
  char letter;
  unsigned shift;
};
constexpr Suffix kSuffixes[] = {{'P', 50}, {'T', 40}, {'G', 30}, {'M', 20}, {'K', 10}};

// Letters to insert, delete or replace until `a` reads `b`.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0u);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::vector<unsigned> members(std::uint64_t bits) {
  std::vector<unsigned> numbers;
  for (unsigned n = 0; n < 64; ++n)
    if (bits >> n & 1) numbers.push_back(n);
  return numbers;
}

bool is_number(std::string_view word) {
  return !word.empty() && std::ranges::all_of(word, [](char c) { return c >= '0' && c <= '9'; });
}

// A choice as it is written: words quoted, numbers bare.
std::string quoted(std::string_view word) { return is_number(word) ? std::string(word) : fmt::format("\"{}\"", word); }

}  // namespace

std::string size_text(std::uint64_t bytes) {
  for (const auto& [letter, shift] : kSuffixes)
    if (bytes != 0 && bytes % (std::uint64_t{1} << shift) == 0) return fmt::format("{}{}", bytes >> shift, letter);
  return fmt::format("{}", bytes);
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (unit.empty()) return number;
  const auto* suffix = std::ranges::find(kSuffixes, unit.front(), &Suffix::letter);
  unit.remove_prefix(1);
  if (suffix == std::end(kSuffixes) || (!unit.empty() && unit != "iB")) return std::nullopt;
  if (number > std::numeric_limits<std::uint64_t>::max() >> suffix->shift) return std::nullopt;
  return number << suffix->shift;
}

std::vector<std::string_view> choices_of(const Option& option) {
  std::vector<std::string_view> words;
  for (std::string_view rest = option.choices; !rest.empty();) {
    const std::size_t bar = std::min(rest.find('|'), rest.size());
    words.push_back(rest.substr(0, bar));
    rest.remove_prefix(std::min(bar + 1, rest.size()));
  }
  return words;
}

std::string accepted(const Option& option) {
  switch (option.kind) {
    case Option::Kind::integer:
      return fmt::format("an integer, {} to {}", option.min, option.max);
    case Option::Kind::flag:
      return "true or false";
    case Option::Kind::size:
      return fmt::format("a size, \"{}\" to \"{}\" (or a number of bytes)", size_text(option.min),
                         size_text(option.max));
    case Option::Kind::list:
      if (!option.choices.empty())
        return fmt::format("a list of integers out of {}", fmt::join(choices_of(option), ", "));
      return fmt::format("a list of integers, each {} to {}", option.min, option.max);
    case Option::Kind::choice: {
      std::vector<std::string> words;
      for (const std::string_view word : choices_of(option)) words.push_back(quoted(word));
      return fmt::format("one of {}", fmt::join(words, ", "));
    }
    case Option::Kind::text:
      return "a string";
    case Option::Kind::texts:
      return "a list of strings";
  }
  return "";
}

std::string written(const Option& option, std::uint64_t value) {
  switch (option.kind) {
    case Option::Kind::flag:
      return value != 0 ? "true" : "false";
    case Option::Kind::size:
      return fmt::format("\"{}\"", size_text(value));
    case Option::Kind::list:
      return fmt::format("[{}]", fmt::join(members(value), ", "));
    case Option::Kind::choice:
      if (const auto words = choices_of(option); value < words.size()) return quoted(words[value]);
      [[fallthrough]];
    default:
      return fmt::format("{}", value);
  }
}

std::string written(const Option& option, const Options& values) {
  if (option.kind == Option::Kind::text || option.kind == Option::Kind::texts)
    return fmt::format("\"{}\"", values.text(option.key));
  return written(option, values[option.key]);
}

std::string written_fallback(const Option& option) {
  if (option.kind == Option::Kind::text) return fmt::format("\"{}\"", option.choices);
  if (option.kind == Option::Kind::texts) return "[]";
  return written(option, option.fallback);
}

std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates) {
  std::string_view best;
  std::size_t best_distance =
      std::max<std::size_t>((word.size() + 1) / 3, 1) + 1;  // two letters swapped are two changes
  for (const std::string_view candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string suggestion(std::string_view word, const std::vector<std::string_view>& candidates) {
  if (const std::string_view meant = nearest(word, candidates); !meant.empty())
    return fmt::format("; did you mean \"{}\"?", meant);
  if (candidates.empty()) return "";
  return fmt::format("; there {} \"{}\"", candidates.size() == 1 ? "is" : "are", fmt::join(candidates, "\", \""));
}

}  // namespace softiommu
