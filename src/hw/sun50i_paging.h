// SPDX-License-Identifier: BSD-3-Clause
// Allwinner H6 IOMMU entries, 32-bit words (H6 user manual, "IOMMU"; the Linux driver).
//
// A page entry holds no rights: ACI names one of 16 sets of them, which are registers.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::sun50i_paging {

// clang-format off

inline constexpr std::uint64_t kTypeTable = 1;

inline constexpr Layout kDte{"sun50i.dte", "H6 IOMMU level 1", {
    {"TYPE", 1, 0,   "1: page table; all else is invalid"},
    {"ADDR", 31, 10, "page table, 1 KiB"},
}};

inline constexpr Layout kPte{"sun50i.pte", "H6 IOMMU level 2", {
    {"VALID", 1, 1,   "there is a page"},
    {"ACI",   7, 4,   "authority control index: whose rights apply"},
    {"ADDR",  31, 12, "page"},
}};

// clang-format on

}  // namespace softiommu::hw::sun50i_paging
