// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/intel_vtd/pasid_cache.h"

#include <new>

namespace softiommu::vtd {

std::optional<PasidEntry> PasidCache::look_up(std::uint16_t source, Pasid pasid) const {
  const FutexGuard lock(mutex_);
  const auto found = entries_.find(key(source, pasid));
  return found != entries_.end() ? std::optional(found->second) : std::nullopt;
}

void PasidCache::insert(Ticket ticket, std::uint16_t source, Pasid pasid, const PasidEntry& entry) {
  const FutexGuard lock(mutex_);
  if (epoch_.load(std::memory_order_relaxed) != ticket) return;
  try {
    entries_.insert_or_assign(key(source, pasid), entry);
  } catch (const std::bad_alloc&) {
    return;  // a cache may always forget
  }
}

template <typename Predicate>
void PasidCache::drop_if(const Predicate& matches) {
  const FutexGuard lock(mutex_);
  epoch_.fetch_add(1, std::memory_order_acq_rel);
  std::erase_if(entries_, matches);
}

void PasidCache::invalidate_all() {
  drop_if([](const auto&) { return true; });
}

void PasidCache::invalidate_domain(std::uint16_t domain) {
  drop_if([domain](const auto& cached) { return cached.second.domain_id() == domain; });
}

void PasidCache::invalidate_pasid(std::uint16_t domain, Pasid pasid) {
  constexpr std::uint64_t kPasidMask = (std::uint64_t{1} << hw::vtd::kPasidBits) - 1;
  drop_if(
      [=](const auto& cached) { return cached.second.domain_id() == domain && (cached.first & kPasidMask) == pasid; });
}

}  // namespace softiommu::vtd
