// SPDX-License-Identifier: BSD-3-Clause
// MediaTek M4U generation 1 (MT2701): one flat table of 2^20 words for 4 GiB (the Linux driver). No rights.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::mtk_v1_paging {

// clang-format off

inline constexpr Layout kEntry{"mtk_v1.entry", "MT2701 M4U page table", {
    {"VALID",     1, 1,   "there is a page"},
    {"NONSECURE", 3, 3,   "the page is non-secure memory"},
    {"ADDR",      31, 12, "page"},
}};

// clang-format on

}  // namespace softiommu::hw::mtk_v1_paging
