// SPDX-License-Identifier: BSD-3-Clause
// The plain matrix: operation x group x domain x kind of failure, as sweeps over the places where the failure can
// happen; and random sequences from a seed.
#pragma once

#include <string>
#include <vector>

#include "check/bench.h"

namespace softiommu::check {

// A group of the checked driver, and whose domains it can be asked to take.
struct Seat {
  std::string group;
  std::string fits = {};     // a group whose domain it takes; "": none
  std::string misfits = {};  // one whose domain does not fit it
  std::string foreign = {};  // one of another driver
  bool identity = false, pasids = false;
};

// One seat for each kind of group that the machine has.
Result<std::vector<Seat>> survey(const Bench& bench);

// A sequence whose last step fails at each place in turn.
struct Sweep {
  Steps steps;
  FailureKind kind = FailureKind::none;  // memory stands for all fault points: each is counted as what it is
};
std::vector<Sweep> sweeps(const std::vector<Seat>& seats);

// What makes no sense where it stands does nothing.
Steps random_steps(const std::vector<Seat>& seats, std::uint64_t seed);

}  // namespace softiommu::check
