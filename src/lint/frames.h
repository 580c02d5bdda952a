// SPDX-License-Identifier: BSD-3-Clause
// What an expression means to the functions above it: parameters become the arguments of the calls that lead here,
// locals with one definition become that definition, one-line accessors their answer. So two tests can be compared
// although they stand in different functions, and a test of a flag is known where the caller passes none.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lint/outcome.h"
#include "lint/tree.h"

namespace softiommu::lint {

class Frames {
 public:
  // Calls from the outside in; the last site is the place itself.
  Frames(const Tree& tree, std::vector<Site> sites) : tree_(tree), sites_(std::move(sites)) {}

  std::size_t size() const { return sites_.size(); }
  const Site& at(std::size_t depth) const { return sites_[depth]; }
  // The frame whose function holds `node`; the innermost one when none does.
  std::size_t depth_of(const Node* node) const;
  // This chain up to `depth`, then one call further.
  Frames through(std::size_t depth, const Site& call, const Site& place) const;
  // Another chain for the same question.
  Frames beside(std::vector<Site> sites) const;

  // One text for one value. Names that change, and what is not understood, give a text that equals no other.
  // Names of frame `shared` that change count as the same between the places `from` and `to` of the source if nothing
  // assigns them there.
  struct Window {
    std::size_t shared = 0;
    const char *from = nullptr, *to = nullptr;
    // While a loop's condition is read as it was at its start: its variable, and the value that it began with.
    std::string_view variable = {};
    const Node* start = nullptr;
  };
  std::string canonical(const Node* expression, std::size_t depth, const Window& window) const;

  // Is the condition settled by constants and flags that the calls pass?
  std::optional<bool> truth(const Node* condition, std::size_t depth) const;
  // True when truth() has asked for a parameter of the outermost function: a caller may know more.
  bool open() const { return open_; }

 private:
  std::string canonical_name(const Node* name, std::size_t depth, const Window& window) const;
  std::string canonical_call(const Node* call, std::size_t depth, const Window& window) const;
  const Node* argument_of(std::string_view parameter, std::size_t depth) const;
  std::optional<std::set<std::string>> bits(const Node* expression, std::size_t depth) const;
  std::optional<std::set<std::string>> bits_of_name(const Node* name, std::size_t depth) const;
  std::string constant(const Node* expression, std::size_t depth) const;

  const Tree& tree_;
  std::vector<Site> sites_;
  std::string unlike() const;  // a text that equals no other

  std::shared_ptr<std::size_t> unlike_count_ =
      std::make_shared<std::size_t>(0);  // shared by the chains of one question
  mutable std::size_t nested_ = 0;
  mutable bool open_ = false;
};

// The call of a one-argument wrapper that changes no truth: likely(), READ_ONCE(), WARN_ON() and their kin.
bool is_transparent(std::string_view callee);
// The body of the function that holds a node.
const Node* body_of(const Node* node);
// What a function without other statements than "return x;" answers, or null.
const Node* accessor_answer(const Function& function);

}  // namespace softiommu::lint
