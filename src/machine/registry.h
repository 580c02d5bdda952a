// SPDX-License-Identifier: BSD-3-Clause
// What each hardware model provides: one function that describes it.
#pragma once

#include "machine/machine.h"

namespace softiommu {

#define IOMMU(name) UnitModel name##_unit_model();
#include "machine/iommu/registry.inc"
#undef IOMMU
#define DEVICE(name) DeviceModel name##_device_model();
#include "machine/device/registry.inc"
#undef DEVICE

}  // namespace softiommu
