// SPDX-License-Identifier: BSD-3-Clause
// The driver for Intel VT-d: which domains fit which units, and what an attach reserves and programs.
//
// A domain serves every unit that can walk its table and keep its promises (drivers/shared_table.h). Units that have
// scalable mode use it. There domains are on first-stage tables where no wish needs a second stage, as in Linux 7.2:
// dirty tracking and nesting do.
#include <algorithm>
#include <memory>
#include <vector>

#include "base/fault.h"
#include "base/log.h"
#include "core/user_data.h"
#include "drivers/intel/device.h"
#include "drivers/intel/domain.h"
#include "drivers/intel/unit.h"
#include "drivers/registry.h"

namespace softiommu {
namespace intel {

class IntelDriver final : public SharedTableDriver<Unit, IntelDomain> {
 public:
  std::string_view name() const override { return "intel"; }
  std::string_view unit_model() const override { return "intel-vtd"; }

  Result<> add_unit(const UnitHardware& hardware) override;
  void interrupt(unsigned unit, unsigned line) override {
    line == kPageRequestLine ? units_[unit]->report_page_requests() : units_[unit]->report_faults();
  }
  Result<std::unique_ptr<DeviceData>> probe(Device& device) override;
  void release(Device& device) override { data_of(device).stop(); }
  std::vector<ReservedRegion> reserved_regions(const Device& device) const override;
  DomainType default_domain_type(const Device& device) const override;
  bool can_enforce_cache_coherency(const Device& device) const override { return unit_of(device).snoop_control(); }
  bool tracks_dirty(const Device& device) const override { return unit_of(device).tracks_dirty(); }
  HardwareInfo hardware_info(const Device& device) const override;
  unsigned pasid_bits(const Device& device) const override { return data_of(device).pasid_bits(); }
  bool attaches_pasids() const override { return true; }
  void page_response(const Device& device, const PageRequest& request, PageAnswer answer) override;
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override;
  bool nests() const override { return true; }
  Result<std::unique_ptr<Domain>> allocate_nested(const Device& device, Domain& parent, const DomainRequest& request,
                                                  const UserData& data) override;
  Domain* static_domain(DomainType type) override;
  // Whether a domain fits is no equivalence of units: a 39-bit table fits a 48-bit unit, not the reverse.
  std::uint64_t fit(const Device& /*device*/) const override { return 0; }

