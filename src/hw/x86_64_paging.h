// SPDX-License-Identifier: BSD-3-Clause
// x86-64 paging entries, four and five levels (Intel SDM 3A 4.5; VT-d first stage, 9.7; AMD IOMMU guest tables).
//
// Rights are the intersection of all levels, so tables allow everything and leaves decide.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::x86_64_paging {

// clang-format off

inline constexpr Layout kEntry{"x86_64.entry", "SDM 3A 4.5", {
    {"P",    0, 0,   "present: may be read"},
    {"RW",   1, 1,   "may be written"},
    {"US",   2, 2,   "user accesses are allowed; every request of a device without privilege is one"},
    {"PWT",  3, 3,   "memory type selection"},
    {"PCD",  4, 4,   "memory type selection"},
    {"A",    5, 5,   "set by hardware on first use"},
    {"D",    6, 6,   "set by hardware on first write; leaves"},
    {"PS",   7, 7,   "this entry maps a large page; levels above the lowest"},
    {"G",    8, 8,   "global; leaves"},
    {"ADDR", 51, 12, "next table, or the page"},
    {"XD",   63, 63, "execution is not allowed"},
}};

// clang-format on

}  // namespace softiommu::hw::x86_64_paging
