// SPDX-License-Identifier: BSD-3-Clause
#include "contract/driver_case.h"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>
#include <vector>

#include "check/machines.h"
#include "contract/flat_mmu.h"

namespace softiommu::testing {

namespace {

const check::HardwareRow kFlat{
    .driver = "flat",
    .machine = "flat",
    .make = make_flat_driver,
    .model = "test-flat",
    .units = {{{"u0"}, {"u1"}, {"u2", "pages = 128"}}},
};

// What is peculiar to a driver's hardware as far as these tests go; rows without a name take the rest.
struct Peculiarity {
  std::string_view machine;
  bool one_by_one, shares, misfits;
  Iova iova = DriverCase{}.iova;
};
const Peculiarity kPeculiarities[] = {
    {"rockchip", false, true, true},
    {"omap", false, false, true},
    {"amd-both-tables", true, true, false},
    {"tegra_gart", true, true, false, Iova{0x5801'0000}},
    {"", true, true, true},
};

// Names of tests have no other characters.
std::string test_name(std::string_view machine) {
  std::string name(machine);
  std::ranges::replace(name, '-', '_');
  return name;
}

std::vector<DriverCase> make_rows() {
  std::vector<DriverCase> rows{{.name = "flat", .make = make_flat_driver, .units = units_text(kFlat)}};
  for (const check::HardwareRow& row : check::hardware_rows()) {
    const auto mine = std::ranges::find_if(
        kPeculiarities, [&](const Peculiarity& p) { return p.machine == row.machine || p.machine.empty(); });
    rows.push_back({.name = test_name(row.machine),
                    .make = row.make,
                    .units = units_text(row),
                    .behind = row.behind,
                    .one_by_one = mine->one_by_one,
                    .shares = mine->shares,
                    .misfits = mine->misfits,
                    .iova = mine->iova});
  }
  return rows;
}

// 03.0-03.2 are one multifunction device that does not keep its functions apart.
constexpr std::string_view kForeign = R"toml(
[[iommu]]
name = "foreign"
model = "test-flat-b"
)toml";

struct Placed {
  std::string_view address;
  std::size_t place;  // in DriverCase::behind
};
constexpr Placed kPlaced[] = {{"00:02.0", 0}, {"00:03.0", 1}, {"00:03.1", 1}, {"00:03.2", 1},
                              {"00:04.0", 2}, {"00:05.0", 3}, {"00:06.0", 4}};

// 03.0-03.2 are one multifunction device that does not keep its functions apart.
std::string device(std::string_view address, std::string_view unit) {
  return fmt::format("\n[[device]]\naddress = \"{}\"\nmodel = \"test-dma\"\niommu = \"{}\"\nacs = {}\n", address, unit,
                     !address.starts_with("00:03"));
}

}  // namespace

std::span<const DriverCase> driver_cases() {
  static const std::vector<DriverCase> rows = make_rows();
  return rows;
}

std::string machine_file(const DriverCase& row) {
  std::string text = row.units;
  text += kForeign;
  for (const Placed& placed : kPlaced) text += device(placed.address, row.behind[placed.place]);
  return text + device("00:07.0", "foreign") + device("00:08.0", "none");
}

void PrintTo(const DriverCase& row, std::ostream* out) { *out << row.name; }

}  // namespace softiommu::testing
