// SPDX-License-Identifier: BSD-3-Clause
// The driver for Intel VT-d, legacy mode: which domains fit which units, and what an attach reserves and programs.
//
// A domain serves every unit that can walk its table and keep its promise of coherency (drivers/shared_table.h).
#include <algorithm>
#include <memory>
#include <vector>

#include "base/fault.h"
#include "drivers/intel/domain.h"
#include "drivers/intel/unit.h"
#include "drivers/registry.h"

namespace softiommu {
namespace intel {

class IntelDriver final : public SharedTableDriver<Unit, PagingDomain> {
 public:
  std::string_view name() const override { return "intel"; }
  std::string_view unit_model() const override { return "intel-vtd"; }

  Result<> add_unit(const UnitHardware& hardware) override;
  void interrupt(unsigned unit, unsigned /*line*/) override { units_[unit]->report_faults(); }
  Result<std::unique_ptr<DeviceData>> probe(Device& device) override;
  std::vector<ReservedRegion> reserved_regions(const Device& device) const override;
  DomainType default_domain_type(const Device& device) const override;
  bool can_enforce_cache_coherency(const Device& device) const override { return unit_of(device).snoop_control(); }
  HardwareInfo hardware_info(const Device& device) const override;
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override;
  Domain* static_domain(DomainType type) override;
  // Whether a domain fits is no equivalence of units: a 39-bit table fits a 48-bit unit, not the reverse.
  std::uint64_t fit(const Device& /*device*/) const override { return 0; }

 private:
  AttachResult<> admits(const Switch& change) override;
  Result<> program(const Switch& change, const Domain* to, UnitId id) override;

  StaticDomain identity_{*this, DomainType::identity}, blocked_{*this, DomainType::blocked};
};

Result<> IntelDriver::add_unit(const UnitHardware& hardware) {
  auto unit = std::make_unique<Unit>(hardware);
  units_.reserve(units_.size() + 1);
  TRY(unit->start());
  units_.push_back(std::move(unit));
  return {};
}

// The context tables are made here, so that no attach needs one.
Result<std::unique_ptr<DeviceData>> IntelDriver::probe(Device& device) {
  for (const StreamId stream : device.stream_ids()) TRY(unit_of(device).make_context_table(stream));
  return std::make_unique<DeviceData>();
}

std::vector<ReservedRegion> IntelDriver::reserved_regions(const Device&) const {
  return {{{Iova{hw::vtd::kInterruptRangeFirst}, Iova{hw::vtd::kInterruptRangeLast}}, ReservedRegion::Kind::msi}};
}

// struct iommu_hw_info_vtd of linux/iommufd.h.
HardwareInfo IntelDriver::hardware_info(const Device& device) const {
  constexpr std::uint32_t kIntelVtd = 1;
  const struct {
    std::uint32_t flags, reserved;
    std::uint64_t cap, ecap;
  } info{0, 0, unit_of(device).cap(), unit_of(device).ecap()};
  return HardwareInfo::of(kIntelVtd, info);
}

DomainType IntelDriver::default_domain_type(const Device& device) const {
  return unit_of(device).pass_through() ? DomainType::identity : DomainType::paging;
}

Domain* IntelDriver::static_domain(DomainType type) {
  if (type == DomainType::identity) return &identity_;
  return type == DomainType::blocked ? &blocked_ : nullptr;
}

// Made for all devices: the shortest table that they need, and only page sizes that all of their units walk.
Result<std::unique_ptr<Domain>> IntelDriver::allocate(std::span<Device* const> devices, const DomainRequest& request) {
  if (request.dirty_tracking || request.nest_parent || request.pasid)
    return fail(EOPNOTSUPP, "legacy mode has no dirty tracking, nesting or PASIDs");
  TRY(fault::pass("intel.domain"));
  unsigned width = 64, levels = 5;
  std::uint64_t page_sizes = ~std::uint64_t{0};
  bool snoop_control = true;
  std::vector<Unit*> units;
  for (const Device* device : devices) {
    Unit& unit = unit_of(*device);
    width = std::min(width, unit.address_width());
    levels = std::min(levels, unit.largest_levels());
    page_sizes &= unit.page_sizes();
    snoop_control = snoop_control && unit.snoop_control();
    if (std::ranges::find(units, &unit) == units.end()) units.push_back(&unit);
  }
  if (units.empty()) return fail(ENODEV, "no device to make a domain for");
  width = std::min(width, hw::vtd::width_of_levels(levels));
  auto table = TRY(PagingDomain::Table::create(
      units.front()->tables(),
      {.top_level = levels - 1, .page_sizes = page_sizes, .snoop_control = snoop_control, .input_bits = width}));
  return std::make_unique<PagingDomain>(*this, std::move(table), std::move(units), width);
}

AttachResult<> IntelDriver::admits(const Switch& change) {
  const Unit& unit = unit_of(*change.device);
  const Domain& to = *change.to;
  if (to.type() == DomainType::paging) return static_cast<const PagingDomain&>(to).fits(unit);
  if (to.type() == DomainType::identity && !unit.pass_through())
    return driver_says(AttachFailure::incompatible, {"pass-through", 1, 0});
  return {};
}

Result<> IntelDriver::program(const Switch& change, const Domain* to, UnitId id) {
  const Device& device = *change.device;
  Unit& unit = unit_of(device);
  ContextEntry entry = ContextEntry::not_present();
  if (to != nullptr && to->type() == DomainType::identity) {
    entry = ContextEntry::pass_through(unit.deepest_levels());
  } else if (to != nullptr && to->type() == DomainType::paging) {
    const auto& domain = static_cast<const PagingDomain&>(*to);
    entry = ContextEntry::second_stage(domain.root(), domain.levels(), id);
  }
  for (const StreamId stream : device.stream_ids()) TRY(unit.set_context(stream, entry));
  return {};
}

}  // namespace intel

std::unique_ptr<Driver> make_intel_driver() { return std::make_unique<intel::IntelDriver>(); }

}  // namespace softiommu
