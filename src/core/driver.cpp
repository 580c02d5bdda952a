// SPDX-License-Identifier: BSD-3-Clause
#include "core/driver.h"

#include "core/device.h"

namespace softiommu {

std::uint64_t Driver::group_key(const Device& device) const { return device.isolation_set(); }

}  // namespace softiommu
