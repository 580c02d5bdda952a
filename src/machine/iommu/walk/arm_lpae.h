// SPDX-License-Identifier: BSD-3-Clause
// The walk of Arm long-descriptor tables (Arm ARM D8, ARMv7 ARM B3.6): stage 1, stage 2, or stage 1 whose tables and
// output go through stage 2. All granules, 52-bit addresses, both halves, contiguous sets, access flag and dirty state.
//
// Accesses are those of devices: unprivileged, and data.
#pragma once

#include "machine/iommu/walk/walk.h"

namespace softiommu {
class Memory;
}

namespace softiommu::walk {

// One stage, as hardware has read it from its registers or descriptors.
struct ArmStage {
  PhysAddr table{};
  unsigned granule_lg2 = 12;
  unsigned input_bits = 0;  // 64 - TxSZ; 0: no address is translated
  unsigned output_bits = 48;
  int start_level = 0;            // Arm's number, -1 to 3. Later than input_bits need: the root is concatenated tables
  bool large_addresses = false;   // DS: 52-bit addresses with the 4 and 16 KiB granules
  bool upper_half = false;        // TTBR1
  bool top_byte_ignored = false;  // TBI
  bool ignore_access_flag = false;
  bool set_access_flag = false, set_dirty = false;  // HA, HD
  friend bool operator==(const ArmStage&, const ArmStage&) = default;
};

// Where a walk of `input_bits` starts if the root is not concatenated.
constexpr int arm_start_level(unsigned input_bits, unsigned granule_lg2) {
  const unsigned per_level = granule_lg2 - 3;
  return 4 - static_cast<int>((input_bits - granule_lg2 + per_level - 1) / per_level);
}

// At least one of them; nullptr: there is no such stage.
struct ArmStages {
  const ArmStage* stage1 = nullptr;
  const ArmStage* stage2 = nullptr;
};

Outcome arm_lpae(Memory& memory, const ArmStages& stages, Iova iova, Access access);

}  // namespace softiommu::walk
