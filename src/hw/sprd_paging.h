// SPDX-License-Identifier: BSD-3-Clause
// Spreadtrum (Unisoc) IOMMU: one flat table of page numbers for a window of IOVAs (the Linux driver).
//
// A word has nothing but the page number: no valid bit, so number 0 says "nothing is here", and no rights. Accesses
// that find nothing go to the page of the register DEFAULT_PPN.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::sprd_paging {

// clang-format off

inline constexpr Layout kEntry{"sprd.entry", "sprd IOMMU page table", {
    {"PPN", 19, 0, "page number; 0: none"},
}};

// clang-format on

}  // namespace softiommu::hw::sprd_paging
