// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/tegra_gart.h"

#include "hw/tegra_gart.h"

namespace softiommu::walk {

namespace {
constexpr unsigned kPageLg2 = 12;
}

// Nothing in an entry forbids anything.
Outcome tegra_gart(const TegraGartEntries& entries, Iova iova, Access /*access*/) {
  using hw::tegra_gart::kEntryData;
  const std::uint64_t index = (iova.value - entries.window.value) >> kPageLg2;  // wraps far out below the window
  if (index >= entries.words.size()) return std::unexpected(Failure{.fault = Fault::input_range});
  const std::uint32_t word = entries.words[index];
  if (!kEntryData["PHYS_ADDR_VALID"].is_set(word))
    return std::unexpected(Failure{.entry = PhysAddr{index * sizeof word}, .word = word});
  return Page{PhysAddr{kEntryData["PHYS_ADDR"].in_place(word)}, kPageLg2, true, true, false};
}

}  // namespace softiommu::walk
