// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/arm_smmu_v3/domain.h"

#include <algorithm>

#include "base/log.h"
#include "drivers/arm_smmu_v3/master.h"

namespace softiommu::arm_smmu_v3 {

PagingDomain::PagingDomain(Driver& owner, Table table, TableMemory& memory, const Uses& made_for)
    : SharedTableDomain(owner), table_(std::move(table)), memory_(memory), made_for_(made_for) {
  aperture_ = table_.aperture();
  page_sizes_ = table_.page_sizes();
}

Result<> PagingDomain::map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) {
  return table_.map(iova, pa, bytes, prot);
}

std::uint64_t PagingDomain::unmap(Iova iova, std::uint64_t bytes) {
  return pt::unmap_and(table_, memory_, iova, bytes, [&](const pt::Gather& gather) { invalidate(gather); });
}

std::optional<PhysAddr> PagingDomain::iova_to_phys(Iova iova) const { return table_.iova_to_phys(iova); }

// The table keeps the dirty state from its first mapping on; who starts to track reads and clears it first.
Result<> PagingDomain::set_dirty_tracking(bool /*on*/) {
  if (!config().dirty_tracking) return fail(EOPNOTSUPP, "the domain was not made for dirty tracking");
  return {};
}

Result<> PagingDomain::read_dirty(IovaRange range, bool clear, const std::function<void(Iova, std::uint64_t)>& dirty) {
  if (!config().dirty_tracking) return fail(EOPNOTSUPP, "the domain was not made for dirty tracking");
  pt::Gather gather;
  table_.read_dirty(range, clear, dirty, &gather);
  // A writable entry that is still cached would let the next write pass unnoticed.
  if (!gather.empty()) invalidate(gather);
  return {};
}

// The units first: a device that asks again must not be told what is gone. What guests' stage 1 made of stage 2 is
// cached by addresses of stage 1: all of it goes.
void PagingDomain::invalidate(const pt::Gather& gather) {
  const MutexLock lock(mutex_);
  for (const Use& use : uses_) {
    auto done = use.unit->invalidate_pages(tag(use.id), gather.range(), !gather.tables_freed());
    if (done && made_for_.nest_parent) done = use.unit->invalidate_guest(use.id);
    if (!done) log::error("arm-smmu-v3: {}: {}", use.unit->name(), done.error().why);
  }
  for (const Keeper& keeper : keepers_)
    if (const auto done = keeper.master->forget_translations(keeper.pasid, gather.range()); !done)
      log::error("arm-smmu-v3: {}: {}", keeper.master->unit().name(), done.error().why);
}

Result<> PagingDomain::enter(Master& master, Pasid pasid) {
  return without_throwing([&]() -> Result<> {
    const MutexLock lock(mutex_);
    keepers_.push_back({&master, pasid});
    return {};
  });
}

void PagingDomain::leave(const Master& master, Pasid pasid) {
  const MutexLock lock(mutex_);
  const auto found = std::ranges::find_if(
      keepers_, [&](const Keeper& keeper) { return keeper.master == &master && keeper.pasid == pasid; });
  if (found != keepers_.end()) keepers_.erase(found);
}

// What is smaller than the unit's is fine: a group's domain is made for the least of its units.
AttachResult<> PagingDomain::fits(const Unit& unit) const {
  using enum AttachFailure;
  const Features& features = unit.features();
  if (made_for_.nest_parent && !features.nesting) return driver_says(incompatible, {"nesting", 1, 0});
  if (!made_for_.nest_parent && stage() != features.stage)
    return driver_says(incompatible, {"stage", stage(), features.stage});
  if (config().input_bits > unit.input_bits(stage()))
    return driver_says(incompatible, {"input size", config().input_bits, unit.input_bits(stage())});
  if (config().output_bits > features.output_bits)
    return driver_says(incompatible, {"output size", config().output_bits, features.output_bits});
  if (made_for_.coherent && !features.coherent) return driver_says(incompatible, {"coherency", 1, 0});
  if (config().dirty_tracking && !features.dirty) return driver_says(incompatible, {"dirty tracking", 1, 0});
  return {};
}

bool Unit::same_ids(const PagingDomain& a, const PagingDomain& b) { return a.stage() == b.stage(); }

}  // namespace softiommu::arm_smmu_v3
