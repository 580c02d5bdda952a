// SPDX-License-Identifier: BSD-3-Clause
// The walk of Tegra SMMU tables, for a client that is not secure.
#pragma once

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

// What hardware has read from PTB_DATA for the client's address space, and how wide its physical addresses are.
struct TegraSmmuTables {
  PhysAddr root{};  // 4 KiB
  unsigned output_bits = 32;
  // PTB_DATA has rights too; everything below needs them.
  bool read = true, write = true, nonsecure = true;
};

Outcome tegra_smmu(Memory& memory, const TegraSmmuTables& tables, Iova iova, Access access);

}  // namespace softiommu::walk
