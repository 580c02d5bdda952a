// SPDX-License-Identifier: BSD-3-Clause
// What drivers have in common whose domains are one page table shared by many units, each of which knows the domain
// by an id of its own (VT-d domain ids, SMMU ASIDs and VMIDs): who holds which id, and attach in its two calls.
//
// Ids are what can run out. A change that takes a unit's last device away from the old domain hands that id on to the
// new one if no other is free.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/fault.h"
#include "base/log.h"
#include "base/mutex.h"
#include "core/device.h"
#include "core/domain.h"
#include "core/driver.h"
#include "drivers/static_domain.h"

namespace softiommu {

// A unit's id for a domain.
using UnitId = std::uint16_t;

// Unit: Result<UnitId> allocate_id(const D&); void free_id(const D&, UnitId); Result<> flush_id(const D&, UnitId)
// with D the driver's paging domain; const std::string& name().
template <class Unit>
class SharedTableDomain : public Domain {
 public:
  // Who translates through the table: a device's requests without a PASID (0), or with that one. From before its entry
  // is programmed until after it is changed again, so that no invalidation misses it.
  struct Member {
    Device* device = nullptr;
    Pasid pasid = 0;
    friend bool operator==(const Member&, const Member&) = default;
  };

  explicit SharedTableDomain(Driver& owner, DomainType type = DomainType::paging) : Domain(owner, type) {}

  std::optional<UnitId> id_on(const Unit& unit) const EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    const auto use = find(unit);
    return use != uses_.end() ? std::optional(use->id) : std::nullopt;
  }
  std::size_t devices_on(const Unit& unit) const EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    const auto use = find(unit);
    return use != uses_.end() ? use->members.size() : 0;
  }
  // One member more on `unit`, under `id` if it is the first. ENOMEM.
  Result<> hold(Unit& unit, UnitId id, Member member = {}) EXCLUDES(mutex_) {
    return without_throwing([&]() -> Result<> {
      const MutexLock lock(mutex_);
      if constexpr (requires { unit.must_sync_after_map(); }) {
        if (unit.must_sync_after_map()) sync_after_map_.store(true, std::memory_order_seq_cst);
      }
      if (const auto use = find(unit); use != uses_.end())
        uses_[static_cast<std::size_t>(use - uses_.begin())].members.push_back(member);
      else
        uses_.push_back({&unit, id, {member}});
      return {};
    });
  }
  // One member less; the id, if that was the unit's last.
  std::optional<UnitId> drop(const Unit& unit, Member member = {}) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    const auto use = uses_.begin() + (find(unit) - uses_.cbegin());
    if (use == uses_.end()) return std::nullopt;
    if (const auto place = std::ranges::find(use->members, member); place != use->members.end()) {
      *place = use->members.back();
      use->members.pop_back();
    }
    if (!use->members.empty()) return std::nullopt;
    const UnitId id = use->id;
    uses_.erase(use);
    return id;
  }

 protected:
  struct Use {
    Unit* unit;
    UnitId id;
    std::vector<Member> members;
  };
  mutable Mutex mutex_;
  // A unit here has to be told of what is mapped. Set before a unit walks the table, so that a map that does not see
  // it has written its entries before; never reset.
  std::atomic<bool> sync_after_map_{false};
  std::vector<Use> uses_ GUARDED_BY(mutex_);  // the units that walk the table

 private:
  typename std::vector<Use>::const_iterator find(const Unit& unit) const REQUIRES(mutex_) {
    return std::ranges::find_if(uses_, [&](const Use& use) { return use.unit == &unit; });
  }
};

template <class Unit, class PagingDomain>
class SharedTableDriver : public Driver {
 public:
  AttachResult<> prepare(std::span<Switch> switches) final {
    for (Switch& change : switches) change.words = {};
    for (Switch& change : switches) {
      auto prepared = prepare_one(change, switches);
      if (prepared && change.to != nullptr) prepared = entered(change);
      if (!prepared) {
        abandon(switches);
        return prepared;
      }
    }
    return {};
  }

  AttachResult<> commit(Switch& change) final {
    const auto id = static_cast<UnitId>(change.words[kId]);
    if (!fault::pass("driver.commit", ENODEV)) return refused();
    const auto done = program(change, change.to, id);
    if (done) return {};
    if (!undo(change)) {
      block(*change.device);
      change.blocked = true;
    }
    return std::unexpected(refusal(done.error()));
  }

  bool undo(Switch& change) final {
    if (!fault::pass("driver.undo", ENODEV)) return false;
    const PagingDomain* const from = paging(change.from);
    const auto id = from != nullptr ? from->id_on(unit_of(*change.device)) : std::nullopt;
    return program(change, change.from, id.value_or(UnitId{0})).has_value();
  }

  void finish(std::span<Switch> switches) final {
    for (Switch& change : switches) {
      Unit& unit = unit_of(*change.device);
      if (change.words[kOrigin] != kHandedOn) {
        leave(paging(change.from), change);
      } else if (const auto id = paging(change.from)->drop(unit, member_of(change))) {
        // The id is the new domain's now: what is cached under it from the old one goes.
        flush(unit, *paging(change.from), *id);
      }
      if (change.from != nullptr) left(change, *change.from);
      change.words = {};
    }
  }

  void abandon(std::span<Switch> switches) final {
    for (Switch& change : switches) {
      Unit& unit = unit_of(*change.device);
      if (change.words[kOrigin] == kHeld) {
        leave(paging(change.to), change);
      } else if (change.words[kOrigin] == kHandedOn) {
        // Devices that were on it for a moment may have left translations under the id, which stays the old domain's.
        if (const auto id = paging(change.to)->drop(unit, member_of(change))) flush(unit, *paging(change.to), *id);
      }
      if (change.to != nullptr) left(change, *change.to);
      change.words = {};
    }
  }

