// SPDX-License-Identifier: BSD-3-Clause
// The walk of x86-64 tables as IOMMUs do it: VT-d first stage (VT-d 3.6, 9.7), AMD guest "v2" tables (48882 2.2.6).
#pragma once

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

// Translates what the tables call physical addresses once more: a guest's tables, in a guest's memory.
class NextStage {
 public:
  virtual Outcome translate(Iova guest, Access access) const = 0;

 protected:
  ~NextStage() = default;
};

struct X86_64 {
  PhysAddr root;
  unsigned levels = 4;           // 4 or 5
  unsigned output_bits = 52;     // address bits above are reserved
  bool large_1g = true;          // 1G pages are supported
  bool execute_disable = false;  // XD is honoured; otherwise it is reserved, and nothing may be executed
  bool accessed_dirty = true;    // A and D are kept. Otherwise they are neither looked at nor set
  bool supervisor = false;       // the request is privileged: U/S does not matter
  bool write_protect = true;     // and respects read-only pages (WPE, CR0.WP)
  bool sign_extended = true;     // the bits above the input's highest are copies of it; otherwise 0
  const NextStage* next = nullptr;
};

// Rights are those that all levels allow, and may be none. With accessed_dirty, a page that is not marked dirty says
// `write` for a write only, so that the first write is walked. Entries are marked only on behalf of an access that is
// allowed. Of two stages the smaller page is the answer, with the rights of both; a failure of the next stage says so
// (`stage` 2, its `input`).
Outcome x86_64(Memory& memory, const X86_64& tables, Iova iova, Access access);

}  // namespace softiommu::walk
