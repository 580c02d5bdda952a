// SPDX-License-Identifier: BSD-3-Clause
// The walk of OMAP MMU tables (TI TRMs, "System MMU": translation tables).
//
// How data is swapped on its way (endianness, element size, mixed region) is not part of the answer.
#pragma once

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

// What hardware has read from MMU_TTB.
struct OmapTables {
  PhysAddr root{};  // 16 KiB
};

Outcome omap(Memory& memory, const OmapTables& tables, Iova iova, Access access);

}  // namespace softiommu::walk
