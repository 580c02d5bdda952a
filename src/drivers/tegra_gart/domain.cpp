// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/tegra_gart/domain.h"

namespace softiommu::tegra_gart {

PagingDomain::PagingDomain(Driver& owner, TableMemory& memory, Table table)
    : SharedTableDomain(owner), memory_(memory), table_(std::move(table)) {
  aperture_ = table_.aperture();
  page_sizes_ = table_.page_sizes();
}

Result<> PagingDomain::map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) {
  TRY(table_.map(iova, pa, bytes, prot));
  refresh(IovaRange::of(iova, bytes));
  return {};
}

std::uint64_t PagingDomain::unmap(Iova iova, std::uint64_t bytes) {
  return pt::unmap_and(table_, memory_, iova, bytes, [&](const pt::Gather& gather) { refresh(gather.range()); });
}

// A window that comes to show this domain meanwhile reads the table after it was changed.
void PagingDomain::refresh(IovaRange range) {
  const MutexLock lock(mutex_);
  for (const Use& use : uses_) use.unit->refresh(*this, range);
}

std::uint32_t PagingDomain::entry(Iova page) const {
  const auto leaf = table_.lookup(page);
  return leaf ? static_cast<std::uint32_t>(leaf->entry) : 0;
}

}  // namespace softiommu::tegra_gart