 private:
  static constexpr unsigned kPageRequestLine = 2;
  // What the units of a group have in common.
  struct Common {
    unsigned width = 64, levels = 5, first_levels = 5;
    std::uint64_t page_sizes = ~std::uint64_t{0}, first_page_sizes = ~std::uint64_t{0};
    bool snoop_control = true, first_stage = true, second_stage = true, nests = true, tracks_dirty = true;
    std::vector<Unit*> units = {};
  };
  Common common_of(std::span<Device* const> devices) const;
  Result<std::unique_ptr<Domain>> allocate_first_stage(Common common);
  Result<std::unique_ptr<Domain>> allocate_second_stage(Common common, const DomainRequest& request);
  static IntelDevice& data_of(const Device& device) { return *static_cast<IntelDevice*>(device.data()); }
  Result<> program_legacy(const Device& device, const Domain* to, UnitId id);
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

// The tables that lead to a device's entries are made here, so that no attach without a PASID needs one.
Result<std::unique_ptr<DeviceData>> IntelDriver::probe(Device& device) {
  auto data = std::make_unique<IntelDevice>(unit_of(device), device);
  if (auto started = data->start(); !started) {
    data->stop();
    return std::unexpected(started.error());
  }
  return data;
}

void IntelDriver::page_response(const Device& device, const PageRequest& request, PageAnswer answer) {
  Unit& unit = unit_of(device);
  if (const auto done = unit.respond(device.stream_ids().front(), request, answer); !done)
    log::error("{}: {}: {}", name(), unit.name(), done.error().why);
}

std::vector<ReservedRegion> IntelDriver::reserved_regions(const Device&) const {
  return {{{Iova{hw::vtd::kInterruptRangeFirst}, Iova{hw::vtd::kInterruptRangeLast}}, ReservedRegion::Kind::msi}};
}

// struct iommu_hw_info_vtd of linux/iommufd.h.
HardwareInfo IntelDriver::hardware_info(const Device& device) const {
  constexpr std::uint32_t kIntelVtd = 1;
  constexpr std::uint32_t kNoReadOnlyParents = 1;  // IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17
  const struct {
    std::uint32_t flags, reserved;
    std::uint64_t cap, ecap;
  } info{kNoReadOnlyParents, 0, unit_of(device).cap(), unit_of(device).ecap()};
  return HardwareInfo::of(kIntelVtd, info);
}

DomainType IntelDriver::default_domain_type(const Device& device) const {
  return unit_of(device).pass_through() ? DomainType::identity : DomainType::paging;
}

Domain* IntelDriver::static_domain(DomainType type) {
  if (type == DomainType::identity) return &identity_;
  return type == DomainType::blocked ? &blocked_ : nullptr;
}

IntelDriver::Common IntelDriver::common_of(std::span<Device* const> devices) const {
  Common common;
  for (const Device* device : devices) {
    Unit& unit = unit_of(*device);
    common.width = std::min(common.width, unit.address_width());
    common.levels = std::min(common.levels, unit.largest_levels());
    common.first_levels = std::min(common.first_levels, unit.first_stage_levels());
    common.page_sizes &= unit.page_sizes();
    common.first_page_sizes &= unit.first_stage_page_sizes();
    common.snoop_control = common.snoop_control && unit.snoop_control();
    common.first_stage = common.first_stage && unit.first_stage();
    common.second_stage = common.second_stage && unit.second_stage();
    common.nests = common.nests && unit.nests();
    common.tracks_dirty = common.tracks_dirty && unit.tracks_dirty();
    if (std::ranges::find(common.units, &unit) == common.units.end()) common.units.push_back(&unit);
  }
  return common;
}

// Made for all devices: the least that their units can do.
Result<std::unique_ptr<Domain>> IntelDriver::allocate(std::span<Device* const> devices, const DomainRequest& request) {
  Common common = common_of(devices);
  if (common.units.empty()) return fail(ENODEV, "no device to make a domain for");
  if (request.nest_parent && !common.nests) return fail(EOPNOTSUPP, "the unit does not nest");
  if (request.dirty_tracking && !common.tracks_dirty) return fail(EOPNOTSUPP, "the unit keeps no dirty state");
  TRY(fault::pass("intel.domain"));
  const bool needs_second = request.nest_parent || request.dirty_tracking;
  if (common.first_stage && !needs_second) return allocate_first_stage(std::move(common));
  if (!common.second_stage) return fail(EOPNOTSUPP, "the unit has no second stage");
  return allocate_second_stage(std::move(common), request);
}

// The lower half of the addresses, within what the unit passes on (VT-d 3.6).
Result<std::unique_ptr<Domain>> IntelDriver::allocate_first_stage(Common common) {
  const unsigned lower_half = hw::vtd::width_of_levels(common.first_levels) - 1;
  auto table = TRY(FirstStageDomain::Table::create(common.units.front()->tables(),
                                                   {.top_level = common.first_levels - 1,
                                                    .page_sizes = common.first_page_sizes,
                                                    .input_bits = std::min(common.width, lower_half)}));
  return std::make_unique<FirstStageDomain>(*this, std::move(table), std::move(common.units));
}

// The shortest table that the group needs, and only page sizes that all of its units walk.
Result<std::unique_ptr<Domain>> IntelDriver::allocate_second_stage(Common common, const DomainRequest& request) {
  const unsigned width = std::min(common.width, hw::vtd::width_of_levels(common.levels));
  auto table =
      TRY(SecondStageDomain::Table::create(common.units.front()->tables(), {.top_level = common.levels - 1,
                                                                            .page_sizes = common.page_sizes,
                                                                            .snoop_control = common.snoop_control,
                                                                            .input_bits = width}));
  return std::make_unique<SecondStageDomain>(
      *this, std::move(table), std::move(common.units),
      SecondStageDomain::Uses{width, request.nest_parent, request.dirty_tracking});
}

// Linux's order: what the unit can, what the data is, what the parent is.
Result<std::unique_ptr<Domain>> IntelDriver::allocate_nested(const Device& device, Domain& parent,
                                                             const DomainRequest& request, const UserData& data) {
  if (!unit_of(device).nests() || request.dirty_tracking || request.nest_parent)
    return fail(EOPNOTSUPP, "the unit does not nest so");
  if (data.type() != kFirstStageData) return fail(EOPNOTSUPP, "the data is not of a VT-d first stage");
  auto* const second = dynamic_cast<SecondStageDomain*>(&parent);
  if (second == nullptr || !second->is_nest_parent()) return fail(EINVAL, "the parent is no nest parent");
  const auto config = TRY(data.as<FirstStageConfig>(kFirstStageData, sizeof(FirstStageConfig)));
  TRY(fault::pass("intel.domain"));
  return NestedDomain::create(*this, *second, config);
}

AttachResult<> IntelDriver::admits(const Switch& change) {
  Unit& unit = unit_of(*change.device);
  IntelDevice& device = data_of(*change.device);
  if (const IntelDomain* const to = IntelDomain::of(change.to)) TRY(to->fits(unit));
  if (change.to->type() == DomainType::identity && !unit.pass_through())
    return driver_says(AttachFailure::incompatible, {"pass-through", 1, 0});
  if (change.pasid == 0 || change.to->type() == DomainType::blocked) return {};
  if (change.pasid >> device.pasid_bits() != 0)
    return driver_says(AttachFailure::incompatible, {"PASID width", change.pasid, device.pasid_bits()});
  if (const auto reserved = device.reserve(change.pasid); !reserved)
    return driver_says(AttachFailure::no_memory, {reserved.error().why});
  return {};
}

Result<> IntelDriver::program(const Switch& change, const Domain* to, UnitId id) {
  Unit& unit = unit_of(*change.device);
  IntelDevice& device = data_of(*change.device);
  if (!unit.scalable()) return change.pasid == 0 ? program_legacy(*change.device, to, id) : Result<>{};
  if (to == nullptr && change.pasid == 0) return device.block_all();
  PasidEntry entry = PasidEntry::not_present();
  if (to != nullptr && to->type() == DomainType::identity)
    entry = PasidEntry::pass_through(unit.deepest_levels());
  else if (to != nullptr && to->type() != DomainType::blocked)
    entry = static_cast<const IntelDomain&>(*to).pasid_entry(id);
  return device.set_entry(change.pasid, entry);
}

Result<> IntelDriver::program_legacy(const Device& device, const Domain* to, UnitId id) {
  IntelDevice& data = data_of(device);
  ContextEntry entry = ContextEntry::not_present();
  if (to != nullptr && to->type() == DomainType::identity) {
    entry = ContextEntry::pass_through(unit_of(device).deepest_levels());
  } else if (to != nullptr && to->type() == DomainType::paging) {
    using enum hw::vtd::TranslationType;
    const auto& domain = static_cast<const SecondStageDomain&>(*to);
    entry = ContextEntry::second_stage(domain.root(), domain.levels(), id, data.has_tlb() ? device_tlb : multi_level);
  }
  return data.set_context(entry);
}

}  // namespace intel

std::unique_ptr<Driver> make_intel_driver() { return std::make_unique<intel::IntelDriver>(); }

}  // namespace softiommu
