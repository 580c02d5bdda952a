// SPDX-License-Identifier: BSD-3-Clause
// The look-up in the entries of a Tegra20 GART, which are registers and not memory.
#pragma once

#include <span>

#include "machine/iommu/walk/walk.h"

namespace softiommu::walk {

struct TegraGartEntries {
  std::span<const std::uint32_t> words;  // as ENTRY_DATA has them
  Iova window{};
};

// A failure's `entry` is the offset of the word, as there is no memory to point to.
Outcome tegra_gart(const TegraGartEntries& entries, Iova iova, Access access);

}  // namespace softiommu::walk
