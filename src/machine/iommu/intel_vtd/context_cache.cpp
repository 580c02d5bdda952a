// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/intel_vtd/context_cache.h"

#include <new>

namespace softiommu::vtd {
namespace {

constexpr unsigned kBusShift = 8;  // a source id is bus, device, function
constexpr unsigned kFunctionMask = 0xff;

}  // namespace

ContextCache::~ContextCache() {
  for (auto& bus : buses_) delete bus.load(std::memory_order_relaxed);
}

std::optional<ContextEntry> ContextCache::load(const Slot& slot) {
  const std::uint32_t before = slot.version.load(std::memory_order_acquire);
  if ((before & 1) != 0) return std::nullopt;  // being changed: a miss
  const bool valid = slot.valid.load(std::memory_order_acquire);
  const ContextEntry entry{slot.low.load(std::memory_order_acquire), slot.high.load(std::memory_order_acquire)};
  if (!valid || slot.version.load(std::memory_order_acquire) != before) return std::nullopt;
  return entry;
}

void ContextCache::store(Slot& slot, const ContextEntry* entry) {
  slot.version.fetch_add(1, std::memory_order_acq_rel);
  slot.valid.store(entry != nullptr, std::memory_order_release);
  if (entry != nullptr) {
    slot.low.store(entry->low, std::memory_order_release);
    slot.high.store(entry->high, std::memory_order_release);
  }
  slot.version.fetch_add(1, std::memory_order_release);
}

std::optional<ContextEntry> ContextCache::look_up(std::uint16_t source) const {
  const Bus* bus = buses_[source >> kBusShift].load(std::memory_order_acquire);
  if (bus == nullptr) return std::nullopt;
  return load((*bus)[source & kFunctionMask]);
}

void ContextCache::insert(Ticket ticket, std::uint16_t source, const ContextEntry& entry) {
  const MutexLock lock(mutex_);
  if (epoch_.load(std::memory_order_relaxed) != ticket) return;
  auto& place = buses_[source >> kBusShift];
  Bus* bus = place.load(std::memory_order_relaxed);
  if (bus == nullptr) {
    bus = new (std::nothrow) Bus;
    if (bus == nullptr) return;  // a cache may always forget
    place.store(bus, std::memory_order_release);
  }
  store((*bus)[source & kFunctionMask], &entry);
}

template <typename Predicate>
void ContextCache::drop_if(const Predicate& matches) {
  const MutexLock lock(mutex_);
  epoch_.fetch_add(1, std::memory_order_acq_rel);
  for (unsigned number = 0; number < kBuses; ++number) {
    Bus* bus = buses_[number].load(std::memory_order_relaxed);
    if (bus == nullptr) continue;
    for (unsigned function = 0; function < kFunctions; ++function) {
      Slot& slot = (*bus)[function];
      const auto entry = load(slot);
      if (entry && matches(static_cast<std::uint16_t>(number << kBusShift | function), *entry)) store(slot, nullptr);
    }
  }
}

void ContextCache::invalidate_all() {
  drop_if([](std::uint16_t, const ContextEntry&) { return true; });
}

void ContextCache::invalidate_domain(std::optional<std::uint16_t> domain) {
  drop_if([domain](std::uint16_t, const ContextEntry& entry) { return !domain || entry.domain_id() == *domain; });
}

void ContextCache::invalidate_source(std::optional<std::uint16_t> domain, std::uint16_t source, std::uint16_t ignored) {
  drop_if([=](std::uint16_t cached, const ContextEntry& entry) {
    return ((cached ^ source) & ~unsigned{ignored}) == 0 && (!domain || entry.domain_id() == *domain);
  });
}

}  // namespace softiommu::vtd
