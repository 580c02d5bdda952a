// SPDX-License-Identifier: BSD-3-Clause
// Registers of one OMAP MMU (TI TRMs, "System MMU"; OMAP3 to DRA7). The tables are in omap_paging.h.
//
// The TLB can be written and read: CAM and RAM hold an entry, LOCK chooses its place. Entries below LOCK.BASE are not
// replaced by the hardware, and those with P survive a global flush.
#pragma once

#include "hw/layout.h"

namespace softiommu::hw::omap_mmu {

// clang-format off

inline constexpr std::uint64_t kRegisterBytes = 0x100;  // of one MMU
inline constexpr std::uint64_t kMostMmus = 4, kMostEntries = 32;
// CAM.PGSZ, as log2 of the page.
inline constexpr unsigned kPageLg2[] = {20, 16, 12, 24};

inline constexpr Register kRevision{0x00, 4, RegisterAccess::ro, 0x20, Layout{"omap_mmu.revision", "TRM MMU_REVISION", {
    {"MINOR", 3, 0, "minor revision"},
    {"MAJOR", 7, 4, "major revision"},
}}};
inline constexpr Register kSysconfig{0x10, 4, RegisterAccess::rw, 0, Layout{"omap_mmu.sysconfig", "TRM MMU_SYSCONFIG", {
    {"AUTOIDLE",  0, 0, "clocks stop while nothing is to do"},
    {"SOFTRESET", 1, 1, "reset; reads as 0"},
    {"IDLEMODE",  4, 3, "0 force idle, 1 no idle, 2 smart idle"},
}}};
inline constexpr Register kSysstatus{0x14, 4, RegisterAccess::ro, 0x1,
                                     Layout{"omap_mmu.sysstatus", "TRM MMU_SYSSTATUS", {
    {"RESETDONE", 0, 0, "the reset has ended"},
}}};
inline constexpr Register kIrqStatus{0x18, 4, RegisterAccess::w1c, 0,
                                     Layout{"omap_mmu.irqstatus", "TRM MMU_IRQSTATUS", {
    {"TLBMISS",          0, 0, "no entry, and there are no table walks"},
    {"TRANSLATIONFAULT", 1, 1, "the tables have no page there"},
    {"EMUMISS",          2, 2, "a debugger's access missed"},
    {"TABLEWALKFAULT",   3, 3, "the bus refused to read a table"},
    {"MULTIHITFAULT",    4, 4, "more than one entry matches"},
}}};
inline constexpr Register kIrqEnable{0x1c, 4, RegisterAccess::rw, 0, Layout{"omap_mmu.irqenable", "TRM MMU_IRQENABLE", {
    {"TLBMISS",          0, 0, "let it through"},
    {"TRANSLATIONFAULT", 1, 1, "let it through"},
    {"EMUMISS",          2, 2, "let it through"},
    {"TABLEWALKFAULT",   3, 3, "let it through"},
    {"MULTIHITFAULT",    4, 4, "let it through"},
}}};
inline constexpr Register kWalkingSt{0x40, 4, RegisterAccess::ro, 0,
                                     Layout{"omap_mmu.walking_st", "TRM MMU_WALKING_ST", {
    {"TWLRUNNING", 0, 0, "a table is being walked"},
}}};
inline constexpr Register kCntl{0x44, 4, RegisterAccess::rw, 0, Layout{"omap_mmu.cntl", "TRM MMU_CNTL", {
    {"MMUENABLE",    1, 1, "addresses are translated"},
    {"TWLENABLE",    2, 2, "tables are walked; else only what is in the TLB is served"},
    {"EMUTLBUPDATE", 3, 3, "a debugger's misses are walked"},
}}};
inline constexpr Register kFaultAd{0x48, 4, RegisterAccess::ro, 0, Layout{"omap_mmu.fault_ad", "TRM MMU_FAULT_AD", {
    {"ADDR", 31, 0, "of the request that faulted first since the status was clear"},
}}};
inline constexpr Register kTtb{0x4c, 4, RegisterAccess::rw, 0, Layout{"omap_mmu.ttb", "TRM MMU_TTB", {
    {"ADDR", 31, 14, "first-level table, 16 KiB"},
}}};
inline constexpr Register kLock{0x50, 4, RegisterAccess::rw, 0, Layout{"omap_mmu.lock", "TRM MMU_LOCK", {
    {"VICT", 8, 4,   "the entry that is read, loaded, or replaced next"},
    {"BASE", 14, 10, "hardware replaces no entry below"},
}}};
inline constexpr Register kLdTlb{0x54, 4, RegisterAccess::wo, 0, Layout{"omap_mmu.ld_tlb", "TRM MMU_LD_TLB", {
    {"LDTLBITEM", 0, 0, "the entry that LOCK.VICT chooses becomes CAM and RAM"},
}}};
inline constexpr Register kCam{0x58, 4, RegisterAccess::rw, 0, Layout{"omap_mmu.cam", "TRM MMU_CAM", {
    {"PAGESIZE", 1, 0,   "0: 1 MiB, 1: 64 KiB, 2: 4 KiB, 3: 16 MiB"},
    {"V",        2, 2,   "the entry is valid"},
    {"P",        3, 3,   "preserved: a global flush leaves it"},
    {"VATAG",    31, 12, "virtual page"},
}}};
inline constexpr Register kRam{0x5c, 4, RegisterAccess::rw, 0, Layout{"omap_mmu.ram", "TRM MMU_RAM", {
    {"MIXED",       6, 6,   "endianness comes with the access"},
    {"ELEMENTSIZE", 8, 7,   "0 8-bit, 1 16-bit, 2 32-bit, 3 no conversion"},
    {"ENDIANNESS",  9, 9,   "1: big-endian"},
    {"PHYSADDR",    31, 12, "physical page"},
}}};
inline constexpr Register kGflush{0x60, 4, RegisterAccess::wo, 0, Layout{"omap_mmu.gflush", "TRM MMU_GFLUSH", {
    {"GLOBALFLUSH", 0, 0, "all entries but preserved ones are invalid"},
}}};
inline constexpr Register kFlushEntry{0x64, 4, RegisterAccess::wo, 0,
                                      Layout{"omap_mmu.flush_entry", "TRM MMU_FLUSH_ENTRY", {
    {"FLUSHENTRY", 0, 0, "the entries that translate CAM.VATAG are invalid, preserved ones too"},
}}};
inline constexpr Register kReadCam{0x68, 4, RegisterAccess::ro, 0, Layout{"omap_mmu.read_cam", "TRM MMU_READ_CAM", {
    {"PAGESIZE", 1, 0,   "as CAM, of the entry that LOCK.VICT chooses"},
    {"V",        2, 2,   "the entry is valid"},
    {"P",        3, 3,   "preserved"},
    {"VATAG",    31, 12, "virtual page"},
}}};
inline constexpr Register kReadRam{0x6c, 4, RegisterAccess::ro, 0, Layout{"omap_mmu.read_ram", "TRM MMU_READ_RAM", {
    {"MIXED",       6, 6,   "as RAM, of the entry that LOCK.VICT chooses"},
    {"ELEMENTSIZE", 8, 7,   "as RAM"},
    {"ENDIANNESS",  9, 9,   "as RAM"},
    {"PHYSADDR",    31, 12, "physical page"},
}}};
inline constexpr Register kEmuFaultAd{0x70, 4, RegisterAccess::ro, 0,
                                      Layout{"omap_mmu.emu_fault_ad", "TRM MMU_EMU_FAULT_AD", {
    {"ADDR", 31, 0, "of a debugger's access; there is no debugger here"},
}}};
inline constexpr Register kGpReg{0x88, 4, RegisterAccess::rw, 0, Layout{"omap_mmu.gp_reg", "TRM MMU_GP_REG", {
    {"BUS_ERR_BACK_EN", 0, 0, "a request that faults ends with a bus error; else it waits"},
}}};

// clang-format on

}  // namespace softiommu::hw::omap_mmu
