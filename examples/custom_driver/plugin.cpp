// SPDX-License-Identifier: BSD-3-Clause
// What `softiommu check --plugin` finds in this library: the driver, its hardware, a machine to try them in.
#include "check/plugin_abi.h"
#include "hardware.h"

namespace slot_mmu {

namespace {

// Two units that agree, one that does not; two functions that cannot be told apart; one device with an alias.
constexpr softiommu::check::PluginMachine kMachines[] = {{"slot-mmu", R"toml(
[[iommu]]
name = "first"
model = "slot-mmu"
[[iommu]]
name = "second"
model = "slot-mmu"
[[iommu]]
name = "deep"
model = "slot-mmu"
levels = 5
[[device]]
address = "00:02.0"
model = "edu"
iommu = "first"
[[device]]
address = "00:03.0"
model = "edu"
iommu = "first"
acs = false
[[device]]
address = "00:03.1"
model = "edu"
iommu = "first"
acs = false
[[device]]
address = "00:04.0"
model = "edu"
iommu = "second"
dma_aliases = ["04.1"]
[[device]]
address = "00:05.0"
model = "edu"
iommu = "deep"
)toml"}};

const softiommu::UnitModel kUnitModels[] = {slot_mmu::unit_model()};

}  // namespace
}  // namespace slot_mmu

SOFTIOMMU_DRIVER_PLUGIN({.name = "slot-mmu",
                         .make = slot_mmu::make_driver,
                         .machines = slot_mmu::kMachines,
                         .unit_models = slot_mmu::kUnitModels});
