// SPDX-License-Identifier: BSD-3-Clause
// The walk of z/Architecture translation tables (Principles of Operation ch. 3), as for zPCI functions: no large pages.
#pragma once

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

struct S390 {
  PhysAddr root;
  unsigned root_type = 1;  // designation type of the IOTA: 0 segment table, 1 region third, 2 second, 3 first
};

// A page that is valid can be read.
Outcome s390(Memory& memory, const S390& tables, Iova iova, Access access);

}  // namespace softiommu::walk
