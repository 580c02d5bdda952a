// SPDX-License-Identifier: BSD-3-Clause
// The driver for Arm SMMUv3 (IHI 0070): which domains fit which units, and what an attach programs.
//
// Linux gives each SMMU its own domains; here one table serves every unit that can walk it (drivers/shared_table.h).
#include <algorithm>
#include <memory>
#include <vector>

#include "base/fault.h"
#include "drivers/arm_smmu_v3/domain.h"
#include "drivers/arm_smmu_v3/unit.h"
#include "drivers/registry.h"

namespace softiommu {
namespace arm_smmu_v3 {

// Where Linux maps the doorbell of interrupt messages by default (MSI_IOVA_BASE); devices reach it through translation.
constexpr IovaRange kMessageWindow = IovaRange::of(Iova{0x800'0000}, kMiB);

// Made at probe, so that no attach needs memory. Stage-2 units have no descriptors.
struct Streams final : DeviceData {
  std::unique_ptr<ContextDescriptors> descriptors;
};

class ArmSmmuV3Driver final : public SharedTableDriver<Unit, PagingDomain> {
 public:
  std::string_view name() const override { return "arm-smmu-v3"; }
  std::string_view unit_model() const override { return "arm-smmu-v3"; }
  bool linux_ties_domains_to_a_unit() const override { return true; }

  Result<> add_unit(const UnitHardware& hardware) override;
  void interrupt(unsigned unit, unsigned /*line*/) override { units_[unit]->serve_interrupt(); }
  Result<std::unique_ptr<DeviceData>> probe(Device& device) override;
  std::vector<ReservedRegion> reserved_regions(const Device& device) const override;
  // Linux promises to override a device's "no snoop" only with S2FWB or a CANWBS device (enforce_cache_coherency in
  // 7.2's arm-smmu-v3.c); stage 1 cannot, and our stage 2 is without S2FWB. COHACC is about the SMMU's own accesses.
  bool can_enforce_cache_coherency(const Device& /*device*/) const override { return false; }
  bool tracks_dirty(const Device& device) const override { return unit_of(device).features().dirty; }
  HardwareInfo hardware_info(const Device& device) const override;
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override;
  Domain* static_domain(DomainType type) override;
  // Units whose domains are of different stages never share. The rest is no equivalence: small fits large only.
  std::uint64_t fit(const Device& device) const override { return unit_of(device).features().stage; }

 private:
  AttachResult<> admits(const Switch& change) override;
  Result<> program(const Switch& change, const Domain* to, UnitId id) override;
  static Result<> set_streams(Unit& unit, const Device& device, const StreamEntry& entry);
  static Result<> set_stage1(Unit& unit, const Device& device, const PagingDomain& domain, UnitId id);

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
  Unit& unit = unit_of(device);
  auto streams = std::make_unique<Streams>();
  for (const StreamId stream : device.stream_ids()) TRY(unit.make_stream(stream));
  if (unit.features().stage == 1) {
    const PhysAddr page = TRY(unit.tables().allocate());
    streams->descriptors = std::make_unique<ContextDescriptors>(unit.tables(), page);
  }
  return streams;
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

// Made for all devices: the least that their units can do.
Result<std::unique_ptr<Domain>> ArmSmmuV3Driver::allocate(std::span<Device* const> devices,
                                                          const DomainRequest& request) {
  if (request.nest_parent || request.pasid) return fail(EOPNOTSUPP, "there is no nesting and no PASID support");
  if (devices.empty()) return fail(ENODEV, "no device to make a domain for");
  TRY(fault::pass("arm_smmu_v3.domain"));
  Unit& first = unit_of(*devices.front());
  pt::ArmLpaeConfig config{.stage = first.features().stage, .dirty_tracking = request.dirty_tracking};
  bool coherent = true;
  for (const Device* device : devices) {
    const Unit& unit = unit_of(*device);
    if (unit.features().stage != config.stage) return fail(ENODEV, "the group's units translate in different stages");
    if (request.dirty_tracking && !unit.features().dirty)
      return fail(EOPNOTSUPP, "the unit keeps no dirty state in coherent stage-1 tables");
    config.input_bits = std::min(config.input_bits, unit.input_bits());
    config.output_bits = std::min(config.output_bits, unit.features().output_bits);
    coherent = coherent && unit.features().coherent;
  }
  auto table = TRY(PagingDomain::Table::create(first.tables(), config));
  return std::make_unique<PagingDomain>(*this, std::move(table), first.tables(), coherent);
}

AttachResult<> ArmSmmuV3Driver::admits(const Switch& change) {
  const auto* const to = dynamic_cast<const PagingDomain*>(change.to);
  return to != nullptr ? to->fits(unit_of(*change.device)) : AttachResult<>{};
}

Result<> ArmSmmuV3Driver::program(const Switch& change, const Domain* to, UnitId id) {
  const Device& device = *change.device;
  Unit& unit = unit_of(device);
  if (to == nullptr || to->type() == DomainType::blocked) return set_streams(unit, device, Unit::abort());
  if (to->type() == DomainType::identity) return set_streams(unit, device, unit.bypass());
  const auto& domain = static_cast<const PagingDomain&>(*to);
  if (domain.stage() == 1) {
    TRY(set_stage1(unit, device, domain, id));
  } else {
    TRY(set_streams(unit, device, unit.stage2(domain, id)));
  }
  // The id may have been handed on by another domain: what is cached under it is not of this one.
  return unit.invalidate_id(id);
}

Result<> ArmSmmuV3Driver::set_streams(Unit& unit, const Device& device, const StreamEntry& entry) {
  Result<> answer;
  for (const StreamId stream : device.stream_ids()) {  // all of them, whatever one answers: this blocks, too
    if (auto set = unit.set_stream(stream, entry); !set && answer) answer = std::move(set);
  }
  return answer;
}

Result<> ArmSmmuV3Driver::set_stage1(Unit& unit, const Device& device, const PagingDomain& domain, UnitId id) {
  ContextDescriptors& descriptors = *static_cast<Streams*>(device.data())->descriptors;
  const auto slot = descriptors.hold(ContextDescriptors::describe(domain, unit.features(), id));
  if (slot.written) {
    for (const StreamId stream : device.stream_ids()) TRY(unit.forget_descriptor(stream));
  }
  TRY(set_streams(unit, device, unit.stage1(slot.address)));
  descriptors.use(slot);
  return {};
}

}  // namespace arm_smmu_v3

std::unique_ptr<Driver> make_arm_smmu_v3_driver() { return std::make_unique<arm_smmu_v3::ArmSmmuV3Driver>(); }

}  // namespace softiommu
