// SPDX-License-Identifier: BSD-3-Clause
// The walk of Exynos System MMU tables: v1 to v3, and v5 on.
#pragma once

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

// What hardware has read from its page-table base, and which words it knows.
struct ExynosTables {
  PhysAddr root{};    // 16 KiB
  bool wide = false;  // v5 on: 36-bit addresses
};

Outcome exynos(Memory& memory, const ExynosTables& tables, Iova iova, Access access);

}  // namespace softiommu::walk
