// SPDX-License-Identifier: BSD-3-Clause
// What a group is on when no program has it (core-rules 8), and the reserved regions that this depends on.
#include <algorithm>
#include <bit>

#include "base/log.h"
#include "base/trace.h"
#include "core/bus_of.h"
#include "core/group.h"
#include "core/switching.h"
#include "core/system.h"

namespace softiommu {

namespace {

bool is_direct(ReservedRegion::Kind kind) {
  return kind == ReservedRegion::Kind::direct || kind == ReservedRegion::Kind::relaxable;
}

bool touches(const ReservedRegion& last, const ReservedRegion& next) {
  if (last.kind != next.kind) return false;
  return next.range.first <= last.range.last || next.range.first.value - last.range.last.value == 1;
}

// Maps the pages of `range` 1:1, but for those that another device's region mapped already.
Result<> map_direct(Domain& domain, IovaRange range) {
  const std::uint64_t page = std::uint64_t{1} << std::countr_zero(domain.page_sizes());
  Iova next{align_down(range.first.value, page)};
  for (bool last = false; !last; next += page) {
    last = range.last - next < page;
    if (domain.iova_to_phys(next)) continue;
    TRY(domain.map(next, PhysAddr{next.value}, page, {.read = true, .write = true}));
  }
  return {};
}

Result<> map_direct(Domain& domain, std::span<const ReservedRegion> regions) {
  for (const ReservedRegion& region : regions)
    if (is_direct(region.kind)) TRY(map_direct(domain, region.range));
  return {};
}

}  // namespace

void Group::add(Device& device) {
  const MutexLock lock(mutex_);
  Members joined = with(device);
  switches_.resize(joined.devices.size());
  *all_members_.back() = std::move(joined);  // nobody else reads it yet
  device.group_ = this;
}

Result<std::vector<ReservedRegion>> Group::reserved_regions() const {
  return without_throwing([&]() -> Result<std::vector<ReservedRegion>> {
    std::vector<ReservedRegion> all;
    const MutexLock lock(mutex_);  // who leaves takes what its driver knows of it along
    for (const Device* device : devices()) {
      const auto regions = driver_.reserved_regions(*device);
      all.insert(all.end(), regions.begin(), regions.end());
    }
    std::ranges::sort(all, {}, [](const ReservedRegion& r) { return std::pair(r.range.first, r.kind); });
    std::vector<ReservedRegion> merged;
    for (const ReservedRegion& region : all) {
      // Regions of another kind may lie between two that touch.
      const auto last = std::ranges::find_if(merged.rbegin(), merged.rend(),
                                             [&](const ReservedRegion& earlier) { return touches(earlier, region); });
      if (last == merged.rend())
        merged.push_back(region);
      else
        last->range.last = std::max(last->range.last, region.range.last);
    }
    return merged;
  });
}

// What the driver wants; where its devices disagree, identity serves all of them.
DomainType Group::default_domain_type() const {
  const DomainType first = driver_.default_domain_type(*devices().front());
  for (const Device* device : devices()) {
    const DomainType type = driver_.default_domain_type(*device);
    if (type == first) continue;
    log::warning("{} {}: wants another default domain type than {}: identity is used", bus_of(*device), device->name(),
                 devices().front()->name());
    return DomainType::identity;
  }
  return first;
}

Result<> Group::set_up_default_domain() {
  const DomainType type = default_domain_type();
  Domain* wanted = type == DomainType::paging ? nullptr : driver_.static_domain(type);
  if (wanted == nullptr) {
    owned_default_ = TRY(make_default_paging_domain());
    wanted = owned_default_.get();
  }
  const MutexLock lock(mutex_);
  default_domain_ = wanted;
  const std::uint64_t begin = trace::now_ns();
  const bool fresh = wanted->fresh_for_.load() == this;
  const AttachResult<> answer = set_domain_locked(*wanted);
  record({.kind = AttachRecord::Kind::attach, .fresh = fresh}, wanted, answer, begin);
  if (answer) return {};
  for (Device* device : devices()) block_device(driver_, *device);
  return fail(answer.error().code, "the default domain cannot be attached");
}

Result<std::unique_ptr<Domain>> Group::make_default_paging_domain() {
  auto domain = TRY(system_.allocate_domain(*this));
  TRY(map_direct_regions(*domain));
  return domain;
}

Result<> Group::map_direct_regions(Domain& domain, const Device& newcomer) const {
  return without_throwing([&] { return map_direct(domain, driver_.reserved_regions(newcomer)); });
}

Result<> Group::map_direct_regions(Domain& domain) const { return map_direct(domain, TRY(reserved_regions())); }

// Its last device leaves, or the system ends: no device is on a domain that is about to be freed. A device with 1:1
// regions keeps them.
void Group::shut_down() {
  const MutexLock lock(mutex_);
  detach_all_pasids_locked();
  Domain* last = nullptr;
  if (std::ranges::any_of(devices(), &Device::requires_direct)) last = driver_.static_domain(DomainType::identity);
  if (last == nullptr) last = driver_.static_domain(DomainType::blocked);
  if (domain_ != last && !force_to_locked(last))
    log::error("driver {} is broken: it cannot release group {}", driver_.name(), id_);
  page_faults_.forget(0);
  owner_ = nullptr;
  owner_count_ = 0;
  domain_ = default_domain_ = blocking_domain_ = nullptr;
  owned_default_.reset();
  owned_blocking_.reset();
}

}  // namespace softiommu
