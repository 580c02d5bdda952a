// SPDX-License-Identifier: BSD-3-Clause
// Which bits of configuration space a program reads from hardware, writes to hardware, or only believes it writes.
//
// One table of rows for the header and each capability, as vfio-pci has them: `virt` bits live in a copy that the
// program sees instead of the hardware, `write` bits can be written (to the copy where they are virtual). Bytes outside
// of every known structure go straight to the hardware: some devices keep registers there.
#pragma once

#include <cstdint>
#include <span>

namespace softiommu::vfio {

struct ConfigRule {
  std::uint16_t offset;  // from the start of the structure
  std::uint8_t bytes;    // 1, 2 or 4
  std::uint32_t virt;
  std::uint32_t write;
};

// One structure: the header, a capability, an extended capability.
struct ConfigStructure {
  std::uint16_t id;
  std::uint16_t bytes;      // 0: its length stands in the structure itself
  bool raw_writes = false;  // what no rule names is written straight through (vendor-specific structures)
  std::span<const ConfigRule> rules = {};
};

const ConfigStructure& header_structure();
// nullptr: programs do not see this capability; it is taken out of the list.
const ConfigStructure* find_capability_structure(std::uint8_t id);
const ConfigStructure* find_extended_structure(std::uint16_t id);
// An MSI capability looks different with 64-bit addresses and with masks: both stand in its control word.
ConfigStructure msi_structure(std::uint16_t control);

}  // namespace softiommu::vfio
