// SPDX-License-Identifier: BSD-3-Clause
// Exynos System MMU descriptors, 32-bit words: v1 to v3, and v5 on with 36-bit addresses. Public facts are those of
// Samsung's and Linux's drivers.
//
// v5 stores physical addresses shifted right by 4, so that bits 35:10 fit beside the type, and has a bit for reading
// and one for writing. Earlier versions have Arm's pair AP and APX: access at all, and read only.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw {

// clang-format off

namespace exynos_paging {
// Of the first level, bits 1:0: 0 and 3 fault.
inline constexpr std::uint64_t kTypeTable = 1, kTypeSection = 2;
// Of the second level: 0 faults.
inline constexpr std::uint64_t kTypeLarge = 1, kTypeSmall = 2;
}  // namespace exynos_paging

namespace exynos_v1 {

inline constexpr Layout kTable{"exynos_v1.table", "SysMMU 1-3 first level", {
    {"TYPE", 1, 0,   "1: second-level table"},
    {"ADDR", 31, 10, "second-level table, 1 KiB"},
}};

inline constexpr Layout kSection{"exynos_v1.section", "SysMMU 1-3 first level", {
    {"TYPE", 1, 0,   "2: section of 1 MiB"},
    {"AP",   10, 10, "access is allowed"},
    {"APX",  15, 15, "with AP: only reading is"},
    {"ADDR", 31, 20, "section"},
}};

inline constexpr Layout kLargePage{"exynos_v1.large_page", "SysMMU 1-3 second level", {
    {"TYPE", 1, 0,   "1: large page of 64 KiB, in 16 entries"},
    {"AP",   4, 4,   "access is allowed"},
    {"APX",  9, 9,   "with AP: only reading is"},
    {"ADDR", 31, 16, "page"},
}};

inline constexpr Layout kSmallPage{"exynos_v1.small_page", "SysMMU 1-3 second level", {
    {"TYPE", 1, 0,   "2 or 3: small page of 4 KiB"},
    {"AP",   4, 4,   "access is allowed"},
    {"APX",  9, 9,   "with AP: only reading is"},
    {"ADDR", 31, 12, "page"},
}};

}  // namespace exynos_v1

namespace exynos_v5 {

// Addresses of these layouts are physical addresses shifted right by this.
inline constexpr unsigned kAddressShift = 4;

inline constexpr Layout kTable{"exynos_v5.table", "SysMMU 5 first level", {
    {"TYPE", 1, 0,  "1: second-level table"},
    {"ADDR", 31, 6, "second-level table, bits 35:10"},
}};

inline constexpr Layout kSection{"exynos_v5.section", "SysMMU 5 first level", {
    {"TYPE",  1, 0,   "2: section of 1 MiB"},
    {"READ",  4, 4,   "may be read"},
    {"WRITE", 5, 5,   "may be written"},
    {"SHARE", 6, 6,   "accesses are shareable"},
    {"ADDR",  31, 16, "section, bits 35:20"},
}};

inline constexpr Layout kLargePage{"exynos_v5.large_page", "SysMMU 5 second level", {
    {"TYPE",  1, 0,   "1: large page of 64 KiB, in 16 entries"},
    {"READ",  2, 2,   "may be read"},
    {"WRITE", 3, 3,   "may be written"},
    {"SHARE", 4, 4,   "accesses are shareable"},
    {"ADDR",  31, 12, "page, bits 35:16"},
}};

inline constexpr Layout kSmallPage{"exynos_v5.small_page", "SysMMU 5 second level", {
    {"TYPE",  1, 0,  "2: small page of 4 KiB"},
    {"READ",  2, 2,  "may be read"},
    {"WRITE", 3, 3,  "may be written"},
    {"SHARE", 4, 4,  "accesses are shareable"},
    {"ADDR",  31, 8, "page, bits 35:12"},
}};

}  // namespace exynos_v5

// clang-format on

}  // namespace softiommu::hw
