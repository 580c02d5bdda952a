// SPDX-License-Identifier: BSD-3-Clause
// The drivers that the contract tests run over: one row each.
//
// The hardware of our own drivers is that of `softiommu check` (check/machines.h); the devices behind it are the same
// for all rows.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"
#include "core/driver.h"

namespace softiommu::testing {

struct DriverCase {
  std::string name;
  MakeDriver make;
  std::string units;  // TOML, perhaps after a [memory] section
  // In front of 02.0, 03.x, 04.0, 05.0, 06.0.
  std::array<std::string_view, 5> behind = {"u0", "u0", "u0", "u1", "u2"};
  bool one_by_one = true;  // devices behind one unit are switched apart; else a switch of one is a switch of all
  bool shares = true;      // a domain serves the groups of several units that agree
  bool misfits = true;     // there are devices that a domain does not fit
  Iova iova{0x10000};      // where every domain of these tests maps its page
};

std::span<const DriverCase> driver_cases();
// Those of which `holds` is true: a test of what some drivers cannot do is instantiated over the others.
template <class Predicate>
std::vector<DriverCase> cases_where(Predicate holds) {
  std::vector<DriverCase> cases;
  std::ranges::copy_if(driver_cases(), std::back_inserter(cases), holds);
  return cases;
}
// The machine file of a row: its units and, behind them, the devices that World names.
std::string machine_file(const DriverCase& row);

// For INSTANTIATE_TEST_SUITE_P.
inline constexpr auto case_name = [](const auto& test) { return test.param.name; };
void PrintTo(const DriverCase& row, std::ostream* out);

}  // namespace softiommu::testing
