// SPDX-License-Identifier: BSD-3-Clause
#include "check/machines.h"

#include <fmt/format.h>

#include <algorithm>

#include "check/check.h"
#include "drivers/registry.h"

namespace softiommu::check {

namespace {

constexpr std::array<std::string_view, 5> kOneGroupEach = {"u0", "trio", "second", "u1", "u2"};

constexpr auto kRows = std::to_array<HardwareRow>({
    {.driver = "intel",
     .machine = "intel",
     .make = make_intel_driver,
     .units = R"toml(
[[iommu]]
name = "u0"
model = "intel-vtd"
address_widths = [48]
domain_id_bits = 4
[[iommu]]
name = "u1"
model = "intel-vtd"
address_widths = [48]
domain_id_bits = 6
[[iommu]]
name = "u2"
model = "intel-vtd"
address_widths = [39]
domain_id_bits = 6
)toml",
     .crowd = 16},
    // A hypervisor's: what is not present is cached, too, and there is no queue.
    {.driver = "intel", .machine = "intel-by-register", .make = make_intel_driver, .units = R"toml(
[[iommu]]
name = "u0"
model = "intel-vtd"
address_widths = [48]
queued_invalidation = false
caching_mode = true
pass_through = false
domain_id_bits = 6
[[iommu]]
name = "u1"
model = "intel-vtd"
address_widths = [48]
queued_invalidation = false
pass_through = false
domain_id_bits = 6
[[iommu]]
name = "u2"
model = "intel-vtd"
address_widths = [39]
snoop_control = false
domain_id_bits = 6
)toml"},
    // Domains of u0 and u1 are on first-stage tables, those of u2 on second-stage ones.
    {.driver = "intel", .machine = "intel-scalable", .make = make_intel_driver, .units = R"toml(
[[iommu]]
name = "u0"
model = "intel-vtd"
scalable = true
second_stage = false
domain_id_bits = 6
[[iommu]]
name = "u1"
model = "intel-vtd"
scalable = true
second_stage = false
domain_id_bits = 6
[[iommu]]
name = "u2"
model = "intel-vtd"
scalable = true
first_stage = false
domain_id_bits = 6
)toml"},
    {.driver = "arm_smmu_v3", .machine = "arm_smmu_v3", .make = make_arm_smmu_v3_driver, .units = R"toml(
[[iommu]]
name = "u0"
model = "arm-smmu-v3"
stages = "1"
asid_bits = 8
[[iommu]]
name = "u1"
model = "arm-smmu-v3"
stages = "1"
asid_bits = 8
[[iommu]]
name = "u2"
model = "arm-smmu-v3"
stages = "2"
vmid_bits = 8
)toml"},
    // Everything that the hardware can: PASIDs, guests, dirty state, stalls, ATS.
    {.driver = "arm_smmu_v3", .machine = "arm_smmu_v3-full", .make = make_arm_smmu_v3_driver, .units = R"toml(
[[iommu]]
name = "u0"
model = "arm-smmu-v3"
output_bits = 52
substream_bits = 20
force_write_back = true
dirty = "dirty"
stalls = "choice"
ats = true
pri = true
asid_bits = 8
[[iommu]]
name = "u1"
model = "arm-smmu-v3"
output_bits = 52
substream_bits = 20
force_write_back = true
dirty = "dirty"
stalls = "choice"
ats = true
pri = true
asid_bits = 8
[[iommu]]
name = "u2"
model = "arm-smmu-v3"
stages = "2"
vmid_bits = 8
)toml"},
    {.driver = "arm_smmu_v3", .machine = "arm_smmu_v3-stage-2", .make = make_arm_smmu_v3_driver, .units = R"toml(
[[iommu]]
name = "u0"
model = "arm-smmu-v3"
stages = "2"
vmid_bits = 8
messages = false
two_level = false
range_invalidation = false
[[iommu]]
name = "u1"
model = "arm-smmu-v3"
stages = "2"
vmid_bits = 8
[[iommu]]
name = "u2"
model = "arm-smmu-v3"
stages = "1"
asid_bits = 8
)toml"},
    // Host tables that grow; of u2 guest tables.
    {.driver = "amd", .machine = "amd", .make = make_amd_driver, .units = R"toml(
[[iommu]]
name = "u0"
model = "amd-iommu"
guest_levels = "none"
domain_ids = 8
[[iommu]]
name = "u1"
model = "amd-iommu"
guest_levels = "none"
domain_ids = 8
[[iommu]]
name = "u2"
model = "amd-iommu"
host_levels = "none"
domain_ids = 8
)toml"},
    // Guest tables, and PASIDs; of u2 host tables.
    {.driver = "amd", .machine = "amd-guest-tables", .make = make_amd_driver, .units = R"toml(
[[iommu]]
name = "u0"
model = "amd-iommu"
host_levels = "none"
domain_ids = 10
[[iommu]]
name = "u1"
model = "amd-iommu"
host_levels = "none"
domain_ids = 8
[[iommu]]
name = "u2"
model = "amd-iommu"
guest_levels = "none"
domain_ids = 8
)toml"},
    // Both kinds of tables behind each unit.
    {.driver = "amd", .machine = "amd-both-tables", .make = make_amd_driver, .units = R"toml(
[[iommu]]
name = "u0"
model = "amd-iommu"
domain_ids = 10
[[iommu]]
name = "u1"
model = "amd-iommu"
domain_ids = 8
[[iommu]]
name = "u2"
model = "amd-iommu"
host_levels = "none"
domain_ids = 8
)toml"},
    {.driver = "arm_smmu", .machine = "arm_smmu", .make = make_arm_smmu_driver, .units = R"toml(
[[iommu]]
name = "u0"
model = "arm-smmu"
stages = "1"
context_banks = 6
[[iommu]]
name = "u1"
model = "arm-smmu"
stages = "1"
context_banks = 4
[[iommu]]
name = "u2"
model = "arm-smmu"
stages = "2"
context_banks = 4
)toml"},
    {.driver = "arm_smmu", .machine = "arm_smmu-v1", .make = make_arm_smmu_driver, .units = R"toml(
[[iommu]]
name = "u0"
model = "arm-smmu"
version = "1"
stages = "2"
context_banks = 6
stream_entries = 12
[[iommu]]
name = "u1"
model = "arm-smmu"
version = "1"
stages = "2"
context_banks = 4
[[iommu]]
name = "u2"
model = "arm-smmu"
stages = "1"
granules = []
context_banks = 4
)toml"},
    {.driver = "virtio_iommu", .machine = "virtio_iommu", .make = make_virtio_iommu_driver, .units = R"toml(
[[iommu]]
name = "u0"
model = "virtio-iommu"
domains = 7
[[iommu]]
name = "u1"
model = "virtio-iommu"
domains = 7
[[iommu]]
name = "u2"
model = "virtio-iommu"
input_first = "4K"
input_bits = 64
domains = 7
)toml"},
    {.driver = "rockchip",
     .machine = "rockchip",
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
     .behind = kOneGroupEach},
    {.driver = "omap",
     .machine = "omap",
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
     .behind = kOneGroupEach},
    {.driver = "tegra_gart",
     .machine = "tegra_gart",
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
     .times = 4},
});

struct Placed {
  std::string_view address;
  std::size_t place;  // in HardwareRow::behind
  std::string_view more;
};
// 03.0 to 03.2 are one multifunction device that does not keep its functions apart; 01.0 has aliases.
constexpr Placed kPlaced[] = {
    {"00:01.0", 2, "dma_aliases = [\"01.1\", \"01.2\"]\n"},
    {"00:02.0", 0, ""},
    {"00:03.0", 1, "acs = false\n"},
    {"00:03.1", 1, "acs = false\n"},
    {"00:03.2", 1, "acs = false\n"},
    {"00:04.0", 2, ""},
    {"00:05.0", 3, ""},
    {"00:06.0", 4, ""},
};
constexpr unsigned kCrowdFirst = 0x10;

std::string device(std::string_view address, std::string_view unit, std::string_view more = "") {
  return fmt::format("[[device]]\naddress = \"{}\"\nmodel = \"edu\"\niommu = \"{}\"\n{}", address, unit, more);
}

std::string machine_file(const HardwareRow& row) {
  std::string text(row.units);
  // A kind of IOMMU that the driver does not drive.
  text += fmt::format("[[iommu]]\nname = \"foreign\"\nmodel = \"{}\"\n",
                      row.driver == "intel" ? "arm-smmu-v3" : "intel-vtd");
  for (const Placed& placed : kPlaced) text += device(placed.address, row.behind[placed.place], placed.more);
  text += device("00:07.0", "foreign");
  for (unsigned i = 0; i < row.crowd; ++i) text += device(fmt::format("00:{:02x}.0", kCrowdFirst + i), "u0");
  return text;
}

}  // namespace

std::span<const HardwareRow> hardware_rows() { return kRows; }

const HardwareRow& hardware_row(std::string_view machine) {
  return *std::ranges::find(kRows, machine, &HardwareRow::machine);
}

std::vector<CheckedDriver> own_drivers() {
  std::vector<CheckedDriver> drivers;
  for (const HardwareRow& row : kRows) {
    if (drivers.empty() || drivers.back().name != row.driver)
      drivers.push_back({.name = std::string(row.driver), .make = row.make, .machines = {}});
    drivers.back().machines.push_back({std::string(row.machine), machine_file(row), row.times});
  }
  return drivers;
}

}  // namespace softiommu::check
