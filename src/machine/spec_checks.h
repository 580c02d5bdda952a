// SPDX-License-Identifier: BSD-3-Clause
// What a machine must keep as a whole, after each key of its file was right by itself: names and addresses are
// unique, buses exist and nest, devices sit where PCI allows, isolation sets do not mix IOMMUs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "machine/spec.h"

namespace softiommu {

// A key of the `index`-th entry of a section, and what is wrong with it and what would be right.
struct Complaint {
  enum class Section : std::uint8_t { memory, iommu, bridge, device, platform };
  Section section;
  std::size_t index;
  std::string_view key;
  std::string what;
};

// In the order of the rules: IOMMUs, then bridges, then devices, then platform devices, then what they make together.
std::optional<Complaint> first_fault(const MachineSpec& spec);

}  // namespace softiommu
