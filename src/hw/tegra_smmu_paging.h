// SPDX-License-Identifier: BSD-3-Clause
// Tegra SMMU entries, 32-bit words (Tegra K1 TRM 16.4.4, the Linux driver): Tegra30 to Tegra210.
//
// There is no valid bit: an entry without rights maps nothing. Page numbers are those of 4 KiB pages: 20 bits wide
// where physical addresses have 32 bits, 22 where they have 34. What a page may do, its directory entry must allow too.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::tegra_smmu_paging {

// clang-format off

inline constexpr Layout kPde{"tegra_smmu.pde", "Tegra K1 TRM 16.4.4.1", {
    {"PFN",       21, 0,  "page table; without NEXT the 4 MiB page, its lower 10 bits 0"},
    {"NEXT",      28, 28, "1: page table, 0: page of 4 MiB"},
    {"NONSECURE", 29, 29, "non-secure accesses are allowed"},
    {"WRITE",     30, 30, "may be written"},
    {"READ",      31, 31, "may be read"},
}};

inline constexpr Layout kPte{"tegra_smmu.pte", "Tegra K1 TRM 16.4.4.1", {
    {"PFN",       21, 0,  "page"},
    {"NONSECURE", 29, 29, "non-secure accesses are allowed"},
    {"WRITE",     30, 30, "may be written"},
    {"READ",      31, 31, "may be read"},
}};

// clang-format on

}  // namespace softiommu::hw::tegra_smmu_paging
