// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/omap/domain.h"

#include <algorithm>

namespace softiommu::omap {

PagingDomain::PagingDomain(Driver& owner, Table table, std::vector<Unit*> made_for)
    : UnitWideDomain(owner), table_(std::move(table)), made_for_(std::move(made_for)) {
  aperture_ = table_.aperture();
  page_sizes_ = table_.page_sizes();
}

std::uint64_t PagingDomain::unmap(Iova iova, std::uint64_t bytes) {
  return pt::unmap_and(table_, made_for_.front()->tables(), iova, bytes,
                       [&](const pt::Gather& gather) { each_unit([&](Unit& unit) { unit.flush(gather.range()); }); });
}

AttachResult<> PagingDomain::fits(const Unit& unit) const {
  if (std::ranges::find(made_for_, &unit) != made_for_.end()) return {};
  return driver_says(AttachFailure::incompatible, {"client's MMUs", made_for_.front()->index(), unit.index()});
}

}  // namespace softiommu::omap
