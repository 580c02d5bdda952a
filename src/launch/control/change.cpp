// SPDX-License-Identifier: BSD-3-Clause
#include "launch/control/change.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

namespace softiommu::launch {
namespace {

using Kind = Change::Kind;
using Removal = PciControl::Removal;
constexpr auto kDontWait = PciControl::Wait::not_at_all;

struct Row {
  Kind kind;
  std::string_view name;
  std::size_t words;  // with the name
  Result<Removal> (*apply)(const Change&, PciControl&);
};

Result<Removal> done(Result<> result) {
  if (!result) return std::unexpected(result.error());
  return Removal::done;
}

constexpr Row kRows[] = {
    {Kind::bind, "bind", 3, [](const Change& c, PciControl& on) { return done(on.bind(c.driver, c.bdf)); }},
    {Kind::unbind, "unbind", 3, [](const Change& c, PciControl& on) { return on.unbind(c.driver, c.bdf, kDontWait); }},
    {Kind::num_vfs, "num_vfs", 3,
     [](const Change& c, PciControl& on) { return on.set_num_vfs(c.bdf, c.number, kDontWait); }},
    {Kind::remove, "remove", 2, [](const Change& c, PciControl& on) { return on.remove(c.bdf, kDontWait); }},
    {Kind::rescan, "rescan", 1, [](const Change&, PciControl& on) { return done(on.rescan()); }},
    {Kind::unplug, "unplug", 2, [](const Change& c, PciControl& on) { return on.unplug(c.bdf); }},
    {Kind::plug, "plug", 2, [](const Change& c, PciControl& on) { return done(on.plug(c.bdf)); }},
    {Kind::reset, "reset", 2, [](const Change& c, PciControl& on) { return done(on.reset(c.bdf)); }},
    {Kind::token, "token", 3, [](const Change& c, PciControl& on) { return done(on.set_token(c.bdf, c.token)); }},
};

const Row& row_of(Kind kind) { return *std::ranges::find(kRows, kind, &Row::kind); }

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (end != 0) words.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

}  // namespace

std::string Change::text() const {
  const Row& row = row_of(kind);
  std::string text(row.name);
  if (!driver.empty()) text += " " + driver;
  if (row.words > 1) text += " " + bdf;
  if (kind == Kind::num_vfs) text += fmt::format(" {}", number);
  if (kind == Kind::token) text += " " + token;
  return text;
}

Result<Change> Change::parse(std::string_view text) {
  const auto words = split(text);
  const auto row = words.empty() ? std::end(kRows) : std::ranges::find(kRows, words[0], &Row::name);
  if (row == std::end(kRows) || words.size() != row->words) return fail(EINVAL, "no change of a machine");
  Change change{.kind = row->kind};
  const bool names_driver = change.kind == Kind::bind || change.kind == Kind::unbind;
  if (row->words > 1) change.bdf = names_driver ? words[2] : words[1];
  if (names_driver) change.driver = words[1];
  if (change.kind == Kind::token) change.token = words[2];
  if (change.kind != Kind::num_vfs) return change;
  const std::string_view number = words[2];
  const auto [rest, error] = std::from_chars(number.data(), number.data() + number.size(), change.number);
  if (error != std::errc{} || rest != number.data() + number.size()) return fail(EINVAL, "no number of functions");
  return change;
}

std::optional<Change> Change::inverse() const {
  Change back = *this;
  if (kind == Kind::bind) {
    back.kind = Kind::unbind;
  } else if (kind == Kind::num_vfs && number != 0) {
    back.number = 0;
  } else {
    return std::nullopt;
  }
  return back;
}

Result<Removal> Change::apply(PciControl& control) const { return row_of(kind).apply(*this, control); }

bool Change::is_done(const PciControl& control) const {
  const auto functions = control.functions();
  const auto function = std::ranges::find(functions, bdf, &PciControl::Function::bdf);
  // A physical function takes its virtual ones along: their users are waited for, too.
  const bool leaves = kind == Kind::remove || kind == Kind::unbind;
  if (leaves && std::ranges::find(functions, bdf, &PciControl::Function::physfn) != functions.end()) return false;
  if (function == functions.end()) return true;
  switch (kind) {
    case Kind::num_vfs:
      return function->num_vfs == number;
    case Kind::unbind:
      return function->driver != driver;
    case Kind::remove:
    case Kind::unplug:
      return false;
    default:
      return true;
  }
}

}  // namespace softiommu::launch
