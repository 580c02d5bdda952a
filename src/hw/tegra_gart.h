// SPDX-License-Identifier: BSD-3-Clause
// Tegra20 GART (Tegra20 TRM, memory controller registers): a window of 32 MiB whose pages are remapped one by one.
//
// The table is no memory: ENTRY_ADDR chooses an entry by the address of its page, ENTRY_DATA reads or writes it.
// Offsets are those in the memory controller. There are no rights, and no invalidation: entries count at once, that is
// when they have arrived, which software knows after it has read a register back.
// All masters share the window, and reach all memory outside of it. What the memory controller can do to one of them is
// to let none of its requests pass (CLIENT_CTRL).
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::tegra_gart {

// clang-format off

inline constexpr Register kConfig{0x24, 4, RegisterAccess::rw, 0,
                                  Layout{"tegra_gart.config", "Tegra20 TRM GART_CONFIG", {
    {"ENABLE", 0, 0, "the window is remapped; else it is out of bounds"},
}}};

inline constexpr Register kEntryAddr{0x28, 4, RegisterAccess::rw, 0,
                                     Layout{"tegra_gart.entry_addr", "Tegra20 TRM GART_ENTRY_ADDR", {
    {"TABLE_ADDR", 24, 12, "which page of the window"},
}}};

inline constexpr Register kEntryData{0x2c, 4, RegisterAccess::rw, 0,
                                     Layout{"tegra_gart.entry_data", "Tegra20 TRM GART_ENTRY_DATA", {
    {"PHYS_ADDR",       30, 12, "page"},
    {"PHYS_ADDR_VALID", 31, 31, "there is a page"},
}}};

inline constexpr Register kIntStatus{0x00, 4, RegisterAccess::w1c, 0,
                                     Layout{"tegra_gart.int_status", "Tegra20 TRM MC_INTSTATUS", {
    {"INVALID_GART_PAGE", 7, 7, "a request to a page of the window that is not there"},
}}};

inline constexpr Register kIntMask{0x04, 4, RegisterAccess::rw, 0,
                                   Layout{"tegra_gart.int_mask", "Tegra20 TRM MC_INTMASK", {
    {"INVALID_GART_PAGE", 7, 7, "let it through"},
}}};

inline constexpr Register kErrorReq{0x30, 4, RegisterAccess::ro, 0,
                                    Layout{"tegra_gart.error_req", "Tegra20 TRM MC_GART_ERROR_REQ", {
    {"WRITE",  0, 0, "it was a write"},
    {"CLIENT", 6, 1, "who sent it"},
}}};

inline constexpr Register kErrorAddr{0x34, 4, RegisterAccess::ro, 0,
                                     Layout{"tegra_gart.error_addr", "Tegra20 TRM MC_GART_ERROR_ADDR", {
    {"ADDR", 31, 0, "of that request"},
}}};

inline constexpr Register kClientCtrl{0x100, 4, RegisterAccess::rw, 0xffff'ffff,
                                      Layout{"tegra_gart.client_ctrl", "Tegra20 TRM MC_CLIENT_CTRL", {
    {"ENABLE", 31, 0, "bit n: requests of client n pass"},
}}};

inline constexpr Register kClientCtrlHigh{0x108, 4, RegisterAccess::rw, 0xffff'ffff,
                                          Layout{"tegra_gart.client_ctrl_high", "not in the chip (15 clients)", {
    {"ENABLE", 31, 0, "bit n: requests of client 32 + n pass"},
}}};

// clang-format on

inline constexpr std::uint64_t kRegisterBytes = 0x200;
inline constexpr std::uint64_t kWindow = 0x5800'0000, kWindowBytes = 32 << 20;
inline constexpr unsigned kEntries = 8192, kClients = 64;

}  // namespace softiommu::hw::tegra_gart
