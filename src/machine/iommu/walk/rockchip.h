// SPDX-License-Identifier: BSD-3-Clause
// The walk of Rockchip IOMMU tables: v1, and v2 with 40-bit addresses.
#pragma once

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

// What hardware has read from MMU_DTE_ADDR, and which words it knows.
struct RockchipTables {
  PhysAddr root{};    // 4 KiB
  bool wide = false;  // v2
};

Outcome rockchip(Memory& memory, const RockchipTables& tables, Iova iova, Access access);

}  // namespace softiommu::walk
