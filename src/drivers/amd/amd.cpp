// SPDX-License-Identifier: BSD-3-Clause
// The driver for AMD IOMMUs (48882): which domains fit which units and devices, and what an attach reserves and
// programs.
//
// Domains without wishes are on host ("v1") tables, which any number of units share; those for PASIDs, and all on units
// without host tables, on guest ("v2") tables. A device on a host table has no PASIDs: they would be nested on it.
#include <algorithm>
#include <memory>
#include <vector>

#include "base/fault.h"
#include "base/log.h"
#include "drivers/amd/device.h"
#include "drivers/amd/domain.h"
#include "drivers/amd/unit.h"
#include "drivers/registry.h"

namespace softiommu {
namespace amd {

class AmdDriver final : public Driver {
 public:
  std::string_view name() const override { return "amd"; }
  std::string_view unit_model() const override { return "amd-iommu"; }

  Result<> add_unit(const UnitHardware& hardware) override;
  void interrupt(unsigned unit, unsigned /*line*/) override { units_[unit]->serve_interrupt(); }
  Result<std::unique_ptr<DeviceData>> probe(Device& device) override;
  std::vector<ReservedRegion> reserved_regions(const Device& device) const override;
  // FC of host table entries. Linux says so of guest tables too, whose entries have no such bit (amdv2_ops in iommu.c).
  bool can_enforce_cache_coherency(const Device& device) const override { return unit_of(device).host_levels() != 0; }
  bool tracks_dirty(const Device& device) const override { return unit_of(device).tracks_dirty(); }
  HardwareInfo hardware_info(const Device& device) const override;
  Result<std::unique_ptr<Domain>> allocate(std::span<Device* const> devices, const DomainRequest& request) override;
  Domain* static_domain(DomainType type) override;
  // Whether a domain fits is no equivalence of units: a 48-bit table fits a 64-bit unit, not the reverse.
  std::uint64_t fit(const Device& /*device*/) const override { return 0; }

  AttachResult<> prepare(std::span<Switch> switches) override;
  AttachResult<> commit(Switch& change) override;
  bool undo(Switch& change) override;
  void finish(std::span<Switch> switches) override;
  void abandon(std::span<Switch> switches) override;
  void block(Device& device) override;

 private:
  // Switch::words: the id that `to` will be known by, and where it comes from.
  enum Word : unsigned { kId = 0, kOrigin = 1 };
  enum Origin : std::uint64_t { kNothing, kHeld, kHandedOn };

  const Unit& unit_of(const Device& device) const { return *units_[device.unit_index()]; }
  static AmdDevice& device_of(const Switch& change) { return *static_cast<AmdDevice*>(change.device->data()); }
  static std::unexpected<AttachError> refused() {
    return driver_says(AttachFailure::no_device, {"the hardware takes the change", 1, 0});
  }

  AttachResult<> admits(const Switch& change) const;
  AttachResult<> prepare_one(Switch& change, std::span<const Switch> all);
  AttachResult<DomainId> reserve_id(const Switch& change, std::span<const Switch> all, Origin& origin);
  static std::optional<DomainId> known_id(const Switch& change);
  static std::optional<DomainId> id_left_behind(const Switch& change, std::span<const Switch> all);
  static Result<> enter(const Switch& change, DomainId id);
  static std::optional<DomainId> leave(const Switch& change, Domain* domain);
  static void give_back(Unit& unit, DomainId id);
  static Result<> program(const Switch& change, const Domain* to, DomainId id);

