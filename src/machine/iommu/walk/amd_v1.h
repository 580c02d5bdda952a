// SPDX-License-Identifier: BSD-3-Clause
// The walk of AMD host tables, "v1" (48882 2.2.3).
#pragma once

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

struct AmdV1 {
  PhysAddr root;
  unsigned mode = 3;          // levels, 1 to 6 (DTE.Mode)
  unsigned output_bits = 52;  // of the unit's physical addresses
  bool accessed = false;      // DTE.HAD: A is kept
  bool dirty = false;         // and D
  friend bool operator==(const AmdV1&, const AmdV1&) = default;
};

// Rights are those that all levels allow (the caller adds those of the device table entry), and may be none. With
// `dirty`, a page whose entry is not marked dirty says `write` for a write only, so that the first write is walked.
Outcome amd_v1(Memory& memory, const AmdV1& tables, Iova iova, Access access);

}  // namespace softiommu::walk
