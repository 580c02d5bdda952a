// SPDX-License-Identifier: BSD-3-Clause
#include "core/driver.h"

#include "core/device.h"
#include "core/virtual_iommu.h"

namespace softiommu {

std::uint64_t Driver::group_key(const Device& device) const { return device.isolation_set(); }

Result<std::unique_ptr<Domain>> Driver::allocate_nested(const Device&, Domain&, const DomainRequest&, const UserData&) {
  return fail(EOPNOTSUPP, "this driver makes no nested domains");
}

Result<std::unique_ptr<VirtualIommu>> Driver::make_viommu(const Device&, const VirtualIommuRequest&) {
  return fail(EOPNOTSUPP, "this driver makes no virtual IOMMUs");
}

}  // namespace softiommu
