// SPDX-License-Identifier: BSD-3-Clause
#include "contract/driver_case.h"

#include <fmt/format.h>

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
    // Host tables that grow; of u2 guest tables.
    {"amd", make_amd_driver, R"toml(
[[iommu]]
name = "u0"
model = "amd-iommu"
guest_levels = "none"
[[iommu]]
name = "u1"
model = "amd-iommu"
guest_levels = "none"
[[iommu]]
name = "u2"
model = "amd-iommu"
host_levels = "none"
)toml"},
    // Guest tables; of u2 host tables.
    {"amd_guest_tables", make_amd_driver, R"toml(
[[iommu]]
name = "u0"
model = "amd-iommu"
host_levels = "none"
[[iommu]]
name = "u1"
model = "amd-iommu"
host_levels = "none"
[[iommu]]
name = "u2"
model = "amd-iommu"
guest_levels = "none"
)toml"},
    {"virtio_iommu", make_virtio_iommu_driver, R"toml(
[[iommu]]
name = "u0"
model = "virtio-iommu"
[[iommu]]
name = "u1"
model = "virtio-iommu"
[[iommu]]
name = "u2"
model = "virtio-iommu"
input_first = "4K"
input_bits = 64
)toml"},
    {"arm_smmu", make_arm_smmu_driver, R"toml(
[[iommu]]
name = "u0"
model = "arm-smmu"
stages = "1"
[[iommu]]
name = "u1"
model = "arm-smmu"
stages = "1"
[[iommu]]
name = "u2"
model = "arm-smmu"
stages = "2"
)toml"},
    {.name = "rockchip",
     .make = make_rockchip_driver,
     .units = R"toml(
[memory]
top = "4G"
table_arena = "256M"
[[iommu]]
name = "u0"
model = "rockchip-iommu"
[[iommu]]
name = "trio"
model = "rockchip-iommu"
mmus = 3
[[iommu]]
name = "second"
model = "rockchip-iommu"
[[iommu]]
name = "u1"
model = "rockchip-iommu"
[[iommu]]
name = "u2"
model = "rockchip-iommu"
version = 2
)toml",
     .behind = {"u0", "trio", "second", "u1", "u2"},
     .one_by_one = false},
    {.name = "omap",
     .make = make_omap_driver,
     .units = R"toml(
[memory]
top = "4G"
table_arena = "256M"
[[iommu]]
name = "u0"
model = "omap-mmu"
[[iommu]]
name = "trio"
model = "omap-mmu"
mmus = 2
[[iommu]]
name = "second"
model = "omap-mmu"
[[iommu]]
name = "u1"
model = "omap-mmu"
[[iommu]]
name = "u2"
model = "omap-mmu"
)toml",
     .behind = {"u0", "trio", "second", "u1", "u2"},
     .one_by_one = false,
     .shares = false},
    {.name = "tegra_gart",
     .make = make_tegra_gart_driver,
     .units = R"toml(
[memory]
top = "2G"
table_arena = "256M"
[[iommu]]
name = "u0"
model = "tegra-gart"
)toml",
     .behind = {"u0", "u0", "u0", "u0", "u0"},
     .misfits = false,
     .iova = Iova{0x5801'0000}},
};

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
  static const std::vector<DriverCase> present = [] {
    std::vector<DriverCase> rows;
    std::ranges::copy_if(kRows, std::back_inserter(rows), [](const DriverCase& row) { return row.make() != nullptr; });
    return rows;
  }();
  return present;
}

std::string machine_file(const DriverCase& row) {
  std::string text(row.units);
  text += kForeign;
  for (const Placed& placed : kPlaced) text += device(placed.address, row.behind[placed.place]);
  return text + device("00:07.0", "foreign") + device("00:08.0", "none");
}

void PrintTo(const DriverCase& row, std::ostream* out) { *out << row.name; }

}  // namespace softiommu::testing
