// SPDX-License-Identifier: BSD-3-Clause
// Registers of one Rockchip MMU (Rockchip TRMs, "MMU"; the same block is in Arm Mali-400 GPUs). An IOMMU has up to four
// of them side by side, all for one set of tables. The tables are in rockchip_paging.h.
//
// Everything is done by commands whose effect shows in STATUS; DTE_ADDR takes writes only while paging is off or
// stalled, and reads as 0 after a reset, which is how software sees that one has ended.
#pragma once

#include "base/types.h"
#include "hw/layout.h"
#include "hw/rockchip_paging.h"

namespace softiommu::hw::rockchip_mmu {

// clang-format off

inline constexpr std::uint64_t kRegisterBytes = 0x100;  // of one MMU
inline constexpr std::uint64_t kMostMmus = 4;

enum class Command : std::uint8_t {
  enable_paging = 0, disable_paging = 1, enable_stall = 2, disable_stall = 3, zap_cache = 4, page_fault_done = 5,
  force_reset = 6,
};

inline constexpr Register kDteAddr{0x00, 4, RegisterAccess::rw, 0, Layout{"rockchip_mmu.dte_addr", "TRM MMU_DTE_ADDR", {
    {"ADDR39_36", 7, 4,   "v2: page directory, bits 39:36; v1: not there"},
    {"ADDR35_32", 11, 8,  "v2: page directory, bits 35:32; v1: not there"},
    {"ADDR",      31, 12, "page directory, bits 31:12"},
}}};
inline constexpr Register kStatus{0x04, 4, RegisterAccess::ro, 0x8000'0018,
                                  Layout{"rockchip_mmu.status", "TRM MMU_STATUS", {
    {"PAGING_ENABLED",      0, 0,   "addresses are translated"},
    {"PAGE_FAULT_ACTIVE",   1, 1,   "the MMU waits for PAGE_FAULT_DONE; it serves nobody"},
    {"STALL_ACTIVE",        2, 2,   "requests wait"},
    {"IDLE",                3, 3,   "no request is in work"},
    {"REPLAY_BUFFER_EMPTY", 4, 4,   "nothing is to be repeated"},
    {"PAGE_FAULT_IS_WRITE", 5, 5,   "the request that faulted last was a write"},
    {"STALL_NOT_ACTIVE",    31, 31, "requests do not wait"},
}}};
inline constexpr Register kCommand{0x08, 4, RegisterAccess::wo, 0, Layout{"rockchip_mmu.command", "TRM MMU_COMMAND", {
    {"CMD", 2, 0, "0 paging on, 1 off, 2 stall, 3 go on, 4 zap the cache, 5 page fault done, 6 reset"},
}}};
inline constexpr Register kPageFaultAddr{0x0c, 4, RegisterAccess::ro, 0,
                                         Layout{"rockchip_mmu.page_fault_addr", "TRM MMU_PAGE_FAULT_ADDR", {
    {"ADDR", 31, 0, "of the request that faulted last"},
}}};
inline constexpr Register kZapOneLine{0x10, 4, RegisterAccess::wo, 0,
                                      Layout{"rockchip_mmu.zap_one_line", "TRM MMU_ZAP_ONE_LINE", {
    {"ADDR", 31, 0, "the cache line that holds its entry is forgotten"},
}}};
inline constexpr Register kIntRawstat{0x14, 4, RegisterAccess::ro, 0,
                                      Layout{"rockchip_mmu.int_rawstat", "TRM MMU_INT_RAWSTAT", {
    {"PAGE_FAULT", 0, 0, "no valid entry, or none that allows the access"},
    {"BUS_ERROR",  1, 1, "the bus refused to read a table"},
}}};
inline constexpr Register kIntClear{0x18, 4, RegisterAccess::wo, 0,
                                    Layout{"rockchip_mmu.int_clear", "TRM MMU_INT_CLEAR", {
    {"PAGE_FAULT", 0, 0, "clear it"},
    {"BUS_ERROR",  1, 1, "clear it"},
}}};
inline constexpr Register kIntMask{0x1c, 4, RegisterAccess::rw, 0, Layout{"rockchip_mmu.int_mask", "TRM MMU_INT_MASK", {
    {"PAGE_FAULT", 0, 0, "let it through"},
    {"BUS_ERROR",  1, 1, "let it through"},
}}};
inline constexpr Register kIntStatus{0x20, 4, RegisterAccess::ro, 0,
                                     Layout{"rockchip_mmu.int_status", "TRM MMU_INT_STATUS", {
    {"PAGE_FAULT", 0, 0, "raw status and mask"},
    {"BUS_ERROR",  1, 1, "raw status and mask"},
}}};
inline constexpr Register kAutoGating{0x24, 4, RegisterAccess::rw, 0x1,
                                      Layout{"rockchip_mmu.auto_gating", "TRM MMU_AUTO_GATING", {
    {"GATING",                       0, 0,   "clocks stop while nothing is to do"},
    {"DISABLE_FETCH_DTE_TIME_LIMIT", 31, 31, "wait for a directory entry as long as it takes"},
}}};

// clang-format on

// A page directory as DTE_ADDR wants it: the address pieces of a directory entry.
constexpr std::uint32_t dte_addr(PhysAddr directory, bool wide) {
  return static_cast<std::uint32_t>(wide ? rockchip_v2::put_address(directory)
                                         : kDteAddr["ADDR"].in_place(directory.value));
}

}  // namespace softiommu::hw::rockchip_mmu
