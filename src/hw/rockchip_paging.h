// SPDX-License-Identifier: BSD-3-Clause
// Rockchip IOMMU entries (Rockchip TRMs, "MMU": DTE and PTE), 32-bit words: v1, and v2 with 40-bit addresses.
//
// v2 has no more bits than v1, so it takes those that held reserved bits and cache hints: address bits 35:32 stand in
// 11:8 and 39:36 in 7:4, both in directory and page entries.
#pragma once

#include "base/types.h"
#include "hw/layout.h"

namespace softiommu::hw {

// clang-format off

namespace rockchip_v1 {

inline constexpr Layout kDte{"rockchip_v1.dte", "TRM MMU DTE", {
    {"VALID", 0, 0,   "there is a page table"},
    {"ADDR",  31, 12, "page table, 4 KiB"},
}};

inline constexpr Layout kPte{"rockchip_v1.pte", "TRM MMU PTE", {
    {"VALID",      0, 0,   "there is a page"},
    {"READ",       1, 1,   "may be read"},
    {"WRITE",      2, 2,   "may be written"},
    {"OVERRIDE",   3, 3,   "the cache bits below replace the bus's defaults"},
    {"WCACHE",     4, 4,   "writes may be merged"},
    {"WALLOC",     5, 5,   "allocate on write misses"},
    {"WBUFFER",    6, 6,   "writes may be delayed"},
    {"RCACHE",     7, 7,   "reads may be cached and prefetched"},
    {"RALLOC",     8, 8,   "allocate on read misses"},
    {"ADDR",       31, 12, "page"},
}};

}  // namespace rockchip_v1

namespace rockchip_v2 {

inline constexpr Layout kDte{"rockchip_v2.dte", "TRM MMU DTE", {
    {"VALID",     0, 0,   "there is a page table"},
    {"ADDR39_36", 7, 4,   "page table, bits 39:36"},
    {"ADDR35_32", 11, 8,  "page table, bits 35:32"},
    {"ADDR",      31, 12, "page table, bits 31:12"},
}};

inline constexpr Layout kPte{"rockchip_v2.pte", "TRM MMU PTE", {
    {"VALID",     0, 0,   "there is a page"},
    {"READ",      1, 1,   "may be read"},
    {"WRITE",     2, 2,   "may be written"},
    {"SECURE",    3, 3,   "security state"},
    {"ADDR39_36", 7, 4,   "page, bits 39:36"},
    {"ADDR35_32", 11, 8,  "page, bits 35:32"},
    {"ADDR",      31, 12, "page, bits 31:12"},
}};

// The three pieces stand at the same places in both words. An address has 40 bits.
constexpr std::uint64_t put_address(PhysAddr pa) {
  return kPte["ADDR"].in_place(pa.value) | kPte["ADDR35_32"].put(pa.value >> 32 & kPte["ADDR35_32"].max()) |
         kPte["ADDR39_36"].put(pa.value >> 36 & kPte["ADDR39_36"].max());
}
constexpr PhysAddr get_address(std::uint64_t word) {
  return PhysAddr{kPte["ADDR"].in_place(word) | kPte["ADDR35_32"].get(word) << 32 | kPte["ADDR39_36"].get(word) << 36};
}

}  // namespace rockchip_v2

// clang-format on

}  // namespace softiommu::hw
