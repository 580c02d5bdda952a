// SPDX-License-Identifier: BSD-3-Clause
// For log lines: what Linux would print before a device's name.
#pragma once

#include <string>
#include <string_view>

#include "core/device.h"

namespace softiommu {

// Names on PCI are addresses; others have no colon.
inline std::string_view bus_of(const Device& device) {
  return device.name().find(':') != std::string::npos ? "pci" : "platform";
}

}  // namespace softiommu
