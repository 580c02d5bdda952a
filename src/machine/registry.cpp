// SPDX-License-Identifier: BSD-3-Clause
// The tables of hardware models, from the rows of iommu/registry.inc and device/registry.inc.
#include "machine/registry.h"

namespace softiommu {

std::span<const UnitModel> unit_models() {
  static const UnitModel models[] = {
#define IOMMU(name) name##_unit_model(),
#include "machine/iommu/registry.inc"
#undef IOMMU
  };
  return models;
}

std::span<const DeviceModel> device_models() {
  static const DeviceModel models[] = {
#define DEVICE(name) name##_device_model(),
#include "machine/device/registry.inc"
#undef DEVICE
  };
  return models;
}

}  // namespace softiommu
