// SPDX-License-Identifier: BSD-3-Clause
// z/Architecture region, segment and page tables (Principles of Operation ch. 3, dynamic address translation), which
// zPCI functions translate through. Words are big-endian; the manual counts bits from the left, here from the right.
//
// Region and segment tables have 2048 entries (16 KiB), page tables 256 (2 KiB). An entry is in use unless its I bit
// is set, so empty ones are not 0. TT says which table an entry stands in, and TF and TL in which quarters of the next
// table entries exist.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::s390_paging {

inline constexpr std::uint64_t kTypeSegment = 0, kTypeRegionThird = 1, kTypeRegionSecond = 2, kTypeRegionFirst = 3;
inline constexpr std::uint64_t kWholeTable = 3;  // TL: all four quarters

// clang-format off

inline constexpr Layout kRegionEntry{"s390.region_entry", "z/Arch PoP 3, region-table entries", {
    {"TL",   1, 0,   "last quarter of the next table that has entries"},
    {"TT",   3, 2,   "3: region first, 2: second, 1: third"},
    {"I",    5, 5,   "invalid"},
    {"TF",   7, 6,   "first quarter of the next table that has entries"},
    {"P",    9, 9,   "protected: no stores below"},
    {"ADDR", 63, 12, "next table"},
}};

inline constexpr Layout kSegmentEntry{"s390.segment_entry", "z/Arch PoP 3, segment-table entries", {
    {"TT",   3, 2,   "0"},
    {"CS",   4, 4,   "common segment"},
    {"I",    5, 5,   "invalid"},
    {"P",    9, 9,   "protected: no stores below"},
    {"FC",   10, 10, "format control: this entry maps 1 MiB"},
    {"ADDR", 63, 11, "page table"},
}};

inline constexpr Layout kPageEntry{"s390.page_entry", "z/Arch PoP 3, page-table entries", {
    {"SW",   7, 0,   "ignored by hardware, free for software"},
    {"IEP",  8, 8,   "no instruction is fetched from the page"},
    {"P",    9, 9,   "protected: no stores"},
    {"I",    10, 10, "invalid"},
    {"ADDR", 63, 12, "the page"},
}};

// clang-format on

}  // namespace softiommu::hw::s390_paging
