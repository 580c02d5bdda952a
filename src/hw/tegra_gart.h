// SPDX-License-Identifier: BSD-3-Clause
// Tegra20 GART (Tegra20 TRM, memory controller registers): a window of 32 MiB whose pages are remapped one by one.
//
// The table is no memory: ENTRY_ADDR chooses an entry by the address of its page, ENTRY_DATA reads or writes it.
// Offsets are those in the memory controller. There are no rights, and no invalidation: entries count at once.
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

// clang-format on

}  // namespace softiommu::hw::tegra_gart
