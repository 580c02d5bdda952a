// SPDX-License-Identifier: BSD-3-Clause
// Intel VT-d second-stage table entries (VT-d 9.8). The same word at all levels; PS tells leaf from table.
//
// There is no present bit: an entry is present when R or W is set.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::vtd_second_stage {

// clang-format off

inline constexpr Layout kEntry{"vtd.ss_entry", "VT-d 9.8", {
    {"R",    0, 0,   "device may read"},
    {"W",    1, 1,   "device may write"},
    {"PS",   7, 7,   "this entry maps a large page; levels above the lowest"},
    {"A",    8, 8,   "set by hardware on first use"},
    {"D",    9, 9,   "set by hardware on first write; leaves"},
    {"SNP",  11, 11, "force snooping of the CPU caches; leaves"},
    {"ADDR", 51, 12, "next table, or the page"},
}};

// clang-format on

}  // namespace softiommu::hw::vtd_second_stage
