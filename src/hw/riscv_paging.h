// SPDX-License-Identifier: BSD-3-Clause
// RISC-V paging entries, Sv39, Sv48 and Sv57 (privileged architecture 12.4 to 12.6, Svnapot 13, Svpbmt 14), which the
// RISC-V IOMMU walks as first stage.
//
// An entry with none of R, W, X points to a table; A, D, U, N and PBMT are then reserved and must be 0. W without R is
// reserved. A 64 KiB page (N) stands in 16 entries, each the same word; the low four bits of PPN are then kNapot64K.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::riscv_paging {

inline constexpr std::uint64_t kNapot64K = 0b1000;  // the low bits of PPN: a page of 2^4 times 4 KiB
inline constexpr std::uint64_t kPbmtReserved = 3;

// clang-format off

inline constexpr Layout kEntry{"riscv.pte", "RISC-V privileged 12.4", {
    {"V",    0, 0,   "valid"},
    {"R",    1, 1,   "may be read"},
    {"W",    2, 2,   "may be written"},
    {"X",    3, 3,   "may be executed"},
    {"U",    4, 4,   "user accesses are allowed; every request of a device without privilege is one"},
    {"G",    5, 5,   "global: in all address spaces"},
    {"A",    6, 6,   "accessed: clear faults or is set by hardware"},
    {"D",    7, 7,   "dirty: clear faults on a write or is set by hardware"},
    {"RSW",  9, 8,   "ignored by hardware, free for software"},
    {"PPN",  53, 10, "page number of the next table or the page"},
    {"PBMT", 62, 61, "memory type: 0 the platform's, 1 NC (not cached, memory), 2 IO (not cached, ordered)"},
    {"N",    63, 63, "one of a naturally aligned power-of-two set of pages; lowest level"},
}};

// clang-format on

}  // namespace softiommu::hw::riscv_paging
