// SPDX-License-Identifier: BSD-3-Clause
// A machine in words: what `softiommu show` prints.
#pragma once

#include <string>

#include "machine/machine.h"

namespace softiommu {

// The tree of bridges and devices, the isolation sets with the reason of each, the IOMMUs with their options.
std::string describe(const Machine& machine);

}  // namespace softiommu
