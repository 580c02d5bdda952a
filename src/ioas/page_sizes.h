// SPDX-License-Identifier: BSD-3-Clause
// Sets of page sizes as type1 reports them (bit n: pages of 2^n bytes).
#pragma once

#include <cstdint>

#include "base/types.h"

namespace softiommu {

// Sizes below the CPU's page cannot be used one by one: they are reported as the page itself.
constexpr std::uint64_t fold_small_pages(std::uint64_t sizes) {
  constexpr std::uint64_t small = kPageSize - 1;
  return (sizes & small) != 0 ? (sizes & ~small) | kPageSize : sizes;
}

}  // namespace softiommu
