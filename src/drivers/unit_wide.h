// SPDX-License-Identifier: BSD-3-Clause
// What drivers have in common whose units translate for all masters behind them alike: one table register, no stream
// ids that choose. All devices behind a unit are one group, and a switch of one of them is a switch of all.
//
// So the first commit for a unit moves it and the others find it moved; the same with undo. A unit that had to be
// blocked stays so for all until the next change is prepared. Both rest on one group for each unit: group_key() makes
// it so for what a machine has, and devices that are plugged at run time (System::plug, a group for each) are behind
// drivers of another kind.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/fault.h"
#include "base/log.h"
#include "base/mutex.h"
#include "core/device.h"
#include "core/domain.h"
#include "core/driver.h"

namespace softiommu {

// A paging domain and the units that walk its table.
template <class Unit>
class UnitWideDomain : public Domain {
 public:
  explicit UnitWideDomain(Driver& owner) : Domain(owner, DomainType::paging) {}

  // One device more, or less, behind `unit`. ENOMEM.
  Result<> hold(Unit& unit) EXCLUDES(mutex_) {
    return without_throwing([&]() -> Result<> {
      const MutexLock lock(mutex_);
      if (const auto use = find(unit); use != uses_.end())
        ++use->second;
      else
        uses_.emplace_back(&unit, 1);
      return {};
    });
  }
  bool in_use() const EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    return !uses_.empty();
  }
  void drop(Unit& unit) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (const auto use = find(unit); use != uses_.end() && --use->second == 0) uses_.erase(use);
  }

 protected:
  // Calls `tell(unit)` for each unit that walks the table, or is about to.
  template <typename Tell>
  void each_unit(Tell&& tell) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    for (const auto& [unit, devices] : uses_) tell(*unit);
  }

 private:
  using Uses = std::vector<std::pair<Unit*, unsigned>>;
  typename Uses::iterator find(const Unit& unit) REQUIRES(mutex_) {
    return std::ranges::find(uses_, &unit, &Uses::value_type::first);
  }
  mutable Mutex mutex_;
  Uses uses_ GUARDED_BY(mutex_);
};

// Unit:
//   Result<> switch_to(const Domain* to)  all masters translate through `to` (nullptr: are blocked) when it returns,
//   and
//                                         no DMA uses the old translation any more. Does nothing if they do already. On
//                                         failure they translate as before, or are blocked where even that fails.
//   bool is_on(const Domain*) const       what the last of these left behind
//   bool block()                          false: the hardware refuses
//   const std::string& name() const
template <class Unit, class PagingDomain>
class UnitWideDriver : public Driver {
 public:
  std::uint64_t group_key(const Device& device) const override { return device.unit_index(); }

  AttachResult<> prepare(std::span<Switch> switches) final {
    for (Switch& change : switches) change.words = {};
    for (Switch& change : switches) {
      blocked_by_force_[change.device->unit_index()] = false;
      if (auto prepared = prepare_one(change); !prepared) {
        abandon(switches);
        return prepared;
      }
    }
    return {};
  }

  AttachResult<> commit(Switch& change) final {
    if (!fault::pass("driver.commit", ENODEV))
      return driver_says(AttachFailure::no_device, {"the hardware takes the change", 1, 0});
    Unit& unit = unit_of(*change.device);
    const auto done = unit.switch_to(change.to);
    if (done) return {};
    change.blocked = !unit.is_on(change.from);
    return std::unexpected(refusal(unit, done.error()));
  }

  bool undo(Switch& change) final {
    if (!fault::pass("driver.undo", ENODEV) || blocked_by_force_[change.device->unit_index()]) return false;
    return unit_of(*change.device).switch_to(change.from).has_value();
  }

  void finish(std::span<Switch> switches) final {
    for (Switch& change : switches)
      if (PagingDomain* const from = paging(change.from)) from->drop(unit_of(*change.device));
  }

  void abandon(std::span<Switch> switches) final {
    for (Switch& change : switches)
      if (std::exchange(change.words[kHeld], 0) != 0) paging(change.to)->drop(unit_of(*change.device));
  }

  void block(Device& device) final {
    blocked_by_force_[device.unit_index()] = true;
    Unit& unit = unit_of(device);
    if (!unit.block()) log::error("{}: {}: {} may still do DMA", name(), unit.name(), device.name());
  }

 protected:
  // Can `unit` serve a paging domain? The first property that differs is the reason.
  virtual AttachResult<> admits(const Unit& unit, const PagingDomain& to) const = 0;
  // May the unit, which has started, be used?
  virtual Result<> accept(const Unit& /*unit*/) const { return {}; }
  // What the caller is told if switch_to() failed so.
  virtual AttachError refusal(Unit& /*unit*/, const Error& error) {
    return {AttachFailure::no_device, ENODEV, {error.why, 1, 0}};
  }

  Unit& unit_of(const Device& device) const { return *units_[device.unit_index()]; }
  Result<> add(std::unique_ptr<Unit> unit) {
    units_.reserve(units_.size() + 1);
    blocked_by_force_.reserve(units_.size() + 1);
    TRY(unit->start());
    TRY(accept(*unit));
    units_.push_back(std::move(unit));
    blocked_by_force_.push_back(false);
    return {};
  }
  std::vector<std::unique_ptr<Unit>> units_;

 private:
  enum Word : unsigned { kHeld = 0 };  // Switch::words

  static PagingDomain* paging(Domain* domain) {
    return domain != nullptr && domain->type() == DomainType::paging ? static_cast<PagingDomain*>(domain) : nullptr;
  }
  AttachResult<> prepare_one(Switch& change) {
    PagingDomain* const to = paging(change.to);
    if (to == nullptr) return {};
    Unit& unit = unit_of(*change.device);
    TRY(admits(unit, *to));
    if (!fault::pass("driver.prepare") || !to->hold(unit))
      return driver_says(AttachFailure::no_memory, {"attach state"});
    change.words[kHeld] = 1;
    return {};
  }

  // By unit; written under its group's lock. Not bits: units of different groups are switched at once.
  std::vector<char> blocked_by_force_;
};

}  // namespace softiommu
