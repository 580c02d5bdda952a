// SPDX-License-Identifier: BSD-3-Clause
// The language of what a driver is asked: short sequences of steps, written as
//
//   own 0000:00:02.0; make A 0000:00:02.0; attach 0000:00:02.0 A !memory:3
//
// A group is named by its first device. Domains are letters: where a device reads the letter A, it translates through
// domain A. `!KIND:N` makes the Nth place fail at which that kind of failure can happen (`!ids` alone: other groups
// have taken all ids before), `*N` asks N times. A step that makes no sense where it stands does nothing, so that every
// part of a sequence is a sequence.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "check/failure.h"

namespace softiommu::check {

enum class Verb : std::uint8_t {
  own,
  release,
  make,
  make_pasid,
  attach,
  replace,
  detach,
  attach_pasid,
  replace_pasid,
  detach_pasid,
  unmap,
  map,
  drop,
  probe,
};

inline constexpr char kBlocked = '0', kIdentity = '1';  // the driver's static domains, beside the letters

struct Step {
  Verb verb{};
  std::string group = {};
  char domain = 0;  // a letter, kBlocked or kIdentity; 0: the verb has none
  Pasid pasid = 0;
  Failure failure = {};
  unsigned times = 1;
  friend bool operator==(const Step&, const Step&) = default;
};

using Steps = std::vector<Step>;

// What a verb takes after its name, in this order.
struct VerbRow {
  Verb verb;
  std::string_view name;
  bool group, domain, pasid;
};
const VerbRow& row_of(Verb verb);

std::string text_of(const Step& step);
std::string text_of(const Steps& steps);
// EINVAL: not such a text.
Result<Steps> parse_steps(std::string_view text);

}  // namespace softiommu::check
