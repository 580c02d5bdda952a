// SPDX-License-Identifier: BSD-3-Clause
// The walk of VT-d second-stage tables (VT-d 3.7, 9.8).
#pragma once

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

struct VtdSecondStage {
  PhysAddr root;
  unsigned levels = 4;               // 3 to 5
  unsigned host_address_width = 52;  // address bits above are reserved
  // What the unit supports; other bits are reserved.
  std::uint64_t large_pages = 3;  // as CAP.SLLPS: bit 0 for 2M, bit 1 for 1G
  bool snoop_control = true;      // SNP
  bool device_tlbs = false;       // TM
  bool accessed_dirty = false;    // scalable mode with SSADE: A and D are kept
};

// The caller has compared the IOVA with the width of the levels. The rights are those that all levels allow, and may be
// none. With accessed_dirty, a page that is not marked dirty says `write` for a write only, so that the first write is
// walked.
Outcome vtd_second_stage(Memory& memory, const VtdSecondStage& tables, Iova iova, Access access);

}  // namespace softiommu::walk
