// SPDX-License-Identifier: BSD-3-Clause
// The look-up in the flat table of a Spreadtrum IOMMU.
//
// Hardware sends accesses that fail (not_present, input_range) to the page of DEFAULT_PPN: the caller does that.
#pragma once

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

// What hardware has read from FIRST_PPN, FIRST_VPN and VPN_RANGE.
struct SprdTable {
  PhysAddr first{};
  Iova window{};
  std::uint64_t pages = 0;
};

Outcome sprd(Memory& memory, const SprdTable& table, Iova iova, Access access);

}  // namespace softiommu::walk
