// SPDX-License-Identifier: BSD-3-Clause
// The keys that a model takes from the machine file: one table per model. The parser checks a file against it
// (file:line:column), docs/machine-file.md is printed from it.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace softiommu {

struct Option {
  enum class Kind : std::uint8_t {
    integer,  // min..max
    flag,     // true or false
    size,     // bytes: an integer or "64K", "2M", "1G"; min..max
    list,     // integers, each min..max (and one of `choices`, if there are any); a bit set (bit n: n is in it)
    choice,   // one of the words in `choices`, separated by '|'; stored as its position
    text,     // any words; `choices` is the text when the key is absent
    texts,    // a list of words; stored as one text, separated by spaces
  };
  std::string_view key;
  Kind kind;
  std::uint64_t fallback;  // the value when the key is absent (for list: the bit set)
  std::uint64_t min = 0, max = ~std::uint64_t{0};
  std::string_view choices;
  std::string_view doc;
  bool required = false;
};

// Values of one model's options: every key of its table is present.
class Options {
 public:
  explicit Options(std::span<const Option> table) : table_(table) {
    for (const Option& option : table) {
      if (option.kind == Option::Kind::text || option.kind == Option::Kind::texts)
        texts_[std::string(option.key)] = option.choices;
      else
        values_[std::string(option.key)] = option.fallback;
    }
  }
  std::span<const Option> table() const { return table_; }
  std::uint64_t operator[](std::string_view key) const { return values_.at(std::string(key)); }
  bool flag(std::string_view key) const { return (*this)[key] != 0; }
  void set(std::string_view key, std::uint64_t value) { values_[std::string(key)] = value; }
  const std::string& text(std::string_view key) const { return texts_.at(std::string(key)); }
  void set_text(std::string_view key, std::string value) { texts_[std::string(key)] = std::move(value); }

 private:
  std::span<const Option> table_;  // tables live as long as the program
  std::map<std::string, std::uint64_t> values_;
  std::map<std::string, std::string> texts_;
};

}  // namespace softiommu
