// SPDX-License-Identifier: BSD-3-Clause
// Arm long descriptors: VMSAv8-64 (Arm ARM D8.3), and those of ARMv7 (B3.6), which are the same with 40 address bits.
//
// TYPE is read together with the level: 1 is a block (levels with blocks), 3 a table, and at the last level 3 is a
// page. With hardware dirty state a leaf with DBM is "writable, clean" while it forbids writing (stage 1: AP[2] set,
// stage 2: S2AP[1] clear), and "dirty" once hardware has allowed it.
//
// An address has 48 bits where the layouts of whole words show it. 52 bits are written in two ways, each in two pieces:
// kAddress64K (64 KiB granule) and kAddressLpa2 (4 and 16 KiB granules with DS), whose HIGH takes the place of SH.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::arm_lpae {

// clang-format off

inline constexpr std::uint64_t kTypeBlock = 1, kTypeTable = 3, kTypePage = 3;
inline constexpr std::uint64_t kInnerShareable = 3;
// Neighbouring leaves of one contiguous set (Arm ARM D8.7.1): at the last level and above it, by granule.
inline constexpr unsigned kContiguous4KLg2 = 4, kContiguous16KPagesLg2 = 7, kContiguous16KBlocksLg2 = 5,
                          kContiguous64KLg2 = 5;

inline constexpr Layout kTable{"arm_lpae.table", "Arm ARM D8.3.1", {
    {"TYPE", 1, 0,   "3: next table"},
    {"ADDR", 47, 12, "next table"},
    {"PXNTable", 59, 59, "stage 1: no privileged execution below"},
    {"XNTable",  60, 60, "stage 1: no execution below"},
    {"APTable",  62, 61, "stage 1: limits access below"},
    {"NSTable",  63, 63, "stage 1: non-secure below"},
}};

inline constexpr Layout kStage1{"arm_lpae.stage1_leaf", "Arm ARM D8.3.2", {
    {"TYPE",     1, 0,   "1: block, 3: page"},
    {"AttrIndx", 4, 2,   "which byte of MAIR holds the memory type"},
    {"NS",       5, 5,   "non-secure output"},
    {"AP1",      6, 6,   "unprivileged access is allowed"},
    {"AP2",      7, 7,   "read only (with DBM: writable, clean)"},
    {"SH",       9, 8,   "shareability: 0 none, 2 outer, 3 inner"},
    {"AF",       10, 10, "access flag: clear faults or is set by hardware"},
    {"nG",       11, 11, "not global: tagged with the ASID"},
    {"ADDR",     47, 12, "the page or block"},
    {"DBM",      51, 51, "dirty state is kept by hardware"},
    {"Contig",   52, 52, "one of a contiguous set"},
    {"PXN",      53, 53, "no privileged execution"},
    {"XN",       54, 54, "no (unprivileged) execution"},
}};

inline constexpr Layout kStage2{"arm_lpae.stage2_leaf", "Arm ARM D8.3.2", {
    {"TYPE",    1, 0,   "1: block, 3: page"},
    {"MemAttr", 5, 2,   "memory type; with S2FWB bit 4 is reserved and 6 forces write-back"},
    {"S2AP0",   6, 6,   "may be read"},
    {"S2AP1",   7, 7,   "may be written"},
    {"SH",      9, 8,   "shareability: 0 none, 2 outer, 3 inner"},
    {"AF",      10, 10, "access flag: clear faults or is set by hardware"},
    {"ADDR",    47, 12, "the page or block"},
    {"DBM",     51, 51, "dirty state is kept by hardware"},
    {"Contig",  52, 52, "one of a contiguous set"},
    {"XN",      54, 53, "2: no execution, 0: execution"},
}};

inline constexpr Layout kAddress64K{"arm_lpae.address_64k", "Arm ARM D8.3", {
    {"HIGH", 15, 12, "address bits 51:48; zero where addresses have 48 bits"},
    {"ADDR", 47, 16, "address bits 47:16"},
}};

inline constexpr Layout kAddressLpa2{"arm_lpae.address_lpa2", "Arm ARM D8.3", {
    {"HIGH", 9, 8,   "address bits 51:50"},
    {"ADDR", 49, 12, "address bits 49:12"},
}};

// clang-format on

}  // namespace softiommu::hw::arm_lpae
