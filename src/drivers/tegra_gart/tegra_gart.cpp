// SPDX-License-Identifier: BSD-3-Clause
// The driver for the Tegra20 GART. There is one window for all devices, so one domain at a time has it: for another the
// aperture is a resource that has run out, since no further domain could help.
//
// Identity is what the hardware does outside of the window, and nobody can be kept out of the window's pages who is not
// blocked. Blocked is the memory controller's switch for the client.
#include <algorithm>
#include <memory>

#include "base/fault.h"
#include "drivers/registry.h"
#include "drivers/shared_table.h"
#include "drivers/tegra_gart/domain.h"
#include "drivers/tegra_gart/unit.h"

namespace softiommu {
namespace tegra_gart {

class TegraGartDriver final : public SharedTableDriver<Unit, PagingDomain> {
 public:
  std::string_view name() const override { return "tegra_gart"; }
  std::string_view unit_model() const override { return "tegra-gart"; }

  Result<> add_unit(const UnitHardware& hardware) override;
  void interrupt(unsigned unit, unsigned /*line*/) override { units_[unit]->report_fault(); }
  Result<std::unique_ptr<DeviceData>> probe(Device& device) override;
  std::vector<ReservedRegion> reserved_regions(const Device& /*device*/) const override { return {}; }
  // As in Linux, where nothing is attached until somebody asks: addresses pass.
  DomainType default_domain_type(const Device& /*device*/) const override { return DomainType::identity; }
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override;
  Domain* static_domain(DomainType type) override {
    return type == DomainType::identity ? &identity_ : type == DomainType::blocked ? &blocked_ : nullptr;
  }
  // Every domain has the same window.
  std::uint64_t fit(const Device& /*device*/) const override { return 0; }

 private:
  AttachResult<> admits(const Switch& /*change*/) override { return {}; }
  Result<> program(const Switch& change, const Domain* to, UnitId id) override;
  bool hands_ids_on() const override { return !as_linux(); }
  AttachFailure out_of_ids() const override {
    return as_linux() ? AttachFailure::incompatible : AttachFailure::no_space;
  }

  StaticDomain identity_{*this, DomainType::identity}, blocked_{*this, DomainType::blocked};
};

Result<> TegraGartDriver::add_unit(const UnitHardware& hardware) {
  auto unit = std::make_unique<Unit>(hardware);
  units_.reserve(units_.size() + 1);
  TRY(unit->start());
  units_.push_back(std::move(unit));
  return {};
}

// Here, and not with the unit, the device is blocked: the processor is a memory client as well.
Result<std::unique_ptr<DeviceData>> TegraGartDriver::probe(Device& device) {
  const auto is_client = [](StreamId stream) { return stream < hw::tegra_gart::kClients; };
  if (!std::ranges::all_of(device.stream_ids(), is_client)) return fail(ENODEV, "not a memory client's number");
  TRY(program({.device = &device}, nullptr, 0));
  return std::make_unique<DeviceData>();
}

Result<std::unique_ptr<Domain>> TegraGartDriver::allocate(std::span<Device* const> devices,
                                                          const DomainRequest& request) {
  if (request.dirty_tracking || request.nest_parent || request.pasid)
    return fail(EOPNOTSUPP, "the GART has no dirty tracking, nesting or PASIDs");
  TRY(fault::pass("tegra_gart.domain"));
  if (devices.empty()) return fail(ENODEV, "no device to make a domain for");
  TableMemory& memory = unit_of(*devices.front()).tables();
  return std::make_unique<PagingDomain>(*this, memory, TRY(PagingDomain::Table::create(memory, {})));
}

Result<> TegraGartDriver::program(const Switch& change, const Domain* to, UnitId /*id*/) {
  const Device& device = *change.device;
  Unit& unit = unit_of(device);
  if (to != nullptr && to->type() == DomainType::paging) TRY(unit.load(static_cast<const PagingDomain&>(*to)));
  const bool pass = to != nullptr && to->type() != DomainType::blocked;
  for (const StreamId client : device.stream_ids()) TRY(unit.let_pass(client, pass));
  return {};
}

}  // namespace tegra_gart

std::unique_ptr<Driver> make_tegra_gart_driver() { return std::make_unique<tegra_gart::TegraGartDriver>(); }

}  // namespace softiommu
