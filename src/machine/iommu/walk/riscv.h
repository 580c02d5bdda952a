// SPDX-License-Identifier: BSD-3-Clause
// The walk of RISC-V tables (privileged architecture 12.3.2; RISC-V IOMMU 2.3), Sv39, Sv48, Sv57.
#pragma once

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

struct Riscv {
  PhysAddr root;
  unsigned levels = 4;           // 3, 4, 5: Sv39, Sv48, Sv57
  unsigned output_bits = 56;     // physical addresses beyond fault
  bool napot = true;             // Svnapot: 64K pages
  bool memory_types = false;     // Svpbmt
  bool update_accessed = false;  // DC.tc.SADE: A and D are set; otherwise an access that needs them faults
};

// The access is a user's. Rights may be none; entries are marked only on behalf of an access that is allowed. A page
// that is not marked dirty says `write` for a write only, so that the first write is walked.
Outcome riscv(Memory& memory, const Riscv& tables, Iova iova, Access access);

}  // namespace softiommu::walk
