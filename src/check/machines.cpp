// SPDX-License-Identifier: BSD-3-Clause
#include "check/machines.h"

#include <fmt/format.h>

#include <algorithm>

#include "check/check.h"
#include "drivers/registry.h"

namespace softiommu::check {

namespace {

constexpr std::array<std::string_view, 5> kOneGroupEach = {"u0", "trio", "second", "u1", "u2"};
constexpr std::string_view kSmall = "top = '4G'\ntable_arena = '256M'\n";
constexpr std::string_view kStage1 = "stages = '1'\nasid_bits = 8", kStage2 = "stages = '2'\nvmid_bits = 8";
constexpr std::string_view kEverything =
    "output_bits = 52\nsubstream_bits = 20\nforce_write_back = true\ndirty = 'dirty'\nstalls = 'choice'\n"
    "ats = true\npri = true\nasid_bits = 8";
constexpr std::string_view kHostTables = "guest_levels = 'none'", kGuestTables = "host_levels = 'none'";

constexpr auto kRows = std::to_array<HardwareRow>({
    {.driver = "intel",
     .machine = "intel",
     .make = make_intel_driver,
     .model = "intel-vtd",
     .units = {{{"u0", "address_widths = [48]\ndomain_id_bits = 4"},
                {"u1", "address_widths = [48]\ndomain_id_bits = 6"},
                {"u2", "address_widths = [39]\ndomain_id_bits = 6"}}},
     .crowd = 16},
    // A hypervisor's: what is not present is cached, too, and there is no queue.
    {.driver = "intel",
     .machine = "intel-by-register",
     .make = make_intel_driver,
     .model = "intel-vtd",
     .keys = "domain_id_bits = 6",
     .units = {{{"u0", "address_widths = [48]\nqueued_invalidation = false\ncaching_mode = true\npass_through = false"},
                {"u1", "address_widths = [48]\nqueued_invalidation = false\npass_through = false"},
                {"u2", "address_widths = [39]\nsnoop_control = false"}}}},
    // Domains of u0 and u1 are on first-stage tables, those of u2 on second-stage ones.
    {.driver = "intel",
     .machine = "intel-scalable",
     .make = make_intel_driver,
     .model = "intel-vtd",
     .keys = "scalable = true\ndomain_id_bits = 6",
     .units = {{{"u0", "second_stage = false"}, {"u1", "second_stage = false"}, {"u2", "first_stage = false"}}}},
    {.driver = "arm_smmu_v3",
     .machine = "arm_smmu_v3",
     .make = make_arm_smmu_v3_driver,
     .model = "arm-smmu-v3",
     .units = {{{"u0", kStage1}, {"u1", kStage1}, {"u2", kStage2}}}},
    // Everything that the hardware can: PASIDs, guests, dirty state, stalls, ATS.
    {.driver = "arm_smmu_v3",
     .machine = "arm_smmu_v3-full",
     .make = make_arm_smmu_v3_driver,
     .model = "arm-smmu-v3",
     .units = {{{"u0", kEverything}, {"u1", kEverything}, {"u2", kStage2}}}},
    {.driver = "arm_smmu_v3",
     .machine = "arm_smmu_v3-stage-2",
     .make = make_arm_smmu_v3_driver,
     .model = "arm-smmu-v3",
     .units = {{{"u0", "stages = '2'\nvmid_bits = 8\nmessages = false\ntwo_level = false\nrange_invalidation = false"},
                {"u1", kStage2},
                {"u2", kStage1}}}},
    // Host tables that grow; of u2 guest tables.
    {.driver = "amd",
     .machine = "amd",
     .make = make_amd_driver,
     .model = "amd-iommu",
     .keys = "domain_ids = 8",
     .units = {{{"u0", kHostTables}, {"u1", kHostTables}, {"u2", kGuestTables}}}},
    // Guest tables, and PASIDs; of u2 host tables.
    {.driver = "amd",
     .machine = "amd-guest-tables",
     .make = make_amd_driver,
     .model = "amd-iommu",
     .units = {{{"u0", "host_levels = 'none'\ndomain_ids = 10"},
                {"u1", "host_levels = 'none'\ndomain_ids = 8"},
                {"u2", "guest_levels = 'none'\ndomain_ids = 8"}}}},
    // Both kinds of tables behind each unit.
    {.driver = "amd",
     .machine = "amd-both-tables",
     .make = make_amd_driver,
     .model = "amd-iommu",
     .units = {{{"u0", "domain_ids = 10"}, {"u1", "domain_ids = 8"}, {"u2", "host_levels = 'none'\ndomain_ids = 8"}}}},
    {.driver = "arm_smmu",
     .machine = "arm_smmu",
     .make = make_arm_smmu_driver,
     .model = "arm-smmu",
     .units = {{{"u0", "stages = '1'\ncontext_banks = 6"},
                {"u1", "stages = '1'\ncontext_banks = 4"},
                {"u2", "stages = '2'\ncontext_banks = 4"}}}},
    {.driver = "arm_smmu",
     .machine = "arm_smmu-v1",
     .make = make_arm_smmu_driver,
     .model = "arm-smmu",
     .keys = "version = '1'",
     .units = {{{"u0", "stages = '2'\ncontext_banks = 6\nstream_entries = 12"},
                {"u1", "stages = '2'\ncontext_banks = 4"},
                {"u2", "stages = '1'\ngranules = []\ncontext_banks = 4"}}}},
    {.driver = "virtio_iommu",
     .machine = "virtio_iommu",
     .make = make_virtio_iommu_driver,
     .model = "virtio-iommu",
     .keys = "domains = 7",
     .units = {{{"u0"}, {"u1"}, {"u2", "input_first = '4K'\ninput_bits = 64"}}}},
    {.driver = "rockchip",
     .machine = "rockchip",
     .make = make_rockchip_driver,
     .memory = kSmall,
     .model = "rockchip-iommu",
     .units = {{{"u0"}, {"trio", "mmus = 3"}, {"second"}, {"u1"}, {"u2", "version = 2"}}},
     .behind = kOneGroupEach},
    {.driver = "omap",
     .machine = "omap",
     .make = make_omap_driver,
     .memory = kSmall,
     .model = "omap-mmu",
     .units = {{{"u0"}, {"trio", "mmus = 2"}, {"second"}, {"u1"}, {"u2"}}},
     .behind = kOneGroupEach},
    {.driver = "tegra_gart",
     .machine = "tegra_gart",
     .make = make_tegra_gart_driver,
     .memory = "top = '2G'\ntable_arena = '256M'\n",
     .model = "tegra-gart",
     .units = {{{"u0"}}},
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
  std::string text = units_text(row);
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

std::string units_text(const HardwareRow& row) {
  std::string text;
  if (!row.memory.empty()) text += fmt::format("[memory]\n{}", row.memory);
  for (const auto& [name, keys] : row.units) {
    if (name.empty()) continue;
    text += fmt::format("[[iommu]]\nname = \"{}\"\nmodel = \"{}\"\n{}\n{}\n", name, row.model, row.keys, keys);
  }
  return text;
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
