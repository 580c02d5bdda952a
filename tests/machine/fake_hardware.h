// SPDX-License-Identifier: BSD-3-Clause
// Hardware for tests of the machine itself: an IOMMU that refuses everything and a device that does nothing, with an
// option of every kind.
#pragma once

#include <vector>

#include "machine/machine.h"

namespace softiommu::test {

UnitModel unit_model();      // "test-iommu"
DeviceModel device_model();  // "test-device": one 8 KiB BAR, one 64-bit 64 KiB BAR, one I/O BAR

// What the last objects of both kinds did, oldest first: "unit a gone", "device 0000:00:01.0 gone".
std::vector<std::string>& diary();

}  // namespace softiommu::test
