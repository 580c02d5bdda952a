// SPDX-License-Identifier: BSD-3-Clause
// The driver for Arm SMMUv3 (IHI 0070): which domains fit which units, and what an attach programs.
//
// Linux gives each SMMU its own domains; here one table serves every unit that can walk it (drivers/shared_table.h).
#include <algorithm>
#include <memory>
#include <vector>

#include "base/fault.h"
#include "base/log.h"
#include "drivers/arm_smmu_v3/domain.h"
#include "drivers/arm_smmu_v3/master.h"
#include "drivers/arm_smmu_v3/nested.h"
#include "drivers/arm_smmu_v3/unit.h"
#include "drivers/registry.h"

namespace softiommu {
namespace arm_smmu_v3 {

// Where Linux maps the doorbell of interrupt messages by default (MSI_IOVA_BASE); devices reach it through translation.
constexpr IovaRange kMessageWindow = IovaRange::of(Iova{0x800'0000}, kMiB);

class ArmSmmuV3Driver final : public SharedTableDriver<Unit, PagingDomain> {
 public:
  std::string_view name() const override { return "arm-smmu-v3"; }
  std::string_view unit_model() const override { return "arm-smmu-v3"; }
  bool linux_ties_domains_to_a_unit() const override { return true; }

  Result<> add_unit(const UnitHardware& hardware) override;
  void interrupt(unsigned unit, unsigned line) override { units_[unit]->serve_interrupt(line); }
  Result<std::unique_ptr<DeviceData>> probe(Device& device) override;
  std::vector<ReservedRegion> reserved_regions(const Device& device) const override;
  // Linux promises to override a device's "no snoop" only for a CANWBS device (enforce_cache_coherency in 7.2's
  // arm-smmu-v3.c), which firmware tells and no machine here has. COHACC is about the SMMU's own accesses.
  bool can_enforce_cache_coherency(const Device& /*device*/) const override { return false; }
  bool tracks_dirty(const Device& device) const override { return unit_of(device).features().dirty; }
  HardwareInfo hardware_info(const Device& device) const override;
  unsigned pasid_bits(const Device& device) const override { return master_of(device).pasid_bits(); }
  bool attaches_pasids() const override { return true; }
  bool has_user_pasid_table() const override { return true; }
  void page_response(const Device& device, const PageRequest& request, PageAnswer answer) override;
  bool offers_viommu(const Device& device, std::uint32_t type) const override {
    return type == abi::kViommu && unit_of(device).features().nesting;
  }
  Result<std::unique_ptr<VirtualIommu>> make_viommu(const Device& device, const VirtualIommuRequest& request) override {
    return VirtualSmmu::create(*this, unit_of(device), request);
  }
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override;
  Domain* static_domain(DomainType type) override;
  // Units whose domains are of different stages never share. The rest is no equivalence: small fits large only.
  std::uint64_t fit(const Device& device) const override { return unit_of(device).features().stage; }

 private:
  static Master& master_of(const Device& device) { return *static_cast<Master*>(device.data()); }
  AttachResult<> admits(const Switch& change) override;
  AttachResult<> entered(const Switch& change) override;
  void left(const Switch& change, Domain& domain) override;
  Result<> program(const Switch& change, const Domain* to, UnitId id) override;
  AttachResult<> admits_pasid(const Switch& change, const PagingDomain& to);
  static AttachResult<> admits_nested(const Master& master, const NestedDomain& to);

  StaticDomain identity_{*this, DomainType::identity}, blocked_{*this, DomainType::blocked};
};

Result<> ArmSmmuV3Driver::add_unit(const UnitHardware& hardware) {
  auto unit = std::make_unique<Unit>(hardware);
  units_.reserve(units_.size() + 1);
  TRY(unit->start());
  units_.push_back(std::move(unit));
  return {};
}

Result<std::unique_ptr<DeviceData>> ArmSmmuV3Driver::probe(Device& device) {
  auto master = std::make_unique<Master>(unit_of(device), device);
  TRY(master->make_structures());
  return master;
}

std::vector<ReservedRegion> ArmSmmuV3Driver::reserved_regions(const Device&) const {
  return {{kMessageWindow, ReservedRegion::Kind::software_msi}};
}

// struct iommu_hw_info_arm_smmuv3 of linux/iommufd.h.
HardwareInfo ArmSmmuV3Driver::hardware_info(const Device& device) const {
  constexpr std::uint32_t kArmSmmuV3 = 2;
  const struct {
    std::uint32_t flags, reserved;
    std::array<std::uint32_t, Unit::kIdentificationWords> words;
  } info{0, 0, unit_of(device).identification()};
  return HardwareInfo::of(kArmSmmuV3, info);
}

Domain* ArmSmmuV3Driver::static_domain(DomainType type) {
  if (type == DomainType::identity) return &identity_;
  return type == DomainType::blocked ? &blocked_ : nullptr;
}

void ArmSmmuV3Driver::page_response(const Device& device, const PageRequest& request, PageAnswer answer) {
  Master& master = master_of(device);
  if (const auto done = master.respond(request, answer); !done)
    log::error("arm-smmu-v3: {}: {}", master.unit().name(), done.error().why);
}

// ---- Domains ----------------------------------------------------------------------------------------------------

// Made for all devices: the least that their units can do. As in Linux, of the uses only dirty tracking and PASIDs go
// together.
Result<std::unique_ptr<Domain>> ArmSmmuV3Driver::allocate(std::span<Device* const> devices,
                                                          const DomainRequest& request) {
  if (request.nest_parent && (request.pasid || request.dirty_tracking))
    return fail(EOPNOTSUPP, "below guests there are neither PASIDs nor dirty state");
  if (devices.empty()) return fail(ENODEV, "no device to make a domain for");
  TRY(fault::pass("arm_smmu_v3.domain"));
  Unit& first = unit_of(*devices.front());
  pt::ArmLpaeConfig config{.stage = request.nest_parent ? 2u : first.features().stage,
                           .dirty_tracking = request.dirty_tracking,
                           .force_write_back = request.nest_parent};
  bool coherent = true;
  for (const Device* device : devices) {
    const Unit& unit = unit_of(*device);
    const Features& features = unit.features();
    if (features.stage != first.features().stage)
      return fail(ENODEV, "the group's units translate in different stages");
    if (request.nest_parent && !features.nesting) return fail(EOPNOTSUPP, "the unit is not for guests");
    if (request.pasid && features.stage != 1) return fail(EOPNOTSUPP, "PASIDs need stage 1");
    if (request.dirty_tracking && !features.dirty)
      return fail(EOPNOTSUPP, "the unit keeps no dirty state in coherent stage-1 tables");
    config.input_bits = std::min(config.input_bits, unit.input_bits(config.stage));
    config.output_bits = std::min(config.output_bits, features.output_bits);
    coherent = coherent && features.coherent;
  }
  auto table = TRY(PagingDomain::Table::create(first.tables(), config));
  return std::make_unique<PagingDomain>(*this, std::move(table), first.tables(),
                                        PagingDomain::Uses{coherent, request.nest_parent});
}

// ---- Attach -----------------------------------------------------------------------------------------------------

// First what the domain is, then what the device is doing.
AttachResult<> ArmSmmuV3Driver::admits(const Switch& change) {
  const Master& master = master_of(*change.device);
  if (change.pasid != 0 && change.to->type() != DomainType::blocked && !master.reaches(change.pasid))
    return driver_says(AttachFailure::no_device, {"PASID", change.pasid, master.pasid_bits()});  // no domain would do
  switch (change.to->type()) {
    case DomainType::blocked:
      return {};
    case DomainType::identity:
      if (change.pasid != 0) return driver_says(AttachFailure::incompatible, {"stage", 0, 1});
      return {};
    case DomainType::nested:
      if (change.pasid != 0) return driver_says(AttachFailure::incompatible, {"nesting", 1, 0});
      return admits_nested(master, static_cast<const NestedDomain&>(*change.to));
    case DomainType::paging:
      break;
  }
  const auto& to = static_cast<const PagingDomain&>(*change.to);
  TRY(to.fits(master.unit()));
  if (change.pasid != 0) return admits_pasid(change, to);
  if (to.stage() != 1 && master.has_pasids()) return driver_says(AttachFailure::busy, {"PASIDs in use", 0, 1});
  return {};
}

AttachResult<> ArmSmmuV3Driver::admits_pasid(const Switch& change, const PagingDomain& to) {
  Master& master = master_of(*change.device);
  if (to.stage() != 1) return driver_says(AttachFailure::incompatible, {"stage", to.stage(), 1});
  const Domain* const now = master.domain();
  const bool has_stage2 =
      now != nullptr && (now->type() == DomainType::nested ||
                         (now->type() == DomainType::paging && static_cast<const PagingDomain*>(now)->stage() == 2));
  if (has_stage2) return driver_says(AttachFailure::busy, {"stage 2 in use", 0, 1});
  const auto reserved = master.reserve(change.pasid);
  if (reserved) return {};
  if (reserved.error().code == ENOMEM) return driver_says(AttachFailure::no_memory, {"context descriptors"});
  return driver_says(AttachFailure::no_device, {reserved.error().why});
}

// A guest that translates must be able to name the device in its commands and events. Linux answers ENOENT.
AttachResult<> ArmSmmuV3Driver::admits_nested(const Master& master, const NestedDomain& to) {
  if (&to.guest().unit() != &master.unit()) return driver_says(AttachFailure::incompatible, {"unit", 1, 0});
  if (master.has_pasids()) return driver_says(AttachFailure::busy, {"PASIDs in use", 0, 1});
  if (to.translates() && !to.guest().virtual_id(master.device()))
    return driver_says(AttachFailure::incompatible, {"stream of the guest", 1, 0});
  return {};
}

namespace {

// Whose mappings a device's own TLB keeps while it is on `domain`.
PagingDomain* table_of(Domain& domain) {
  if (domain.type() == DomainType::paging) return static_cast<PagingDomain*>(&domain);
  if (domain.type() == DomainType::nested) return &static_cast<NestedDomain&>(domain).guest().parent();
  return nullptr;
}

}  // namespace

AttachResult<> ArmSmmuV3Driver::entered(const Switch& change) {
  Master& master = master_of(*change.device);
  PagingDomain* const table = master.has_own_tlb() ? table_of(*change.to) : nullptr;
  if (table == nullptr || table->enter(master, change.pasid)) return {};
  return driver_says(AttachFailure::no_memory, {"attach state"});
}

void ArmSmmuV3Driver::left(const Switch& change, Domain& domain) {
  const Master& master = master_of(*change.device);
  if (PagingDomain* const table = master.has_own_tlb() ? table_of(domain) : nullptr) table->leave(master, change.pasid);
}

Result<> ArmSmmuV3Driver::program(const Switch& change, const Domain* to, UnitId id) {
  Master& master = master_of(*change.device);
  if (change.pasid == 0) return to != nullptr ? master.attach(*to, id) : master.block();
  const bool pages = to != nullptr && to->type() == DomainType::paging;
  return master.attach_pasid(change.pasid, pages ? static_cast<const PagingDomain*>(to) : nullptr, id);
}

}  // namespace arm_smmu_v3

std::unique_ptr<Driver> make_arm_smmu_v3_driver() { return std::make_unique<arm_smmu_v3::ArmSmmuV3Driver>(); }

}  // namespace softiommu
