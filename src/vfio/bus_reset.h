// SPDX-License-Identifier: BSD-3-Clause
// Which devices a reset of a bus reaches: all on it and below it.
#pragma once

#include <vector>

#include "base/result.h"
#include "vfio/abi.h"
#include "vfio/group.h"

namespace softiommu::vfio {

struct BusResetVictim {
  VfioGroup* group;  // nullptr: vfio-pci does not have the device
  PciDevice* device;
};

// ENODEV: the bus of `device` is a root bus, no bridge can reset it; EPERM: a device on it is in no group.
Result<std::vector<BusResetVictim>> bus_reset_victims(VfioGroup& group, const PciDevice& device);
abi::DependentDevice describe(const BusResetVictim& victim);

}  // namespace softiommu::vfio
