// SPDX-License-Identifier: BSD-3-Clause
// Arm short descriptors (ARMv7 ARM B3.5), and how MediaTek's IOMMUs stretch their addresses.
//
// Two levels of 32-bit words: the first has tables, 1 MiB sections and 16 MiB supersections, the second 64 KiB large
// and 4 KiB small pages. Supersections and large pages stand in 16 neighbouring entries, all alike. A large page keeps
// XN and TEX in address bits that it does not need, as bit 0 is part of its type.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::arm_v7s {

// clang-format off

inline constexpr std::uint64_t kTypeFault = 0;
inline constexpr std::uint64_t kTypeTable = 1, kTypeSection = 2, kTypeSectionPxn = 3;   // first level
inline constexpr std::uint64_t kTypeLarge = 1, kTypeSmall = 2, kTypeSmallXn = 3;        // second level
inline constexpr unsigned kSmallLg2 = 12, kLargeLg2 = 16, kSectionLg2 = 20, kSupersectionLg2 = 24;

inline constexpr Layout kTable{"arm_v7s.table", "ARMv7 ARM B3.5.1", {
    {"TYPE",   1, 0,   "1: second-level table"},
    {"PXN",    2, 2,   "no privileged execution below"},
    {"NS",     3, 3,   "non-secure below"},
    {"DOMAIN", 8, 5,   "not used by IOMMUs"},
    {"ADDR",   31, 10, "second-level table, 1 KiB"},
}};

// AP[2:1]: 0 privileged only, 1 read and write, 2 privileged and read only, 3 read only. AP[0]: 1 without access flags.
inline constexpr Layout kSection{"arm_v7s.section", "ARMv7 ARM B3.5.1", {
    {"TYPE",   1, 0,   "2: section (3: and no privileged execution)"},
    {"B",      2, 2,   "memory type, with C and TEX"},
    {"C",      3, 3,   "memory type"},
    {"XN",     4, 4,   "no execution"},
    {"DOMAIN", 8, 5,   "not used by IOMMUs"},
    {"AP0",    10, 10, "access flag"},
    {"AP1",    11, 11, "unprivileged access is allowed"},
    {"TEX",    14, 12, "memory type"},
    {"AP2",    15, 15, "read only"},
    {"S",      16, 16, "shareable"},
    {"nG",     17, 17, "not global: tagged with the ASID"},
    {"SUPER",  18, 18, "supersection"},
    {"NS",     19, 19, "non-secure output"},
    {"ADDR",   31, 20, "the section"},
}};

// The rest is as in a section.
inline constexpr Layout kSupersection{"arm_v7s.supersection", "ARMv7 ARM B3.5.1", {
    {"PA39_36", 8, 5,   "address bits 39:36, where hardware has 40"},
    {"SUPER",   18, 18, "1"},
    {"PA35_32", 23, 20, "address bits 35:32"},
    {"ADDR",    31, 24, "the supersection"},
}};

inline constexpr Layout kSmall{"arm_v7s.small_page", "ARMv7 ARM B3.5.1", {
    {"XN",   0, 0,   "no execution"},
    {"TYPE", 1, 1,   "1: small page"},
    {"B",    2, 2,   "memory type, with C and TEX"},
    {"C",    3, 3,   "memory type"},
    {"AP0",  4, 4,   "access flag"},
    {"AP1",  5, 5,   "unprivileged access is allowed"},
    {"TEX",  8, 6,   "memory type"},
    {"AP2",  9, 9,   "read only"},
    {"S",    10, 10, "shareable"},
    {"nG",   11, 11, "not global: tagged with the ASID"},
    {"ADDR", 31, 12, "the page"},
}};

inline constexpr Layout kLarge{"arm_v7s.large_page", "ARMv7 ARM B3.5.1", {
    {"TYPE", 1, 0,   "1: large page"},
    {"B",    2, 2,   "memory type, with C and TEX"},
    {"C",    3, 3,   "memory type"},
    {"AP0",  4, 4,   "access flag"},
    {"AP1",  5, 5,   "unprivileged access is allowed"},
    {"AP2",  9, 9,   "read only"},
    {"S",    10, 10, "shareable"},
    {"nG",   11, 11, "not global: tagged with the ASID"},
    {"TEX",  14, 12, "memory type"},
    {"XN",   15, 15, "no execution"},
    {"ADDR", 31, 16, "the page"},
}};

// In every entry, tables included; the bits mean something else (or nothing) without the extension, which therefore has
// no access rights.
inline constexpr Layout kMediaTek{"arm_v7s.mediatek", "MediaTek M4U", {
    {"PA33", 4, 4, "address bit 33"},
    {"PA34", 5, 5, "address bit 34"},
    {"PA32", 9, 9, "address bit 32"},
}};

// clang-format on

}  // namespace softiommu::hw::arm_v7s
