// SPDX-License-Identifier: BSD-3-Clause
// The driver for Arm SMMU versions 1 and 2 (IHI 0062): which domains fit which units, and what an attach programs.
//
// Linux finalises a domain for the SMMU of the first device that is attached to it; here the table is made with the
// domain and serves every unit that can walk it, through a context bank of each (drivers/shared_table.h).
#include <algorithm>
#include <memory>
#include <vector>

#include "base/fault.h"
#include "drivers/arm_smmu/domain.h"
#include "drivers/arm_smmu/unit.h"
#include "drivers/registry.h"

namespace softiommu {
namespace arm_smmu {

// Where Linux maps the doorbell of interrupt messages by default (MSI_IOVA_BASE); devices reach it through translation.
constexpr IovaRange kMessageWindow = IovaRange::of(Iova{0x800'0000}, kMiB);

// The stream mapping entries of a device: held from probe to release, so that no attach can miss one.
struct Streams final : DeviceData {
  explicit Streams(Unit& its_unit) : unit(its_unit) {}
  ~Streams() override {
    for (const unsigned entry : entries) unit.give_entry(entry);
  }
  Unit& unit;
  std::vector<unsigned> entries;
};

class ArmSmmuDriver final : public SharedTableDriver<Unit, PagingDomain> {
 public:
  std::string_view name() const override { return "arm-smmu"; }
  std::string_view unit_model() const override { return "arm-smmu"; }
  bool linux_ties_domains_to_a_unit() const override { return true; }

  Result<> add_unit(const UnitHardware& hardware) override;
  void interrupt(unsigned unit, unsigned line) override { units_[unit]->serve_interrupt(line); }
  Result<std::unique_ptr<DeviceData>> probe(Device& device) override;
  std::vector<ReservedRegion> reserved_regions(const Device& device) const override;
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override;
  Domain* static_domain(DomainType type) override;
  // Sizes are not in it: small fits large, which is no equivalence.
  std::uint64_t fit(const Device& device) const override;

 private:
  AttachResult<> admits(const Switch& change) override;
  Result<> program(const Switch& change, const Domain* to, UnitId bank) override;
  bool hands_ids_on() const override { return !as_linux(); }

  StaticDomain identity_{*this, DomainType::identity}, blocked_{*this, DomainType::blocked};
};

Result<> ArmSmmuDriver::add_unit(const UnitHardware& hardware) {
  auto unit = std::make_unique<Unit>(hardware);
  units_.reserve(units_.size() + 1);
  TRY(unit->start());
  if (as_linux()) unit->tolerate_timeouts();
  units_.push_back(std::move(unit));
  return {};
}

Result<std::unique_ptr<DeviceData>> ArmSmmuDriver::probe(Device& device) {
  Unit& unit = unit_of(device);
  auto streams = std::make_unique<Streams>(unit);
  streams->entries.reserve(device.stream_ids().size());
  for (const StreamId stream : device.stream_ids()) streams->entries.push_back(TRY(unit.take_entry(stream)));
  return streams;
}

std::vector<ReservedRegion> ArmSmmuDriver::reserved_regions(const Device&) const {
  return {{kMessageWindow, ReservedRegion::Kind::software_msi}};
}

Domain* ArmSmmuDriver::static_domain(DomainType type) {
  if (type == DomainType::identity) return &identity_;
  return type == DomainType::blocked ? &blocked_ : nullptr;
}

std::uint64_t ArmSmmuDriver::fit(const Device& device) const {
  constexpr hw::Layout kKey{
      "fit", "what must be equal", {{"STAGE", 1, 0, ""}, {"KIND", 3, 2, ""}, {"GRANULE", 8, 4, ""}}};
  const TableShape& table = unit_of(device).features().table;
  return kKey["STAGE"].put(table.stage) | kKey["KIND"].put(std::to_underlying(table.kind)) |
         kKey["GRANULE"].put(table.granule_lg2);
}

// Made for all devices: the least that their units can do.
Result<std::unique_ptr<Domain>> ArmSmmuDriver::allocate(std::span<Device* const> devices,
                                                        const DomainRequest& request) {
  if (request.dirty_tracking || request.nest_parent || request.pasid)
    return fail(EOPNOTSUPP, "there is no dirty tracking, no nesting and no PASID support");
  if (devices.empty()) return fail(ENODEV, "no device to make a domain for");
  TRY(fault::pass("arm_smmu.domain"));
  Unit& first = unit_of(*devices.front());
  TableShape shape = first.features().table;
  bool coherent = true;
  for (const Device* device : devices) {
    const Features& features = unit_of(*device).features();
    if (fit(*device) != fit(*devices.front())) return fail(ENODEV, "the group's units walk different tables");
    shape.input_bits = std::min(shape.input_bits, features.table.input_bits);
    shape.output_bits = std::min(shape.output_bits, features.table.output_bits);
    coherent = coherent && features.coherent;
  }
  auto table = TRY(Table::create(first.tables(), shape));
  return std::make_unique<PagingDomain>(*this, std::move(table), first.tables(), coherent);
}

AttachResult<> ArmSmmuDriver::admits(const Switch& change) {
  const auto* const to = dynamic_cast<const PagingDomain*>(change.to);
  return to != nullptr ? to->fits(unit_of(*change.device)) : AttachResult<>{};
}

Result<> ArmSmmuDriver::program(const Switch& change, const Domain* to, UnitId bank) {
  const Device& device = *change.device;
  Unit& unit = unit_of(device);
  const auto& entries = static_cast<Streams*>(device.data())->entries;
  using hw::smmu::StreamType;
  if (to == nullptr || to->type() == DomainType::blocked) return unit.route(entries, {StreamType::fault});
  if (to->type() == DomainType::identity) return unit.route(entries, {StreamType::bypass});
  TRY(unit.set_bank(static_cast<const PagingDomain&>(*to), bank));
  return unit.route(entries, {StreamType::translate, bank});
}

}  // namespace arm_smmu

std::unique_ptr<Driver> make_arm_smmu_driver() { return std::make_unique<arm_smmu::ArmSmmuDriver>(); }

}  // namespace softiommu
