// SPDX-License-Identifier: BSD-3-Clause
// The walk of Apple DART tables, as far as public drivers show what the hardware does.
#pragma once

#include <array>
#include <optional>

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

struct AppleDart {
  unsigned version = 1;                          // 1: T8103, 2: T6000 and T8110
  unsigned page_lg2 = 14;                        // 12 (version 1) or 14
  unsigned levels = 2;                           // of tables below a base register: 2 or 3
  std::array<std::optional<PhysAddr>, 4> roots;  // the stream's base registers, if they are valid
};

// Where an entry allows only a part of its page, what is found is the largest aligned piece around the IOVA that lies
// in that part, and the rest of the page is a permission fault.
Outcome apple_dart(Memory& memory, const AppleDart& tables, Iova iova, Access access);

}  // namespace softiommu::walk
