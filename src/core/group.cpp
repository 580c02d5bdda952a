// SPDX-License-Identifier: BSD-3-Clause
// Group attach: busy rule, gatekeeper, switch, and the must-succeed way back. Default domains and ownership are in
// default_domain.cpp and ownership.cpp.
#include "core/group.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "base/log.h"
#include "base/trace.h"
#include "core/bus_of.h"
#include "core/switching.h"
#include "core/system.h"

namespace softiommu {

Group::Group(System& system, Driver& driver, unsigned id, const Device& founder)
    : system_(system), driver_(driver), id_(id), founder_(founder), key_(driver.group_key(founder)) {
  all_members_.push_back(std::make_unique<Members>());
  members_.store(all_members_.back().get());
}

Domain* Group::domain() const {
  const MutexLock lock(mutex_);
  return domain_;
}

Domain* Group::default_domain() const {
  const MutexLock lock(mutex_);
  return default_domain_;
}

bool Group::broken() const {
  const MutexLock lock(mutex_);
  return broken_;
}

AttachResult<> Group::attach(Domain& domain, AttachHandle* handle) {
  const std::uint64_t begin = trace::now_ns();
  const bool fresh = domain.fresh_for_.load() == this;
  const MutexLock lock(mutex_);
  const AttachResult<> answer = with_handle_locked(handle, domain, &Group::attach_locked);
  record({.kind = AttachRecord::Kind::attach, .fresh = fresh}, &domain, answer, begin);
  return answer;
}

AttachResult<> Group::replace(Domain& domain, AttachHandle* handle) {
  const std::uint64_t begin = trace::now_ns();
  const bool fresh = domain.fresh_for_.load() == this;
  const MutexLock lock(mutex_);
  const AttachResult<> answer = with_handle_locked(handle, domain, &Group::replace_locked);
  record({.kind = AttachRecord::Kind::replace, .fresh = fresh}, &domain, answer, begin);
  return answer;
}

// Page requests reach the new domain's handler only once all of the group is on it: a failed attach has none to answer.
AttachResult<> Group::with_handle_locked(AttachHandle* handle, Domain& domain,
                                         AttachResult<> (Group::*change)(Domain&)) {
  bool added = false;
  if (handle != nullptr) {
    const auto reserved = without_throwing([&]() -> Result<> {
      added = page_faults_.reserve(0);
      return {};
    });
    if (!reserved) return driver_says(AttachFailure::no_memory, {"memory for the attach"});
  }
  const AttachResult<> answer = (this->*change)(domain);
  if (answer && handle != nullptr) page_faults_.attach(0, {&domain, handle});
  if (answer && handle == nullptr) page_faults_.forget(0);
  if (!answer && added) page_faults_.forget(0);
  return answer;
}

void Group::detach() {
  const std::uint64_t begin = trace::now_ns();
  const MutexLock lock(mutex_);
  must_set_domain_locked(owner_ != nullptr ? *blocking_domain_ : *default_domain_);
  page_faults_.forget(0);
  record({.kind = AttachRecord::Kind::detach}, domain_, {}, begin);
}

// Busy before the gatekeeper, also for the domain that the group is on: Linux's order (core-rules 4 and 16).
AttachResult<> Group::attach_locked(Domain& domain) {
  if (domain_ != nullptr && domain_ != default_domain_ && domain_ != blocking_domain_)
    return driver_says(AttachFailure::busy, {"attached domain", domain.id(), domain_->id()});
  return replace_locked(domain);
}

AttachResult<> Group::replace_locked(Domain& domain) {
  TRY(check_gate(domain));
  return set_domain_locked(domain);
}

// No driver ever sees another driver's domain; in Linux, some drivers' units do not see another unit's either.
AttachResult<> Group::check_gate(const Domain& domain) const {
  if (&domain.owner() != &driver_)
    return driver_says(AttachFailure::incompatible,
                       {"IOMMU driver", system_.driver_number(domain.owner()), system_.driver_number(driver_)});
  if (system_.rules() != Rules::linux7 || !driver_.linux_ties_domains_to_a_unit()) return {};
  const auto members = devices();
  const unsigned unit = domain.made_for_unit_.value_or(founder_.unit_index());
  const auto elsewhere = std::ranges::find_if(members, [&](const Device* d) { return d->unit_index() != unit; });
  if (elsewhere == members.end()) return {};
  return driver_says(AttachFailure::incompatible, {"IOMMU unit", unit, (*elsewhere)->unit_index()});
}

// Blocking a device would take its 1:1 regions away. Linux warns here although the answer is "incompatible".
AttachResult<> Group::check_direct_locked(const Domain& domain) const {
  if (domain.type() != DomainType::blocked && &domain != blocking_domain_) return {};
  const auto members = devices();
  const auto device = std::ranges::find_if(members, [](const Device* d) { return d->requires_direct(); });
  if (device == members.end()) return {};
  if (system_.rules() == Rules::linux7)
    log::warning("{} {}: it has 1:1 regions and may not be blocked", bus_of(**device), (*device)->name());
  return driver_says(AttachFailure::incompatible, {"1:1 regions", 0, 1});
}

AttachResult<> Group::set_domain_locked(Domain& domain) {
  if (&domain == domain_) return {};
  if (broken_) return driver_says(AttachFailure::no_device, {"a device that the hardware refused to switch back"});
  TRY(check_direct_locked(domain));
  const std::span<Switch> changes = plan_locked(&domain);
  const Judgement judgement{.enforce = system_.rules() == Rules::contract, .fresh = domain.fresh_for_.load() == this};
  if (!changes.empty()) {
    const SwitchAnswer answer = try_switch(driver_, changes, judgement);
    if (answer.device_blocked) broken_ = true;
    TRY(answer.result);
  }
  switched_locked(changes, &domain);
  return {};
}

// A device whose attach is deferred stays so when the group (re)turns to its default domain.
std::span<Switch> Group::plan_locked(Domain* to) {
  std::size_t planned = 0;
  for (Device* device : devices()) {
    const bool deferred = device->attach_deferred();
    if (deferred && (to == default_domain_ || to == nullptr)) continue;
    switches_[planned++] = Switch{.device = device, .from = deferred ? nullptr : domain_, .to = to};
  }
  return std::span(switches_).first(planned);
}

void Group::switched_locked(std::span<Switch> changes, Domain* to) {
  domain_ = to;
  if (to != nullptr) to->fresh_for_.store(nullptr);
  for (const Switch& change : changes) change.device->attach_deferred_ = false;
  if (!trace::on()) return;
  std::array<char, 32> track{"group "};
  const char* const end = std::to_chars(track.data() + std::strlen(track.data()), track.end(), id_).ptr;
  for (const Switch& change : changes)
    trace::event({track.data(), end}, "attach_device_to_domain",
                 {{"device", change.device->name()}, {"domain", to != nullptr ? to->id() : 0}});
}

bool Group::force_to_locked(Domain* to) {
  const std::span<Switch> changes = plan_locked(to);
  if (!changes.empty()) {
    switch (force_switch(driver_, changes)) {
      case Forced::not_prepared:
        return false;
      case Forced::some_blocked:
        broken_ = true;
        break;
      case Forced::done:
        break;
    }
  }
  switched_locked(changes, to);
  return true;
}

// The static domains always succeed. A paging domain (a default one, or an empty one that stands for "blocked") may
// lack resources; then the devices are blocked, which is the only promise left to keep.
void Group::must_set_domain_locked(Domain& domain) {
  if (&domain == domain_ || force_to_locked(&domain)) return;
  log::error("iommu group {}: domain {} cannot be attached although it must be: the devices are blocked", id_,
             domain.id());
  Domain* const blocked = driver_.static_domain(DomainType::blocked);
  if (blocked != nullptr) {
    if (blocked == domain_ || (blocked != &domain && force_to_locked(blocked))) return;
  } else if (blocking_domain_ != nullptr && blocking_domain_ == domain_) {
    return;
  } else if (force_to_locked(nullptr)) {
    return;
  }
  log::error("driver {} is broken: it cannot prepare the blocked domain", driver_.name());
  for (Device* device : devices()) block_device(driver_, *device);
  broken_ = true;
  domain_ = blocked;
}

// The first DMA of a device in a kernel that took over a running machine: until now the old kernel's tables served it.
AttachResult<> Group::attach_deferred(Device& device) {
  const std::uint64_t begin = trace::now_ns();
  const MutexLock lock(mutex_);
  if (device.group() != this) return driver_says(AttachFailure::no_device, {"another group's device"});
  if (!device.attach_deferred()) return {};
  const std::span<Switch> change = std::span(switches_).first(1);
  change[0] = Switch{.device = &device, .from = nullptr, .to = domain_};
  const SwitchAnswer answer = try_switch(driver_, change, {.enforce = system_.rules() == Rules::contract});
  if (answer.result) switched_locked(change, domain_);
  record({.kind = AttachRecord::Kind::attach}, domain_, answer.result, begin);
  return answer.result;
}

void Group::record(Action action, const Domain* domain, const AttachResult<>& answer, std::uint64_t begin_ns) const {
  AttachRecord entry{
      .kind = action.kind, .group = id_, .devices = device_names(), .pasid = action.pasid, .fresh = action.fresh};
  if (domain != nullptr) {
    entry.domain = domain->id();
    entry.domain_driver = domain->owner().name();
    entry.domain_type = domain->type();
  }
  if (!answer) entry.error = answer.error();
  entry.nanoseconds = trace::now_ns() - begin_ns;
  system_.journal().add(entry);
}

}  // namespace softiommu
