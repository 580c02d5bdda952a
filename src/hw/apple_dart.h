// SPDX-License-Identifier: BSD-3-Clause
// Apple DART page-table entries, as public drivers know them; there is no manual.
//
// Version 1 (T8103, Thunderbolt) has 36-bit physical addresses where they stand; version 2 (T6000, T8110) stores
// physical addresses shifted right by four, so that 42 bits fit and pages are 16 KiB. Rights are what is NOT allowed.
// A leaf may also allow only a part of its page, SP_START..SP_END in units of a 4096th of it.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::apple_dart {

inline constexpr unsigned kAddressShift2 = 4;  // version 2: ADDR in place is the physical address >> 4
inline constexpr unsigned kMostRoots = 4;      // translation table base registers of a stream
inline constexpr unsigned kSubPageLg2 = 12;    // a page has 2^12 units
inline constexpr std::uint64_t kSubPageLast = 0xfff;

// clang-format off

inline constexpr Layout kTable1{"dart1.table", "apple-dart", {
    {"VALID", 0, 0,   "valid"},
    {"ADDR",  35, 12, "next table"},
}};

inline constexpr Layout kLeaf1{"dart1.leaf", "apple-dart", {
    {"VALID",    0, 0,   "valid"},
    {"SP_DIS",   1, 1,   "the sub-page limits are not looked at"},
    {"NO_WRITE", 7, 7,   "device may not write"},
    {"NO_READ",  8, 8,   "device may not read"},
    {"ADDR",     35, 12, "the page"},
    {"SP_END",   51, 40, "last unit that may be accessed"},
    {"SP_START", 63, 52, "first unit that may be accessed"},
}};

inline constexpr Layout kTable2{"dart2.table", "apple-dart", {
    {"VALID", 0, 0,   "valid"},
    {"ADDR",  37, 10, "next table >> 4"},
}};

inline constexpr Layout kLeaf2{"dart2.leaf", "apple-dart", {
    {"VALID",    0, 0,   "valid"},
    {"NO_CACHE", 1, 1,   "accesses do not snoop the CPU caches"},
    {"NO_WRITE", 2, 2,   "device may not write"},
    {"NO_READ",  3, 3,   "device may not read"},
    {"ADDR",     37, 10, "the page >> 4"},
    {"SP_END",   51, 40, "last unit that may be accessed"},
    {"SP_START", 63, 52, "first unit that may be accessed"},
}};

// clang-format on

}  // namespace softiommu::hw::apple_dart
