// SPDX-License-Identifier: BSD-3-Clause
// A driver from outside: for "slot-mmu" (hardware.h), built against an installed softiommu and judged by
// `softiommu check --plugin`. A domain is one table that every unit with that many levels walks.
#include <algorithm>
#include <bitset>
#include <memory>
#include <vector>

#include "base/fault.h"
#include "core/device.h"
#include "drivers/static_domain.h"
#include "hardware.h"
#include "pt/formats/x86_64.h"
#include "pt/page_table.h"

namespace slot_mmu {

using namespace softiommu;

namespace {

struct Unit {
  MmioRegion& registers;
  TableMemory& tables;
  unsigned levels;
  std::bitset<kSlots> slots = {};  // in use
};

// One slot for each stream id of a device, from probe to release.
struct Slots final : DeviceData {
  std::vector<unsigned> slots;
};

using Units = std::vector<std::unique_ptr<Unit>>;

class PagingDomain final : public Domain {
 public:
  using Table = pt::PageTable<pt::X86_64>;
  PagingDomain(Driver& owner, const Units& units, Table table)
      : Domain(owner, DomainType::paging), units_(units), table_(std::move(table)) {
    aperture_ = table_.aperture();
    page_sizes_ = table_.page_sizes();
  }
  // The memory of the table may become another domain's table: nothing of it may stay cached.
  ~PagingDomain() override { invalidate(); }

  PhysAddr root() const { return table_.root(); }
  unsigned levels() const { return table_.top_level() + 1; }

  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override {
    return table_.map(iova, pa, bytes, prot);
  }
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override {
    pt::Gather gather;
    const std::uint64_t unmapped = table_.unmap(iova, bytes, gather);
#ifndef FORGET_TO_INVALIDATE  // README.md
    if (!gather.empty()) invalidate();
#endif
    gather.release(units_.front()->tables);
    return unmapped;
  }
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override { return table_.iova_to_phys(iova); }

 private:
  void invalidate() {
    for (const auto& unit : units_) unit->registers.write64(kInvalidate.offset, root().value);
  }
  const Units& units_;
  Table table_;
};

class SlotDriver final : public Driver {
 public:
  std::string_view name() const override { return "slot-mmu"; }
  std::string_view unit_model() const override { return "slot-mmu"; }

  Result<> add_unit(const UnitHardware& hardware) override {
    MmioRegion& registers = hardware.registers;
    const auto levels = static_cast<unsigned>(kCapability["LEVELS"].get(registers.read64(kCapability.offset)));
    if (levels != 4 && levels != 5) return fail(ENODEV, "the unit does not answer");
    for (unsigned slot = 0; slot < kSlots; ++slot) registers.write64(slot_offset(slot), 0);
    units_.push_back(std::make_unique<Unit>(registers, hardware.tables, levels));
    return {};
  }
  void interrupt(unsigned /*unit*/, unsigned /*line*/) override {}

  Result<std::unique_ptr<DeviceData>> probe(Device& device) override {
    Unit& unit = unit_of(device);
    auto data = std::make_unique<Slots>();
    data->slots.reserve(device.stream_ids().size());
    if (unit.slots.count() + device.stream_ids().size() > kSlots) return fail(ENODEV, "no slot is free");
    for (unsigned slot = 0; data->slots.size() < device.stream_ids().size(); ++slot)
      if (!unit.slots.test(slot)) data->slots.push_back(slot);
    for (const unsigned slot : data->slots) unit.slots.set(slot);
    return data;
  }
  void release(Device& device) override {
    for (const unsigned slot : slots_of(device)) unit_of(device).slots.reset(slot);
  }
  std::vector<ReservedRegion> reserved_regions(const Device& /*device*/) const override { return {}; }

  // Made for all devices: the units in front of them must walk the same tables.
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override {
    if (request.dirty_tracking || request.nest_parent || request.pasid) return fail(EOPNOTSUPP, "slot-mmu cannot");
    TRY(fault::pass("slot_mmu.domain"));
    const Unit& unit = unit_of(*devices.front());
    for (const Device* device : devices)
      if (unit_of(*device).levels != unit.levels) return fail(ENODEV, "the group is behind units of different levels");
    auto table = TRY(PagingDomain::Table::create(unit.tables, {.top_level = unit.levels - 1}));
    return std::make_unique<PagingDomain>(*this, units_, std::move(table));
  }
  Domain* static_domain(DomainType type) override {
    return type == DomainType::identity ? &identity_ : type == DomainType::blocked ? &blocked_ : nullptr;
  }
  std::uint64_t fit(const Device& device) const override { return unit_of(device).levels; }

  // A slot is one register, so there is nothing to reserve: all that can be said against a switch is said here.
  AttachResult<> prepare(std::span<Switch> switches) override {
    for (const Switch& change : switches) {
      const auto* const to = dynamic_cast<const PagingDomain*>(change.to);
      const unsigned levels = unit_of(*change.device).levels;
      if (to != nullptr && to->levels() != levels)
        return driver_says(AttachFailure::incompatible, {"page table levels", to->levels(), levels});
    }
    return {};
  }
  AttachResult<> commit(Switch& change) override {
    if (!fault::pass("driver.commit", ENODEV) || !point(*change.device, change.to)) {
      point(*change.device, change.from);
      return driver_says(AttachFailure::no_device, {"the hardware takes the change", 1, 0});
    }
    return {};
  }
  bool undo(Switch& change) override {
    return fault::pass("driver.undo", ENODEV) && point(*change.device, change.from);
  }
  void finish(std::span<Switch> /*switches*/) override {}
  void abandon(std::span<Switch> /*switches*/) override {}
  void block(Device& device) override { point(device, nullptr); }

 private:
  Unit& unit_of(const Device& device) const { return *units_[device.unit_index()]; }
  static const std::vector<unsigned>& slots_of(const Device& device) {
    return static_cast<const Slots&>(*device.data()).slots;
  }

  // False: a slot does not read back as it was written.
  bool point(const Device& device, const Domain* domain) const {
    std::uint64_t word = 0;
    if (const auto* const paging = dynamic_cast<const PagingDomain*>(domain))
      word = kSlot["TRANSLATE"].put(1) | paging->root().value;
    else if (domain == &identity_)
      word = kSlot["BYPASS"].put(1);
    MmioRegion& registers = unit_of(device).registers;
    bool taken = true;
    for (std::size_t i = 0; i < slots_of(device).size(); ++i) {
      const std::uint64_t slot = word | kSlot["STREAM"].put(device.stream_ids()[i]);
      registers.write64(slot_offset(slots_of(device)[i]), slot);
      taken = taken && registers.read64(slot_offset(slots_of(device)[i])) == slot;
    }
    return taken;
  }

  Units units_;
  StaticDomain identity_{*this, DomainType::identity}, blocked_{*this, DomainType::blocked};
};

}  // namespace

std::unique_ptr<Driver> make_driver() { return std::make_unique<SlotDriver>(); }

}  // namespace slot_mmu
