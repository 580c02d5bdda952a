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

// What follows the name.
enum class Words : std::uint8_t { nothing, device, driver_device, device_number, device_token };

struct Row {
  Kind kind;
  std::string_view name;
  Words words;
  Result<Removal> (*apply)(const Change&, PciControl&);
};

Result<Removal> done(Result<> result) {
  if (!result) return std::unexpected(result.error());
  return Removal::done;
}

constexpr Row kRows[] = {
    {Kind::bind, "bind", Words::driver_device,
     [](const Change& c, PciControl& on) { return done(on.bind(c.driver, c.bdf)); }},
    {Kind::unbind, "unbind", Words::driver_device,
     [](const Change& c, PciControl& on) { return on.unbind(c.driver, c.bdf, kDontWait); }},
    {Kind::num_vfs, "num_vfs", Words::device_number,
     [](const Change& c, PciControl& on) { return on.set_num_vfs(c.bdf, c.number, kDontWait); }},
    {Kind::remove, "remove", Words::device,
     [](const Change& c, PciControl& on) { return on.remove(c.bdf, kDontWait); }},
    {Kind::rescan, "rescan", Words::nothing, [](const Change&, PciControl& on) { return done(on.rescan()); }},
    {Kind::unplug, "unplug", Words::device, [](const Change& c, PciControl& on) { return on.unplug(c.bdf); }},
    {Kind::plug, "plug", Words::device, [](const Change& c, PciControl& on) { return done(on.plug(c.bdf)); }},
    {Kind::reset, "reset", Words::device, [](const Change& c, PciControl& on) { return done(on.reset(c.bdf)); }},
    {Kind::token, "token", Words::device_token,
     [](const Change& c, PciControl& on) { return done(on.set_token(c.bdf, c.token)); }},
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

std::size_t count_of(Words words) { return words == Words::nothing ? 0 : words == Words::device ? 1 : 2; }

}  // namespace

std::string Change::text() const {
  const Row& row = row_of(kind);
  switch (row.words) {
    case Words::nothing:
      return std::string(row.name);
    case Words::device:
      return fmt::format("{} {}", row.name, bdf);
    case Words::driver_device:
      return fmt::format("{} {} {}", row.name, driver, bdf);
    case Words::device_number:
      return fmt::format("{} {} {}", row.name, bdf, number);
    case Words::device_token:
      return fmt::format("{} {} {}", row.name, bdf, token);
  }
  return {};
}

Result<Change> Change::parse(std::string_view text) {
  const auto words = split(text);
  const auto row = words.empty() ? std::end(kRows) : std::ranges::find(kRows, words[0], &Row::name);
  if (row == std::end(kRows) || words.size() != count_of(row->words) + 1) return fail(EINVAL, "no change of a machine");
  Change change{.kind = row->kind};
  const bool driver_first = row->words == Words::driver_device;
  if (row->words != Words::nothing) change.bdf = words[driver_first ? 2 : 1];
  if (driver_first) change.driver = words[1];
  if (row->words == Words::device_token) change.token = words[2];
  if (row->words != Words::device_number) return change;
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
      return false;
    default:
      return true;
  }
}

}  // namespace softiommu::launch
