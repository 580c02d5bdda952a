// SPDX-License-Identifier: BSD-3-Clause
// The hardware that our own drivers are judged on: one row each, also for the contract tests.
//
// A row brings a machine file's IOMMUs, named u0, u1 (like u0: domains are shared) and u2 (its domains do not fit the
// devices of the others, nor theirs its), with few ids, so that they run out. Where hardware has one group behind each
// unit, the row has more units and says which device is behind which.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "core/driver.h"

namespace softiommu::check {

struct HardwareRow {
  std::string_view driver;   // of src/drivers/registry.inc
  std::string_view machine;  // what `--machine` calls it
  MakeDriver make;
  std::string_view memory = {};  // keys of the [memory] section, as lines; empty: none is needed
  std::string_view model;        // of the units
  std::string_view keys = {};    // that all units have, as lines
  struct Unit {
    std::string_view name, keys = {};
  };
  std::array<Unit, 5> units;  // those with a name
  // In front of 02.0, 03.0 to 03.2 (which cannot be kept apart), 04.0, 05.0, 06.0.
  std::array<std::string_view, 5> behind = {"u0", "u0", "u0", "u1", "u2"};
  unsigned times = 300;  // CheckedMachine::times
  unsigned crowd = 0;    // more devices behind u0, that can take all ids
};

std::span<const HardwareRow> hardware_rows();
// The sections of a machine file that make the row's units.
std::string units_text(const HardwareRow& row);

}  // namespace softiommu::check
