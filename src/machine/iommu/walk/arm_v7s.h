// SPDX-License-Identifier: BSD-3-Clause
// The walk of Arm short-descriptor tables (ARMv7 ARM B3.5), and of MediaTek's wider ones.
//
// Accesses are those of devices: unprivileged, and data. Domains are not checked: IOMMUs have none.
#pragma once

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

struct ArmV7sTable {
  enum class Rights : std::uint8_t {
    full,         // AP[2:0]
    access_flag,  // AP[2:1]; AP[0] is the access flag (AFE)
    none,         // whatever is mapped may be read and written
  };

  PhysAddr root{};
  unsigned input_bits = 32;  // 32 - TTBCR.N, or MediaTek's 34
  unsigned output_bits = 32;
  Rights rights = Rights::full;
  // MediaTek: the leaf entries (and where table_addresses is set, those of tables too) hold address bits 34:32.
  bool mediatek = false, table_addresses = false;
};

Outcome arm_v7s(Memory& memory, const ArmV7sTable& table, Iova iova, Access access);

}  // namespace softiommu::walk