  void block(Device& device) final {
    if (!program({.device = &device}, nullptr, 0))
      log::error("{}: {}: {} may still do DMA", name(), unit_of(device).name(), device.name());
  }

 protected:
  // Can the device's unit serve `change.to` (of any type of this driver)? The first property that differs is the
  // reason. What program() will need is reserved here.
  virtual AttachResult<> admits(const Switch& change) = 0;
  // Makes all of the device's ids translate through `to`, under `id` if it is a paging domain; with a PASID its
  // requests that carry it. nullptr: blocked, and for no PASID all of the device's DMA. Returns when no DMA uses the
  // old translation any more. Needs no memory.
  virtual Result<> program(const Switch& change, const Domain* to, UnitId id) = 0;

  // `change.to` is prepared: what else it must know of the device. no_memory.
  virtual AttachResult<> entered(const Switch& /*change*/) { return {}; }
  // The device is no longer on `domain`, which need not have been told that it was.
  virtual void left(const Switch& /*change*/, Domain& /*domain*/) {}

  Unit& unit_of(const Device& device) const { return *units_[device.unit_index()]; }
  std::vector<std::unique_ptr<Unit>> units_;

  // May a change that finds no free id take the one that it leaves behind?
  virtual bool hands_ids_on() const { return true; }
  virtual AttachFailure out_of_ids() const { return AttachFailure::no_space; }
  // What the caller is told if program() failed so.
  virtual AttachError refusal(const Error& error) const {
    if (error.code == ENOMEM) return {AttachFailure::no_memory, ENOMEM, {error.why}};
    return refused().error();
  }

 private:
  // Switch::words: the id under which the unit will know `to`, and where it comes from.
  enum Word : unsigned { kId = 0, kOrigin = 1 };
  enum Origin : std::uint64_t { kNothing, kHeld, kHandedOn };

  static auto member_of(const Switch& change) { return typename PagingDomain::Member{change.device, change.pasid}; }
  // The domain as one with ids. A driver whose nested domains have such too says so (`of`).
  static PagingDomain* paging(Domain* domain) {
    if constexpr (requires { PagingDomain::of(domain); }) return PagingDomain::of(domain);
    return domain != nullptr && domain->type() == DomainType::paging ? static_cast<PagingDomain*>(domain) : nullptr;
  }
  static std::unexpected<AttachError> refused() {
    return driver_says(AttachFailure::no_device, {"the hardware takes the change", 1, 0});
  }

  AttachResult<> prepare_one(Switch& change, std::span<const Switch> all) {
    if (change.to == nullptr) return {};
    Unit& unit = unit_of(*change.device);
    TRY(admits(change));
    PagingDomain* const to = paging(change.to);
    if (to == nullptr) return {};
    if (!fault::pass("driver.prepare")) return driver_says(AttachFailure::no_memory, {"attach state"});
    Origin origin = kHeld;
    const bool known = to->id_on(unit).has_value();
    const UnitId id = TRY(reserve_id(change, all, origin));
    if (!to->hold(unit, id, member_of(change))) {
      if (!known && origin == kHeld) unit.free_id(*to, id);
      return driver_says(AttachFailure::no_memory, {"attach state"});
    }
    change.words = {id, origin};
    return {};
  }

  static Result<UnitId> fresh_id(Unit& unit, const PagingDomain& to) {
    TRY(fault::pass("driver.id", ENOSPC));
    return unit.allocate_id(to);
  }

  // The id that the unit has for `to` already, a free one, or the one that this very change leaves behind.
  AttachResult<UnitId> reserve_id(const Switch& change, std::span<const Switch> all, Origin& origin) {
    Unit& unit = unit_of(*change.device);
    const PagingDomain& to = *paging(change.to);
    if (const auto known = to.id_on(unit)) {
      const auto handed_on = [&](const Switch& other) {
        return &unit_of(*other.device) == &unit && other.words[kOrigin] == kHandedOn;
      };
      if (std::ranges::any_of(all, handed_on)) origin = kHandedOn;
      return *known;
    }
    const auto fresh = fresh_id(unit, to);
    if (fresh) return *fresh;
    const PagingDomain* const from = paging(change.from);
    if (from != nullptr && hands_ids_on() && unit.same_ids(*from, to)) {
      const auto leaves = [&](const Switch& other) { return &unit_of(*other.device) == &unit; };
      if (std::ranges::count_if(all, leaves) == static_cast<std::ptrdiff_t>(from->devices_on(unit))) {
        origin = kHandedOn;
        return *from->id_on(unit);
      }
    }
    const bool exhausted = fresh.error().code == ENOSPC;
    return driver_says(exhausted ? out_of_ids() : AttachFailure::no_memory, {fresh.error().why});
  }

  void leave(PagingDomain* domain, const Switch& change) {
    if (domain == nullptr) return;
    Unit& unit = unit_of(*change.device);
    if (const auto id = domain->drop(unit, member_of(change))) {
      flush(unit, *domain, *id);
      unit.free_id(*domain, *id);
    }
  }

  void flush(Unit& unit, const PagingDomain& domain, UnitId id) {
    if (const auto flushed = unit.flush_id(domain, id); !flushed)
      log::error("{}: {}: {}", name(), unit.name(), flushed.error().why);
  }
};

}  // namespace softiommu
