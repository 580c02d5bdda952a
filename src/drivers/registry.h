// SPDX-License-Identifier: BSD-3-Clause
// All IOMMU drivers, from the rows of registry.inc.
#pragma once

#include <memory>
#include <span>

#include "core/driver.h"

namespace softiommu {

#define DRIVER(name) std::unique_ptr<Driver> make_##name##_driver();
#include "drivers/registry.inc"
#undef DRIVER

std::span<const MakeDriver> all_drivers();

}  // namespace softiommu
