// SPDX-License-Identifier: BSD-3-Clause
// The walk of Allwinner H6 IOMMU tables.
#pragma once

#include <array>

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

// What a set of rights allows one master (registers DM_AUT_CTRL, which hold what is forbidden).
struct Authority {
  bool read = false, write = false;
};

// What hardware has read from TTB and, for the master that accesses, from DM_AUT_CTRL.
struct Sun50iTables {
  PhysAddr root{};  // 16 KiB
  std::array<Authority, 16> authorities{};
};

Outcome sun50i(Memory& memory, const Sun50iTables& tables, Iova iova, Access access);

}  // namespace softiommu::walk
