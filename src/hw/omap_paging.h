// SPDX-License-Identifier: BSD-3-Clause
// OMAP MMU descriptors (TI TRMs, "System MMU": first- and second-level descriptor format), 32-bit words.
//
// The tables are shaped like ARMv7's short descriptors but hold no access rights: where those would stand, E, ES and M
// say how bytes are swapped between master and memory. A supersection or a large page stands in 16 neighbouring
// entries.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::omap_paging {

// clang-format off

// Of the first level, bits 1:0: 0 and 3 fault.
inline constexpr std::uint64_t kTypeTable = 1, kTypeSection = 2;
// Of the second level: 0 faults; bit 0 beside a small page is not looked at.
inline constexpr std::uint64_t kTypeLarge = 1, kTypeSmall = 2;
// ES, the element size that is swapped.
inline constexpr std::uint64_t kElement8 = 0, kElement16 = 1, kElement32 = 2, kElementNone = 3;

inline constexpr Layout kTable{"omap.table", "TRM first-level descriptor", {
    {"TYPE", 1, 0,   "1: second-level table"},
    {"ADDR", 31, 10, "second-level table, 1 KiB"},
}};

inline constexpr Layout kSection{"omap.section", "TRM first-level descriptor", {
    {"TYPE",  1, 0,   "2: section"},
    {"ES",    11, 10, "element size: 0 8-bit, 1 16-bit, 2 32-bit, 3 no conversion"},
    {"E",     15, 15, "big-endian (locked on little-endian in later chips)"},
    {"M",     17, 17, "mixed region: endianness comes with the access, not from the page"},
    {"SUPER", 18, 18, "0: section of 1 MiB"},
    {"ADDR",  31, 20, "section"},
}};

inline constexpr Layout kSupersection{"omap.supersection", "TRM first-level descriptor", {
    {"TYPE",  1, 0,   "2: section"},
    {"ES",    11, 10, "as in a section"},
    {"E",     15, 15, "as in a section"},
    {"M",     17, 17, "as in a section"},
    {"SUPER", 18, 18, "1: supersection of 16 MiB, in 16 entries"},
    {"ADDR",  31, 24, "supersection"},
}};

inline constexpr Layout kLargePage{"omap.large_page", "TRM second-level descriptor", {
    {"TYPE", 1, 0,   "1: large page of 64 KiB, in 16 entries"},
    {"ES",   5, 4,   "as in a section"},
    {"E",    9, 9,   "as in a section"},
    {"M",    11, 11, "as in a section"},
    {"ADDR", 31, 16, "page"},
}};

inline constexpr Layout kSmallPage{"omap.small_page", "TRM second-level descriptor", {
    {"TYPE", 1, 0,   "2 or 3: small page of 4 KiB"},
    {"ES",   5, 4,   "as in a section"},
    {"E",    9, 9,   "as in a section"},
    {"M",    11, 11, "as in a section"},
    {"ADDR", 31, 12, "page"},
}};

// clang-format on

}  // namespace softiommu::hw::omap_paging
