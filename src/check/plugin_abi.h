// SPDX-License-Identifier: BSD-3-Clause
// A driver from outside, as a shared library: what `softiommu check --plugin FILE` looks for in it.
//
// A plugin derives from the classes that our own drivers derive from, so it is built against the installed headers of
// the very release that loads it; the loader compares `version`. What it calls (memory for tables, the log, fault
// points, operator new) is the program's: there is one of each in the process, and so what `check` makes fail there
// fails for the plugin too.
#pragma once

#include <cstdint>
#include <span>

#include "base/fault.h"
#include "core/driver.h"
#include "machine/machine.h"

namespace softiommu::check {

inline constexpr std::uint32_t kPluginAbi = 1;  // of the structure below

struct PluginMachine {
  const char* name;
  const char* toml;  // a machine file, with at least one unit that the driver drives
};

struct DriverPlugin {
  // These two first, for ever: the rest is looked at only if they are what the program expects.
  std::uint32_t abi = kPluginAbi;
  const char* version = SOFTIOMMU_VERSION;

  const char* name = nullptr;
  MakeDriver make = nullptr;
  std::span<const PluginMachine> machines = {};
  std::span<const UnitModel> unit_models = {};  // hardware of its own, if it drives none of ours
};

}  // namespace softiommu::check

extern "C" {
[[gnu::visibility("default")]] extern const softiommu::check::DriverPlugin softiommu_driver_plugin;
}

// Once in a plugin: SOFTIOMMU_DRIVER_PLUGIN({.name = "tiny", .make = make_tiny, .machines = kMachines});
// Only the program knows whether a fault point is armed: a plugin asks it each time.
#define SOFTIOMMU_DRIVER_PLUGIN(...)       \
  namespace softiommu::fault::detail {     \
  constinit std::atomic<bool> armed{true}; \
  }                                        \
  const softiommu::check::DriverPlugin softiommu_driver_plugin __VA_ARGS__
