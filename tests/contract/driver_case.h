// SPDX-License-Identifier: BSD-3-Clause
// The drivers that the contract tests run over: one row each.
//
// A row brings a machine file's IOMMUs, named u0, u1 (like u0: domains are shared) and u2 (its domains do not fit the
// devices of the others, nor theirs its). The devices behind them are the same for all.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/driver.h"

namespace softiommu::testing {

struct DriverCase {
  std::string_view name;
  MakeDriver make;
  std::string_view units;  // TOML
};

// Rows of drivers that are there.
std::span<const DriverCase> driver_cases();
// The machine file of a row: its units and, behind them, the devices that World names.
std::string machine_file(const DriverCase& row);

// For INSTANTIATE_TEST_SUITE_P.
void PrintTo(const DriverCase& row, std::ostream* out);

}  // namespace softiommu::testing
