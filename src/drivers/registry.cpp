// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/registry.h"

namespace softiommu {

namespace {
constexpr MakeDriver kDrivers[] = {
#define DRIVER(name) make_##name##_driver,
#include "drivers/registry.inc"
#undef DRIVER
};
}  // namespace

std::span<const MakeDriver> all_drivers() { return kDrivers; }

}  // namespace softiommu
