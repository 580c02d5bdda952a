// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/intel/domain.h"

#include <algorithm>

#include "base/log.h"

namespace softiommu::intel {

PagingDomain::PagingDomain(Driver& owner, Table table, std::vector<Unit*> made_for, unsigned address_width)
    : SharedTableDomain(owner),
      table_(std::move(table)),
      made_for_(std::move(made_for)),
      address_width_(address_width) {
  aperture_ = table_.aperture();
  page_sizes_ = table_.page_sizes();
}

Result<> PagingDomain::map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) {
  prot.coherent = prot.coherent || enforces_cache_coherency_;
  auto mapped = table_.map(iova, pa, bytes, prot);
  if (mapped && sync_after_map_.load(std::memory_order_seq_cst)) [[unlikely]]
    sync_after_map(iova, bytes);
  return mapped;
}

void PagingDomain::sync_after_map(Iova iova, std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  for (const Use& use : uses_) {
    if (!use.unit->must_sync_after_map()) continue;
    if (const auto synced = use.unit->sync_after_map(use.id, IovaRange::of(iova, bytes)); !synced)
      log::error("DMAR: {}: {}", use.unit->name(), synced.error().why);
  }
}

std::uint64_t PagingDomain::unmap(Iova iova, std::uint64_t bytes) {
  pt::Gather gather;
  const std::uint64_t unmapped = table_.unmap(iova, bytes, gather);
  if (gather.empty()) return unmapped;
  const MutexLock lock(mutex_);
  for (const Use& use : uses_) {
    const auto done = use.unit->invalidate_pages(use.id, gather.range(), !gather.tables_freed());
    if (!done) log::error("DMAR: {}: {}", use.unit->name(), done.error().why);
  }
  gather.release(made_for_.front()->tables());
  return unmapped;
}

std::optional<PhysAddr> PagingDomain::iova_to_phys(Iova iova) const { return table_.iova_to_phys(iova); }

bool PagingDomain::enforce_cache_coherency() {
  const MutexLock lock(mutex_);
  const auto able = [](const Unit* unit) { return unit->snoop_control(); };
  if (!std::ranges::all_of(made_for_, able)) return false;
  for (const Use& use : uses_)
    if (!use.unit->snoop_control()) return false;
  enforces_cache_coherency_ = true;
  return true;
}

AttachResult<> PagingDomain::fits(const Unit& unit) const {
  using enum AttachFailure;
  if (!unit.walks_levels(levels()))
    return driver_says(incompatible, {"page table levels", levels(), unit.largest_levels()});
  if (address_width_ > unit.address_width())
    return driver_says(incompatible, {"address width", address_width_, unit.address_width()});
  if ((page_sizes_ & ~unit.page_sizes()) != 0)
    return driver_says(incompatible, {"page sizes", page_sizes_, unit.page_sizes()});
  if (enforces_cache_coherency_ && !unit.snoop_control()) return driver_says(incompatible, {"snoop control", 1, 0});
  return {};
}

}  // namespace softiommu::intel
