// SPDX-License-Identifier: BSD-3-Clause
// AMD IOMMU host page-table entries, "v1" (48882 2.2.3): one to six levels, 64-bit input.
//
// NEXT tells table from page: 1 to 6 is the level of the table that the entry points to (it may skip levels), 0 a page
// of the level's own size, 7 a page whose size is coded in the low bits of its address: as many ones from bit 12
// upwards as make the lowest zero stand at bit (size - 1). A page that is larger than the span of one entry stands in
// all entries that it spans, each the same word.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::amd_v1 {

inline constexpr std::uint64_t kNextDefaultSize = 0, kNextCodedSize = 7;

// clang-format off

inline constexpr Layout kTable{"amd_v1.table", "AMD 48882 2.2.3", {
    {"PR",   0, 0,   "present"},
    {"A",    5, 5,   "set by hardware on first use"},
    {"NEXT", 11, 9,  "level of the next table"},
    {"ADDR", 51, 12, "next table"},
    {"IR",   61, 61, "reading is allowed below"},
    {"IW",   62, 62, "writing is allowed below"},
}};

inline constexpr Layout kLeaf{"amd_v1.leaf", "AMD 48882 2.2.3", {
    {"PR",   0, 0,   "present"},
    {"A",    5, 5,   "set by hardware on first use"},
    {"D",    6, 6,   "set by hardware on first write"},
    {"NEXT", 11, 9,  "0: the level's own page size, 7: coded in ADDR"},
    {"ADDR", 51, 12, "the page, and its size if NEXT is 7"},
    {"U",    59, 59, "device TLBs get the U attribute"},
    {"FC",   60, 60, "force coherent: snoop the CPU caches whatever the request says"},
    {"IR",   61, 61, "device may read"},
    {"IW",   62, 62, "device may write"},
}};

// Bits 4:1, 8:7 (of tables also 6) and 63 are ignored; these must be 0.
inline constexpr Field kTableReserved{"RSVD", 60, 52, "of tables"};
inline constexpr Field kLeafReserved{"RSVD", 58, 52, "of leaves"};

// clang-format on

}  // namespace softiommu::hw::amd_v1
