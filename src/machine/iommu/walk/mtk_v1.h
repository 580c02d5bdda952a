// SPDX-License-Identifier: BSD-3-Clause
// The look-up in the flat table of a MediaTek M4U of generation 1.
#pragma once

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

// What hardware has read from its page-table base.
struct MtkV1Table {
  PhysAddr first{};  // 4 MiB
};

Outcome mtk_v1(Memory& memory, const MtkV1Table& table, Iova iova, Access access);

}  // namespace softiommu::walk
