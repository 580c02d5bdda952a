// SPDX-License-Identifier: BSD-3-Clause
// PASIDs of a group (core-rules 10): each is attached, replaced and detached by itself, on all devices that have
// PASIDs.
#include <ranges>

#include "base/log.h"
#include "base/trace.h"
#include "core/group.h"
#include "core/switching.h"
#include "core/system.h"

namespace softiommu {

AttachResult<> Group::attach_pasid(Domain& domain, Pasid pasid, AttachHandle& handle) {
  const std::uint64_t begin = trace::now_ns();
  const MutexLock lock(mutex_);
  const AttachResult<> answer = attach_pasid_locked(domain, pasid, handle);
  record({.kind = AttachRecord::Kind::attach, .pasid = pasid}, &domain, answer, begin);
  return answer;
}

AttachResult<> Group::replace_pasid(Domain& domain, Pasid pasid, AttachHandle& handle) {
  const std::uint64_t begin = trace::now_ns();
  const MutexLock lock(mutex_);
  const AttachResult<> answer = replace_pasid_locked(domain, pasid, handle);
  record({.kind = AttachRecord::Kind::replace, .pasid = pasid}, &domain, answer, begin);
  return answer;
}

void Group::detach_pasid(Pasid pasid) {
  const std::uint64_t begin = trace::now_ns();
  const MutexLock lock(mutex_);
  if (pasid == 0 || page_faults_.find(pasid).domain == nullptr) return;
  detach_pasid_locked(pasid);
  record({.kind = AttachRecord::Kind::detach, .pasid = pasid}, driver_.static_domain(DomainType::blocked), {}, begin);
}

Domain* Group::domain(Pasid pasid) const { return page_faults_.find(pasid).domain; }

// Linux's order: what the driver can, the gatekeeper, then what each device can.
AttachResult<> Group::check_pasid(const Domain& domain, Pasid pasid) const {
  if (!driver_.attaches_pasids() || driver_.static_domain(DomainType::blocked) == nullptr)
    return std::unexpected(AttachError{AttachFailure::no_device, EOPNOTSUPP, {"PASID attach"}});
  TRY(check_gate(domain));
  if (pasid == 0) return driver_says(AttachFailure::incompatible, {"PASID", 0, 0});
  return {};
}

AttachResult<> Group::attach_pasid_locked(Domain& domain, Pasid pasid, AttachHandle& handle) {
  TRY(check_pasid(domain, pasid));
  if (broken_) return driver_says(AttachFailure::no_device, {"a device that the hardware refused to switch back"});
  for (const Device* device : devices()) {
    const unsigned bits = driver_.pasid_bits(*device);
    if (bits != 0 && std::uint64_t{pasid} >> bits != 0)
      return driver_says(AttachFailure::incompatible, {"PASID width", pasid, bits});
  }
  bool added = false;
  const auto reserved = without_throwing([&]() -> Result<> {
    added = page_faults_.reserve(pasid);
    return {};
  });
  if (!reserved) return driver_says(AttachFailure::no_memory, {"memory for the attach"});
  if (!added) return driver_says(AttachFailure::busy, {"attached PASID", pasid, pasid});
  if (const auto switched = switch_pasid_locked(domain, nullptr, pasid); !switched) {
    page_faults_.forget(pasid);
    return switched;
  }
  page_faults_.attach(pasid, {&domain, &handle});
  return {};
}

AttachResult<> Group::replace_pasid_locked(Domain& domain, Pasid pasid, AttachHandle& handle) {
  TRY(check_pasid(domain, pasid));
  Domain* const from = page_faults_.find(pasid).domain;
  if (from == nullptr) return driver_says(AttachFailure::incompatible, {"attached PASID", pasid, 0});
  if (broken_) return driver_says(AttachFailure::no_device, {"a device that the hardware refused to switch back"});
  if (from != &domain) TRY(switch_pasid_locked(domain, from, pasid));
  page_faults_.attach(pasid, {&domain, &handle});
  return {};
}

AttachResult<> Group::switch_pasid_locked(Domain& to, Domain* from, Pasid pasid) {
  const std::span<Switch> changes = plan_pasid_locked(to, from, pasid);
  if (changes.empty()) return {};
  const SwitchAnswer answer = try_switch(driver_, changes, {.enforce = system_.rules() == Rules::contract});
  if (answer.device_blocked) broken_ = true;
  return answer.result;
}

// A device without PASIDs cannot send a request with one: it has nothing to switch.
std::span<Switch> Group::plan_pasid_locked(Domain& to, Domain* from, Pasid pasid) {
  std::size_t planned = 0;
  for (Device* device : devices()) {
    if (driver_.pasid_bits(*device) == 0) continue;
    switches_[planned++] = Switch{.device = device, .from = from, .to = &to, .pasid = pasid};
  }
  return std::span(switches_).first(planned);
}

// A PASID that cannot be blocked by itself takes the whole device with it.
void Group::detach_pasid_locked(Pasid pasid) {
  Domain& blocked = *driver_.static_domain(DomainType::blocked);
  const std::span<Switch> changes = plan_pasid_locked(blocked, page_faults_.find(pasid).domain, pasid);
  const Forced forced = changes.empty() ? Forced::done : force_switch(driver_, changes);
  if (forced == Forced::not_prepared) {
    log::error("driver {} is broken: it cannot block PASID {} of group {}", driver_.name(), pasid, id_);
    for (const Switch& change : changes) block_device(driver_, *change.device);
  }
  if (forced != Forced::done) broken_ = true;
  page_faults_.forget(pasid);
}

// An owner that goes should have detached them.
void Group::detach_all_pasids_locked() {
  while (const Pasid pasid = page_faults_.any_pasid()) {
    log::warning("iommu group {}: PASID {} was still attached", id_, pasid);
    detach_pasid_locked(pasid);
  }
}

}  // namespace softiommu
