// SPDX-License-Identifier: BSD-3-Clause
#include "contract/driver_case.h"

#include <algorithm>
#include <iterator>
#include <ostream>
#include <vector>

#include "contract/flat_mmu.h"
#include "drivers/registry.h"

namespace softiommu::testing {

namespace {

constexpr DriverCase kRows[] = {
    {"flat", make_flat_driver, R"toml(
[[iommu]]
name = "u0"
model = "test-flat"
[[iommu]]
name = "u1"
model = "test-flat"
[[iommu]]
name = "u2"
model = "test-flat"
pages = 128
)toml"},
    {"intel", make_intel_driver, R"toml(
[[iommu]]
name = "u0"
model = "intel-vtd"
address_widths = [48]
[[iommu]]
name = "u1"
model = "intel-vtd"
address_widths = [48]
[[iommu]]
name = "u2"
model = "intel-vtd"
address_widths = [39]
)toml"},
    {"arm_smmu_v3", make_arm_smmu_v3_driver, R"toml(
[[iommu]]
name = "u0"
model = "arm-smmu-v3"
stages = "1"
[[iommu]]
name = "u1"
model = "arm-smmu-v3"
stages = "1"
[[iommu]]
name = "u2"
model = "arm-smmu-v3"
stages = "2"
)toml"},
};

// 03.0-03.2 are one multifunction device that does not keep its functions apart.
constexpr std::string_view kDevices = R"toml(
[[iommu]]
name = "foreign"
model = "test-flat-b"

[[device]]
address = "00:02.0"
model = "test-dma"
iommu = "u0"
[[device]]
address = "00:03.0"
model = "test-dma"
iommu = "u0"
acs = false
[[device]]
address = "00:03.1"
model = "test-dma"
iommu = "u0"
acs = false
[[device]]
address = "00:03.2"
model = "test-dma"
iommu = "u0"
acs = false
[[device]]
address = "00:04.0"
model = "test-dma"
iommu = "u0"
[[device]]
address = "00:05.0"
model = "test-dma"
iommu = "u1"
[[device]]
address = "00:06.0"
model = "test-dma"
iommu = "u2"
[[device]]
address = "00:07.0"
model = "test-dma"
iommu = "foreign"
[[device]]
address = "00:08.0"
model = "test-dma"
iommu = "none"
)toml";

}  // namespace

std::span<const DriverCase> driver_cases() {
  static const std::vector<DriverCase> present = [] {
    std::vector<DriverCase> rows;
    std::ranges::copy_if(kRows, std::back_inserter(rows), [](const DriverCase& row) { return row.make() != nullptr; });
    return rows;
  }();
  return present;
}

std::string machine_file(const DriverCase& row) { return std::string(row.units) + std::string(kDevices); }

void PrintTo(const DriverCase& row, std::ostream* out) { *out << row.name; }

}  // namespace softiommu::testing