  std::vector<std::unique_ptr<Unit>> units_;
  StaticDomain identity_{*this, DomainType::identity}, blocked_{*this, DomainType::blocked};
};

namespace {

HostDomain* host(Domain* domain) { return dynamic_cast<HostDomain*>(domain); }
GuestDomain* guest(Domain* domain) { return dynamic_cast<GuestDomain*>(domain); }
bool is_host(const Domain* domain) { return dynamic_cast<const HostDomain*>(domain) != nullptr; }

}  // namespace

// ---- Units and devices ------------------------------------------------------------------------------------------

Result<> AmdDriver::add_unit(const UnitHardware& hardware) {
  auto unit = std::make_unique<Unit>(hardware);
  units_.reserve(units_.size() + 1);
  TRY(unit->start());
  if (as_linux()) unit->tolerate_timeouts();
  units_.push_back(std::move(unit));
  return {};
}

Result<std::unique_ptr<DeviceData>> AmdDriver::probe(Device& device) {
  auto data = std::make_unique<AmdDevice>(*units_[device.unit_index()], device.stream_ids());
  TRY(data->make_tables());
  return data;
}

std::vector<ReservedRegion> AmdDriver::reserved_regions(const Device& device) const {
  using Kind = ReservedRegion::Kind;
  const Unit& unit = unit_of(device);
  std::vector<ReservedRegion> regions;
  if (unit.excluded()) regions.push_back({*unit.excluded(), Kind::direct});
  regions.push_back({{Iova{hw::amd::kInterruptFirst}, Iova{hw::amd::kInterruptLast}}, Kind::msi});
  if (unit.has_hypertransport())
    regions.push_back({{Iova{hw::amd::kHyperTransportFirst}, Iova{hw::amd::kHyperTransportLast}}, Kind::reserved});
  return regions;
}

// struct iommu_hw_info_amd of linux/iommufd.h.
HardwareInfo AmdDriver::hardware_info(const Device& device) const {
  constexpr std::uint32_t kAmd = 4;
  const struct {
    std::uint64_t efr, efr2;
  } info{unit_of(device).features(), unit_of(device).features2()};
  return HardwareInfo::of(kAmd, info);
}

Domain* AmdDriver::static_domain(DomainType type) {
  if (type == DomainType::identity) return &identity_;
  return type == DomainType::blocked ? &blocked_ : nullptr;
}

// Made for all devices: the least that their units can do.
Result<std::unique_ptr<Domain>> AmdDriver::allocate(std::span<Device* const> devices, const DomainRequest& request) {
  if (request.nest_parent) return fail(EOPNOTSUPP, "there is no nesting");
  if (request.pasid && request.dirty_tracking) return fail(EOPNOTSUPP, "guest tables keep no dirty state");
  if (devices.empty()) return fail(ENODEV, "no device to make a domain for");
  TRY(fault::pass("amd.domain"));
  constexpr unsigned kMostBits = 64, kMostGuestLevels = 5, kLeastGuestLevels = 4;
  unsigned bits = kMostBits, guest_levels = kMostGuestLevels;
  bool has_host = true, tracks_dirty = true;
  for (const Device* device : devices) {
    const Unit& unit = unit_of(*device);
    has_host = has_host && unit.host_levels() != 0;
    tracks_dirty = tracks_dirty && unit.tracks_dirty();
    bits = std::min(bits, host_bits(unit));
    guest_levels = std::min(guest_levels, unit.guest_levels());
  }
  if (request.dirty_tracking && !tracks_dirty) return fail(EOPNOTSUPP, "the unit keeps no dirty state in host tables");
  TableMemory& memory = unit_of(*devices.front()).tables();
  if (has_host && !request.pasid) return HostDomain::create(*this, memory, bits, request.dirty_tracking);
  if (guest_levels < kLeastGuestLevels)
    return request.pasid ? fail(EOPNOTSUPP, "the unit walks no guest tables")
                         : fail(ENODEV, "the group's units walk no table in common");
  auto table = TRY(GuestDomain::Table::create(memory, {.top_level = guest_levels - 1}));
  return std::make_unique<GuestDomain>(*this, std::move(table), memory);
}

// ---- Attach -----------------------------------------------------------------------------------------------------

// First what the domain is, then what the device is doing.
AttachResult<> AmdDriver::admits(const Switch& change) const {
  AmdDevice& device = device_of(change);
  const Unit& unit = device.unit();
  // Linux's have PASIDs for processes' own address spaces only.
  if (as_linux() && change.pasid != 0 && change.to->type() == DomainType::paging)
    return std::unexpected(AttachError{AttachFailure::no_device, EOPNOTSUPP, {"PASID", change.pasid, 0}});
  if (change.to->type() == DomainType::identity && change.pasid != 0)
    return driver_says(AttachFailure::incompatible, {"guest table", 0, 1});
  if (change.to->type() != DomainType::paging) return {};
  if (HostDomain* const to = host(change.to)) {
    if (change.pasid != 0) return driver_says(AttachFailure::incompatible, {"guest table", 0, 1});
    TRY(to->fits(unit));
    if (device.has_pasids()) return driver_says(AttachFailure::busy, {"PASIDs in use", 0, 1});
    return {};
  }
  TRY(guest(change.to)->fits(unit, change.pasid));
  if (change.pasid == 0) return {};
  if (!device.gcr3().reaches(change.pasid)) return driver_says(AttachFailure::no_device, {"PASID", change.pasid, 0});
  if (is_host(device.domain())) return driver_says(AttachFailure::busy, {"host table in use", 0, 1});
  const bool is_blocked = device.domain() == nullptr || device.domain()->type() == DomainType::blocked;
  if (is_blocked && !unit.guest_without_pasid())
    return driver_says(AttachFailure::busy, {"blocked without PASID", 0, 1});
  return {};
}

AttachResult<> AmdDriver::prepare(std::span<Switch> switches) {
  for (Switch& change : switches) change.words = {};
  for (Switch& change : switches) {
    if (auto prepared = prepare_one(change, switches); !prepared) {
      // Linux compares first, then leaves the old domain, then reserves.
      if (as_linux() && prepared.error().failure != AttachFailure::incompatible && change.pasid == 0)
        block(*change.device);
      abandon(switches);
      return prepared;
    }
  }
  return {};
}

AttachResult<> AmdDriver::prepare_one(Switch& change, std::span<const Switch> all) {
  if (change.to == nullptr) return {};
  TRY(admits(change));
  if (change.to->type() != DomainType::paging) return {};
  if (!fault::pass("driver.prepare")) return driver_says(AttachFailure::no_memory, {"attach state"});
  AmdDevice& device = device_of(change);
  const auto no_memory = [] { return driver_says(AttachFailure::no_memory, {"attach state"}); };
  if (change.pasid != 0 && !without_throwing([&] { return device.gcr3().reserve(change.pasid); })) return no_memory();
  const bool known = known_id(change).has_value();
  Origin origin = kHeld;
  const DomainId id = TRY(reserve_id(change, all, origin));
  if (!enter(change, id)) {
    if (!known && origin == kHeld) device.unit().free_id(id);
    return no_memory();
  }
  change.words = {id, origin};
  return {};
}

std::optional<DomainId> AmdDriver::known_id(const Switch& change) {
  AmdDevice& device = device_of(change);
  const HostDomain* const to = host(change.to);
  return to != nullptr ? to->id_on(device.unit()) : device.own_id();
}

// The id that the unit has for `to` already, a free one, or the one that this very change leaves behind.
AttachResult<DomainId> AmdDriver::reserve_id(const Switch& change, std::span<const Switch> all, Origin& origin) {
  Unit& unit = device_of(change).unit();
  if (const auto known = known_id(change)) {
    const auto handed_on = [&](const Switch& other) {
      return &device_of(other).unit() == &unit && other.words[kOrigin] == kHandedOn;
    };
    if (is_host(change.to) && std::ranges::any_of(all, handed_on)) origin = kHandedOn;
    return *known;
  }
  const auto fresh = [&]() -> Result<DomainId> {
    TRY(fault::pass("driver.id", ENOSPC));
    return unit.allocate_id();
  }();
  if (fresh) return *fresh;
  if (const auto left = id_left_behind(change, all)) {
    origin = kHandedOn;
    return *left;
  }
  return driver_says(AttachFailure::no_space, {fresh.error().why});
}

// Ids pass between host tables if all devices of a unit leave, else if one device changes alone.
std::optional<DomainId> AmdDriver::id_left_behind(const Switch& change, std::span<const Switch> all) {
  AmdDevice& device = device_of(change);
  const auto movers =
      std::ranges::count_if(all, [&](const Switch& other) { return &device_of(other).unit() == &device.unit(); });
  if (const HostDomain* const from = host(change.from)) {
    const auto leaving = static_cast<std::ptrdiff_t>(from->devices_on(device.unit()));
    const bool all_leave = movers == leaving && (is_host(change.to) || movers == 1);
    return all_leave ? from->id_on(device.unit()) : std::nullopt;
  }
  const bool alone = guest(change.from) != nullptr && movers == 1 && device.own_id_users() == 1;
  return alone ? device.own_id() : std::nullopt;
}

Result<> AmdDriver::enter(const Switch& change, DomainId id) {
  AmdDevice& device = device_of(change);
  if (HostDomain* const to = host(change.to)) return to->enter(device, id);
  TRY(guest(change.to)->enter(device, change.pasid));
  device.hold_own_id(id);
  return {};
}

// The id that nobody uses any more.
std::optional<DomainId> AmdDriver::leave(const Switch& change, Domain* domain) {
  AmdDevice& device = device_of(change);
  if (HostDomain* const from = host(domain)) return from->leave(device);
  guest(domain)->leave(device, change.pasid);
  return device.drop_own_id();
}

void AmdDriver::give_back(Unit& unit, DomainId id) {
  if (const auto flushed = unit.flush_id(id); !flushed) log::error("AMD-Vi: {}: {}", unit.name(), flushed.error().why);
  unit.free_id(id);
}

Result<> AmdDriver::program(const Switch& change, const Domain* to, DomainId id) {
  AmdDevice& device = device_of(change);
  if (change.pasid != 0) return device.attach_pasid(change.pasid, dynamic_cast<const GuestDomain*>(to));
  return device.attach(to, is_host(to) ? id : DomainId{0});
}

AttachResult<> AmdDriver::commit(Switch& change) {
  if (!fault::pass("driver.commit", ENODEV)) return refused();
  if (program(change, change.to, static_cast<DomainId>(change.words[kId]))) return {};
  if (!undo(change)) {
    block(*change.device);
    change.blocked = true;
  }
  return refused();
}

bool AmdDriver::undo(Switch& change) {
  if (!fault::pass("driver.undo", ENODEV)) return false;
  const HostDomain* const from = host(change.from);
  const auto id = from != nullptr ? from->id_on(device_of(change).unit()) : std::nullopt;
  return program(change, change.from, id.value_or(DomainId{0})).has_value();
}

void AmdDriver::finish(std::span<Switch> switches) {
  for (Switch& change : switches) {
    if (change.from != nullptr && change.from->type() == DomainType::paging) {
      const auto id = leave(change, change.from);
      // An id that was handed on is the new domain's now, which flushed it when it was programmed.
      if (id && change.words[kOrigin] != kHandedOn) give_back(device_of(change).unit(), *id);
    }
    change.words = {};
  }
}

void AmdDriver::abandon(std::span<Switch> switches) {
  for (Switch& change : switches) {
    if (change.words[kOrigin] != kNothing) {
      const auto id = leave(change, change.to);
      if (id && change.words[kOrigin] == kHeld) give_back(device_of(change).unit(), *id);
    }
    change.words = {};
  }
}

void AmdDriver::block(Device& device) {
  auto& data = *static_cast<AmdDevice*>(device.data());
  if (!data.block()) log::error("AMD-Vi: {}: {} may still do DMA", data.unit().name(), device.name());
}

}  // namespace amd

std::unique_ptr<Driver> make_amd_driver() { return std::make_unique<amd::AmdDriver>(); }

}  // namespace softiommu
