// SPDX-License-Identifier: BSD-3-Clause
#include "core/domain.h"

namespace softiommu {

std::uint64_t Domain::next_id() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

Result<> Domain::map(Iova, PhysAddr, std::uint64_t, Prot) { return fail(EINVAL, "a static domain has no mappings"); }

std::uint64_t Domain::unmap(Iova, std::uint64_t) { return 0; }

std::optional<PhysAddr> Domain::iova_to_phys(Iova iova) const {
  if (type_ == DomainType::identity) return PhysAddr{iova.value};
  return std::nullopt;
}

Result<> Domain::set_dirty_tracking(bool) {
  return fail(EOPNOTSUPP, "the domain was not allocated for dirty tracking");
}

Result<> Domain::read_dirty(IovaRange, bool, const std::function<void(Iova, std::uint64_t)>&) {
  return fail(EOPNOTSUPP, "the domain was not allocated for dirty tracking");
}

Result<> Domain::cache_invalidate_user(UserArray&) { return fail(EOPNOTSUPP, "the driver takes no invalidations for it"); }

}  // namespace softiommu
