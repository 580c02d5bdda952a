// SPDX-License-Identifier: BSD-3-Clause
// `softiommu check`: does a driver keep the attach contract, whatever it is asked and whatever fails meanwhile?
//
// Everything asked is a short sequence of steps (steps.h) on a fresh machine, in the last of which something may fail.
// A plain matrix (matrix.h) makes most of them: operation x group x domain x failure, and each place where that failure
// can happen in turn; a seed makes the rest. After each step the laws are judged (laws.h), also by DMA of every device.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "check/failure.h"
#include "check/laws.h"
#include "core/driver.h"
#include "machine/machine.h"

namespace softiommu::check {

// A machine file, by a name that `--machine` takes.
struct CheckedMachine {
  std::string name;
  std::string toml;
  unsigned times = 300;  // how often some steps are asked, so that lost ids are missed: more than a unit has ids
};

struct CheckedDriver {
  std::string name;
  MakeDriver make = nullptr;
  // At least one has a unit that it drives. Other units in them are served by our own drivers.
  std::vector<CheckedMachine> machines;
  // Hardware of its own, beside (or, by its name, in place of) what machine files know.
  std::vector<UnitModel> unit_models = {};
};

// Our own drivers, each with its machines.
std::vector<CheckedDriver> own_drivers();

// Part `index` (from 1) of `count`.
struct Shard {
  unsigned index = 1, count = 1;
  friend bool operator==(const Shard&, const Shard&) = default;
};

struct CheckOptions {
  std::uint64_t seed = 1;
  unsigned sequences = 50;  // random ones for each machine
  unsigned jobs = 1;        // processes; 0: in this one, where a driver that crashes takes it along
  Shard shard = {};
  std::string_view steps = {};  // only this sequence (steps.h), on the first machine of each driver
  // Called now and then while it runs.
  std::function<void(std::size_t done, std::size_t all)> progress = {};
};

// A law that was not kept, and the shortest way to see it.
struct Breach {
  Law law{};
  FailureKind failure{};
  std::string machine = {};
  std::string steps = {};   // the sequence: its last step is the one that broke the law
  std::string what = {};    // one sentence
  std::uint64_t order = 0;  // which of several is kept: the lowest
  std::uint64_t count = 1;  // how many cases broke this law with this failure
};

struct DriverReport {
  std::string name;
  std::array<std::uint64_t, kFailureKinds> cases{};  // by the kind of failure
  std::vector<Breach> breaches = {};                 // one for each law and kind of failure, in that order
  std::uint64_t all_cases() const;
};

struct CheckReport {
  std::uint64_t seed = 1;
  std::vector<Shard> shards = {};  // what is in it; 1/1: all
  std::vector<DriverReport> drivers = {};
  bool kept() const;
  std::uint64_t cases() const;
};

// EINVAL: a machine file that is wrong or has no unit of the driver, steps that are none, a shard out of range.
Result<CheckReport> check(std::span<const CheckedDriver> drivers, const CheckOptions& options);

}  // namespace softiommu::check
