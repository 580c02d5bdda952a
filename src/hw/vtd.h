// SPDX-License-Identifier: BSD-3-Clause
// Intel VT-d (Virtualization Technology for Directed I/O, 3.x): registers, root and context entries of legacy
// mode, invalidation descriptors and fault reasons. What scalable mode adds is in hw/vtd_scalable.h, second-stage
// entries are in hw/vtd_second_stage.h.
//
// Two register groups have no fixed place: IVA and IOTLB stand at ECAP.IRO * 16, the fault recording registers
// at CAP.FRO * 16, 16 bytes each. Their rows hold offsets within the group; the helpers at the foot add the rest.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "hw/layout.h"

namespace softiommu::hw::vtd {

// clang-format off

// ---- Capabilities -------------------------------------------------------------------------------------------

inline constexpr Register kVer{0x000, 4, RegisterAccess::ro, 0x10, Layout{"VER_REG", "VT-d 11.4.1", {
    {"MIN",     3,  0,  "minor version"},
    {"MAX",     7,  4,  "major version"},
}}};

inline constexpr Register kCap{0x008, 8, RegisterAccess::ro, 0, Layout{"CAP_REG", "VT-d 11.4.2", {
    {"ND",      2,  0,  "domain ids have 4 + 2 * ND bits"},
    {"AFL",     3,  3,  "advanced fault logging"},
    {"RWBF",    4,  4,  "software must flush write buffers (GCMD.WBF) before the hardware sees table changes"},
    {"PLMR",    5,  5,  "protected low memory region"},
    {"PHMR",    6,  6,  "protected high memory region"},
    {"CM",      7,  7,  "caching mode: not-present and faulting entries are cached too"},
    {"SAGAW",  12,  8,  "adjusted guest address widths: bit 1 39 (3 levels), bit 2 48 (4), bit 3 57 (5)"},
    {"MGAW",   21, 16,  "maximum guest address width, minus one"},
    {"ZLR",    22, 22,  "zero-length reads of write-only pages are allowed"},
    {"FRO",    33, 24,  "fault recording registers are at 16 * FRO"},
    {"SLLPS",  37, 34,  "second-stage large pages: bit 0 2 MiB, bit 1 1 GiB"},
    {"PSI",    39, 39,  "page-selective invalidation"},
    {"NFR",    47, 40,  "number of fault recording registers, minus one"},
    {"MAMV",   53, 48,  "largest address mask of a page-selective invalidation"},
    {"DWD",    54, 54,  "writes are drained on request"},
    {"DRD",    55, 55,  "reads are drained on request"},
    {"FS1GP",  56, 56,  "first-stage 1 GiB pages"},
    {"PI",     59, 59,  "posted interrupts"},
    {"FS5LP",  60, 60,  "first-stage 5-level tables"},
    {"ECMDS",  61, 61,  "enhanced commands"},
    {"ESIRTPS", 62, 62, "setting the interrupt table pointer invalidates by itself"},
    {"ESRTPS", 63, 63,  "setting the root table pointer invalidates by itself"},
}}};

inline constexpr Register kEcap{0x010, 8, RegisterAccess::ro, 0, Layout{"ECAP_REG", "VT-d 11.4.3", {
    {"C",       0,  0,  "table walks snoop the CPU caches"},
    {"QI",      1,  1,  "queued invalidation"},
    {"DT",      2,  2,  "device TLBs"},
    {"IR",      3,  3,  "interrupt remapping"},
    {"EIM",     4,  4,  "extended interrupt mode (x2APIC)"},
    {"PT",      6,  6,  "pass-through translation type in context entries"},
    {"SC",      7,  7,  "snoop control: SNP in second-stage leaf entries"},
    {"IRO",    17,  8,  "IVA and IOTLB registers are at 16 * IRO"},
    {"MHMV",   23, 20,  "largest handle mask of an interrupt entry cache invalidation"},
    {"MTS",    25, 25,  "memory types in first-stage entries"},
    {"NEST",   26, 26,  "nested translation"},
    {"PRS",    29, 29,  "page requests"},
    {"ERS",    30, 30,  "execute requests"},
    {"SRS",    31, 31,  "supervisor requests"},
    {"NWFS",   33, 33,  "no-write flag of device TLB requests"},
    {"EAFS",   34, 34,  "extended accessed flag"},
    {"PSS",    39, 35,  "PASIDs have PSS + 1 bits"},
    {"PASID",  40, 40,  "requests with PASID"},
    {"DIT",    41, 41,  "device TLB invalidation throttling"},
    {"PDS",    42, 42,  "page request drain"},
    {"SMTS",   43, 43,  "scalable mode"},
    {"VCS",    44, 44,  "virtual commands"},
    {"SSADS",  45, 45,  "accessed and dirty bits in second-stage entries"},
    {"SSTS",   46, 46,  "second-stage translation in scalable mode"},
    {"FSTS",   47, 47,  "first-stage translation in scalable mode"},
    {"SMPWCS", 48, 48,  "scalable-mode table walks snoop the CPU caches"},
    {"RPS",    49, 49,  "the PASID of requests without PASID is configurable"},
    {"PMS",    51, 51,  "performance monitoring"},
    {"ADMS",   52, 52,  "abort DMA mode"},
    {"RPRIVS", 53, 53,  "the privilege of requests without PASID is configurable"},
    {"SMS",    58, 58,  "stop-marker messages"},
}}};

// ---- Global control -----------------------------------------------------------------------------------------

// One-shot commands (SRTP, SFL, WBF, SIRTP) and states (TE, EAFL, QIE, IRE, CFI); a write that repeats the states
// of GSTS and sets one more bit gives one command. Reads as 0.
inline constexpr Register kGcmd{0x018, 4, RegisterAccess::wo, 0, Layout{"GCMD_REG", "VT-d 11.4.4.1", {
    {"CFI",    23, 23,  "compatibility-format interrupts pass"},
    {"SIRTP",  24, 24,  "take the interrupt remapping table pointer"},
    {"IRE",    25, 25,  "interrupt remapping on"},
    {"QIE",    26, 26,  "queued invalidation on"},
    {"WBF",    27, 27,  "flush write buffers"},
    {"EAFL",   28, 28,  "advanced fault logging on"},
    {"SFL",    29, 29,  "take the fault log pointer"},
    {"SRTP",   30, 30,  "take the root table pointer"},
    {"TE",     31, 31,  "translation on"},
}}};

inline constexpr Register kGsts{0x01c, 4, RegisterAccess::ro, 0, Layout{"GSTS_REG", "VT-d 11.4.4.2", {
    {"CFIS",   23, 23,  "compatibility-format interrupts pass"},
    {"IRTPS",  24, 24,  "interrupt remapping table pointer was taken"},
    {"IRES",   25, 25,  "interrupt remapping is on"},
    {"QIES",   26, 26,  "queued invalidation is on"},
    {"WBFS",   27, 27,  "write buffers are being flushed"},
    {"AFLS",   28, 28,  "advanced fault logging is on"},
    {"FLS",    29, 29,  "fault log pointer was taken"},
    {"RTPS",   30, 30,  "root table pointer was taken"},
    {"TES",    31, 31,  "translation is on"},
}}};

enum class TableMode : std::uint8_t { legacy = 0, scalable = 1, reserved = 2, abort_dma = 3 };

inline constexpr Register kRtaddr{0x020, 8, RegisterAccess::rw, 0, Layout{"RTADDR_REG", "VT-d 11.4.5", {
    {"TTM",    11, 10,  "translation table mode"},
    {"RTA",    63, 12,  "root table address / 4 KiB"},
}}};

inline constexpr Register kCcmd{0x028, 8, RegisterAccess::rw, 0, Layout{"CCMD_REG", "VT-d 11.4.6.1", {
    {"DID",    15,  0,  "domain id"},
    {"SID",    31, 16,  "source id (bus, device, function)"},
    {"FM",     33, 32,  "function bits that are not compared: 0 none, 1 bit 2, 2 bits 2:1, 3 all"},
    {"CAIG",   60, 59,  "granularity that was performed"},
    {"CIRG",   62, 61,  "requested granularity"},
    {"ICC",    63, 63,  "invalidate the context cache; clear when done"},
}}};

// ---- Faults -------------------------------------------------------------------------------------------------

inline constexpr Register kFsts{0x034, 4, RegisterAccess::w1c, 0, Layout{"FSTS_REG", "VT-d 11.4.9.1", {
    {"PFO",     0,  0,  "a fault was lost because the recording registers were full (w1c)"},
    {"PPF",     1,  1,  "some fault recording register has F set"},
    {"AFO",     2,  2,  "advanced fault log overflow (w1c)"},
    {"APF",     3,  3,  "advanced fault log is not empty (w1c)"},
    {"IQE",     4,  4,  "invalidation queue error (w1c)"},
    {"ICE",     5,  5,  "invalidation completion error of a device TLB (w1c)"},
    {"ITE",     6,  6,  "invalidation time-out of a device TLB (w1c)"},
    {"FRI",    15,  8,  "index of the first recorded fault that is pending"},
}}};

// FECTL, FEDATA, FEADDR, FEUADDR: the fault event's message. IECTL and its three: invalidation completion.
inline constexpr Register kFectl{0x038, 4, RegisterAccess::rw, 0x8000'0000, Layout{"FECTL_REG", "VT-d 11.4.9.2", {
    {"IP",     30, 30,  "a message waits for the mask to be cleared (ro)"},
    {"IM",     31, 31,  "messages are masked"},
}}};
inline constexpr Register kFedata{0x03c, 4, RegisterAccess::rw, 0, Layout{"FEDATA_REG", "VT-d 11.4.9.3", {
    {"IMD",    15,  0,  "message data"},
    {"EIMD",   31, 16,  "extended message data"},
}}};
inline constexpr Register kFeaddr{0x040, 4, RegisterAccess::rw, 0, Layout{"FEADDR_REG", "VT-d 11.4.9.4", {
    {"MA",     31,  2,  "message address / 4"},
}}};
inline constexpr Register kFeuaddr{0x044, 4, RegisterAccess::rw, 0, Layout{"FEUADDR_REG", "VT-d 11.4.9.5", {
    {"MUA",    31,  0,  "upper half of the message address"},
}}};

inline constexpr Register kAflog{0x058, 8, RegisterAccess::rw, 0, Layout{"AFLOG_REG", "VT-d 11.4.9.7", {
    {"FLS",    11,  9,  "fault log size"},
    {"FLA",    63, 12,  "fault log address / 4 KiB"},
}}};

// Relative to fault_record_offset(); written with the low word first, so that F completes a record.
inline constexpr Register kFrcdLow{0x0, 8, RegisterAccess::ro, 0, Layout{"FRCD_REG.low", "VT-d 11.4.9.6", {
    {"FI",     63, 12,  "page of the faulting address"},
}}};
inline constexpr Register kFrcdHigh{0x8, 8, RegisterAccess::w1c, 0, Layout{"FRCD_REG.high", "VT-d 11.4.9.6", {
    {"SID",    15,  0,  "source id of the request"},
    {"T2",     28, 28,  "with T1: 00 write, 10 read, 01 page request, 11 atomic"},
    {"PRIV",   29, 29,  "the request was privileged"},
    {"EXE",    30, 30,  "the request was for execution"},
    {"PP",     31, 31,  "the request had a PASID"},
    {"FR",     39, 32,  "fault reason"},
    {"PV",     59, 40,  "PASID"},
    {"AT",     61, 60,  "address type of the request: 0 untranslated"},
    {"T1",     62, 62,  "type of the request, see T2"},
    {"F",      63, 63,  "a fault is recorded (w1c)"},
}}};

// ---- Protected memory ---------------------------------------------------------------------------------------

inline constexpr Register kPmen{0x064, 4, RegisterAccess::rw, 0, Layout{"PMEN_REG", "VT-d 11.4.8.1", {
    {"PRS",     0,  0,  "protected regions are on"},
    {"EPM",    31, 31,  "turn protected regions on"},
}}};
inline constexpr Register kPlmbase{0x068, 4, RegisterAccess::rw, 0, Layout{"PLMBASE_REG", "VT-d 11.4.8.2", {
    {"PLMB",   31,  0,  "first byte of protected low memory"},
}}};
inline constexpr Register kPlmlimit{0x06c, 4, RegisterAccess::rw, 0, Layout{"PLMLIMIT_REG", "VT-d 11.4.8.3", {
    {"PLML",   31,  0,  "limit of protected low memory"},
}}};
inline constexpr Register kPhmbase{0x070, 8, RegisterAccess::rw, 0, Layout{"PHMBASE_REG", "VT-d 11.4.8.4", {
    {"PHMB",   63,  0,  "first byte of protected high memory"},
}}};
inline constexpr Register kPhmlimit{0x078, 8, RegisterAccess::rw, 0, Layout{"PHMLIMIT_REG", "VT-d 11.4.8.5", {
    {"PHML",   63,  0,  "limit of protected high memory"},
}}};

// ---- Invalidation queue -------------------------------------------------------------------------------------

// Head and tail are byte offsets into the queue: multiples of 16 (of 32 with IQA.DW).
inline constexpr Register kIqh{0x080, 8, RegisterAccess::ro, 0, Layout{"IQH_REG", "VT-d 11.4.10.1", {
    {"QH",     18,  4,  "next descriptor that hardware reads, in units of 128 bits"},
}}};
inline constexpr Register kIqt{0x088, 8, RegisterAccess::rw, 0, Layout{"IQT_REG", "VT-d 11.4.10.2", {
    {"QT",     18,  4,  "next descriptor that software writes, in units of 128 bits"},
}}};
inline constexpr Register kIqa{0x090, 8, RegisterAccess::rw, 0, Layout{"IQA_REG", "VT-d 11.4.10.3", {
    {"QS",      2,  0,  "the queue has 2^QS pages (256 descriptors of 128 bits each)"},
    {"DW",     11, 11,  "descriptors have 256 bits"},
    {"IQA",    63, 12,  "queue address / 4 KiB"},
}}};
inline constexpr Register kIcs{0x09c, 4, RegisterAccess::w1c, 0, Layout{"ICS_REG", "VT-d 11.4.10.4", {
    {"IWC",     0,  0,  "a wait descriptor with IF completed (w1c)"},
}}};
inline constexpr Register kIectl{0x0a0, 4, RegisterAccess::rw, 0x8000'0000, Layout{"IECTL_REG", "VT-d 11.4.10.5", {
    {"IP",     30, 30,  "a message waits for the mask to be cleared (ro)"},
    {"IM",     31, 31,  "messages are masked"},
}}};
inline constexpr Register kIedata{0x0a4, 4, RegisterAccess::rw, 0, Layout{"IEDATA_REG", "VT-d 11.4.10.6", {
    {"IMD",    15,  0,  "message data"},
    {"EIMD",   31, 16,  "extended message data"},
}}};
inline constexpr Register kIeaddr{0x0a8, 4, RegisterAccess::rw, 0, Layout{"IEADDR_REG", "VT-d 11.4.10.7", {
    {"MA",     31,  2,  "message address / 4"},
}}};
inline constexpr Register kIeuaddr{0x0ac, 4, RegisterAccess::rw, 0, Layout{"IEUADDR_REG", "VT-d 11.4.10.8", {
    {"MUA",    31,  0,  "upper half of the message address"},
}}};
inline constexpr Register kIqercd{0x0b0, 8, RegisterAccess::ro, 0, Layout{"IQERCD_REG", "VT-d 11.4.10.9", {
    {"IQEI",    3,  0,  "why the queue stopped (enum QueueError)"},
    {"ITESID", 47, 32,  "source id of an invalidation time-out"},
    {"ICESID", 63, 48,  "source id of an invalidation completion error"},
}}};
// Page requests (ECAP.PRS). Head and tail are byte offsets: multiples of 32.
inline constexpr Register kPqh{0x0c0, 8, RegisterAccess::rw, 0, Layout{"PQH_REG", "VT-d 11.4.12", {
    {"PQH",    18,  5,  "next page request that software reads, in units of 32 bytes"},
}}};
inline constexpr Register kPqt{0x0c8, 8, RegisterAccess::rw, 0, Layout{"PQT_REG", "VT-d 11.4.13", {
    {"PQT",    18,  5,  "next page request that hardware writes, in units of 32 bytes"},
}}};
inline constexpr Register kPqa{0x0d0, 8, RegisterAccess::rw, 0, Layout{"PQA_REG", "VT-d 11.4.14", {
    {"PQS",     2,  0,  "the queue has 2^PQS pages (128 page requests each)"},
    {"PQA",    63, 12,  "queue address / 4 KiB"},
}}};
inline constexpr Register kPrs{0x0dc, 4, RegisterAccess::w1c, 0, Layout{"PRS_REG", "VT-d 11.4.15", {
    {"PPR",     0,  0,  "a page request is pending (w1c)"},
    {"PRO",     1,  1,  "the queue was full: the unit answers requests itself until this is cleared (w1c)"},
}}};
inline constexpr Register kPectl{0x0e0, 4, RegisterAccess::rw, 0x8000'0000, Layout{"PECTL_REG", "VT-d 11.4.16", {
    {"IP",     30, 30,  "a message waits for the mask to be cleared (ro)"},
    {"IM",     31, 31,  "messages are masked"},
}}};
inline constexpr Register kPedata{0x0e4, 4, RegisterAccess::rw, 0, Layout{"PEDATA_REG", "VT-d 11.4.17", {
    {"IMD",    15,  0,  "message data"},
    {"EIMD",   31, 16,  "extended message data"},
}}};
inline constexpr Register kPeaddr{0x0e8, 4, RegisterAccess::rw, 0, Layout{"PEADDR_REG", "VT-d 11.4.18", {
    {"MA",     31,  2,  "message address / 4"},
}}};
inline constexpr Register kPeuaddr{0x0ec, 4, RegisterAccess::rw, 0, Layout{"PEUADDR_REG", "VT-d 11.4.19", {
    {"MUA",    31,  0,  "upper half of the message address"},
}}};
inline constexpr Register kIrta{0x0b8, 8, RegisterAccess::rw, 0, Layout{"IRTA_REG", "VT-d 11.4.11", {
    {"S",       3,  0,  "the table has 2^(S + 1) entries"},
    {"EIME",   11, 11,  "extended interrupt mode"},
    {"IRTA",   63, 12,  "interrupt remapping table address / 4 KiB"},
}}};

// Relative to iotlb_offset().
inline constexpr Register kIva{0x0, 8, RegisterAccess::wo, 0, Layout{"IVA_REG", "VT-d 11.4.6.3", {
    {"AM",      5,  0,  "2^AM pages, naturally aligned, are invalidated"},
    {"IH",      6,  6,  "hint: only leaf entries were changed"},
    {"ADDR",   63, 12,  "first page"},
}}};
inline constexpr Register kIotlb{0x8, 8, RegisterAccess::rw, 0, Layout{"IOTLB_REG", "VT-d 11.4.6.2", {
    {"DID",    47, 32,  "domain id"},
    {"DW",     48, 48,  "drain writes"},
    {"DR",     49, 49,  "drain reads"},
    {"IAIG",   58, 57,  "granularity that was performed; 0: the request was wrong"},
    {"IIRG",   61, 60,  "requested granularity"},
    {"IVT",    63, 63,  "invalidate the IOTLB; clear when done"},
}}};

// ---- Structures in memory -----------------------------------------------------------------------------------

inline constexpr unsigned kRootEntries = 256, kContextEntries = 256;  // a 4 KiB table of 128-bit entries each
inline constexpr unsigned kEntryWords = 2;

inline constexpr Layout kRootEntry0{"root_entry.0", "VT-d 9.1", {
    {"P",       0,  0,  "the context table pointer is valid"},
    {"CTP",    63, 12,  "context table address / 4 KiB"},
}};
inline constexpr Layout kRootEntry1{"root_entry.1", "VT-d 9.1", {
    {"Reserved", 63, 0, "must be 0 in legacy mode"},
}};

inline constexpr Layout kContextEntry0{"context_entry.0", "VT-d 9.3", {
    {"P",       0,  0,  "the entry is valid"},
    {"FPD",     1,  1,  "faults of this device are not recorded"},
    {"TT",      3,  2,  "translation type"},
    {"SSPTPTR", 63, 12, "second-stage table address / 4 KiB"},
}};
inline constexpr Layout kContextEntry1{"context_entry.1", "VT-d 9.3", {
    {"AW",      2,  0,  "address width: 1 39 bits (3 levels), 2 48 (4), 3 57 (5)"},
    {"IGN",     6,  3,  "ignored by hardware, free for software"},
    {"DID",    23,  8,  "domain id"},
}};

enum class TranslationType : std::uint8_t {
    multi_level  = 0,  // untranslated requests through the second stage; others blocked
    device_tlb   = 1,  // the same, and the device may hold translations (ECAP.DT)
    pass_through = 2,  // untranslated requests pass (ECAP.PT); AW must name the largest width supported
};

// ---- Invalidation descriptors: two words each; the rows of the low word begin with the type ------------------

inline constexpr unsigned kDescriptorBytes = 16;

enum class Descriptor : std::uint8_t {
    context_cache = 1,
    iotlb         = 2,
    device_tlb    = 3,
    interrupt_entry_cache = 4,
    wait          = 5,
    pasid_iotlb   = 6,
    pasid_cache   = 7,
    pasid_device_tlb = 8,
    page_group_response = 9,
};

// What every descriptor has in its low word: a seven-bit type in two pieces.
inline constexpr Layout kDescriptor{"inv_desc", "VT-d 6.5.2", {
    {"TYPE",    3,  0,  "type, bits 3:0"},
    {"TYPE_HI", 11, 9,  "type, bits 6:4"},
}};

inline constexpr Layout kContextCacheDescriptor0{"cc_inv_dsc.0", "VT-d 6.5.2.1", {
    {"TYPE",    3,  0,  "1"},
    {"G",       5,  4,  "granularity"},
    {"TYPE_HI", 11, 9,  "0"},
    {"DID",    31, 16,  "domain id"},
    {"SID",    47, 32,  "source id"},
    {"FM",     49, 48,  "function bits that are not compared, as in CCMD"},
}};

inline constexpr Layout kIotlbDescriptor0{"iotlb_inv_dsc.0", "VT-d 6.5.2.3", {
    {"TYPE",    3,  0,  "2"},
    {"G",       5,  4,  "granularity"},
    {"DW",      6,  6,  "drain writes"},
    {"DR",      7,  7,  "drain reads"},
    {"TYPE_HI", 11, 9,  "0"},
    {"DID",    31, 16,  "domain id"},
}};
inline constexpr Layout kIotlbDescriptor1{"iotlb_inv_dsc.1", "VT-d 6.5.2.3", {
    {"AM",      5,  0,  "2^AM pages, naturally aligned, are invalidated"},
    {"IH",      6,  6,  "hint: only leaf entries were changed"},
    {"ADDR",   63, 12,  "first page"},
}};

inline constexpr Layout kDeviceTlbDescriptor0{"dev_tlb_inv_dsc.0", "VT-d 6.5.2.5", {
    {"TYPE",    3,  0,  "3"},
    {"TYPE_HI", 11, 9,  "0"},
    {"PFSID_LO", 15, 12, "physical function's source id, bits 3:0"},
    {"MIP",    20, 16,  "invalidations that may be pending at the device"},
    {"SID",    47, 32,  "source id"},
    {"PFSID_HI", 63, 52, "physical function's source id, bits 15:4"},
}};
inline constexpr Layout kDeviceTlbDescriptor1{"dev_tlb_inv_dsc.1", "VT-d 6.5.2.5", {
    {"S",       0,  0,  "the low zero bit of ADDR says how many pages; else one"},
    {"ADDR",   63, 12,  "page"},
}};

inline constexpr Layout kInterruptEntryCacheDescriptor0{"iec_inv_dsc.0", "VT-d 6.5.2.7", {
    {"TYPE",    3,  0,  "4"},
    {"G",       4,  4,  "0 all, 1 by index"},
    {"TYPE_HI", 11, 9,  "0"},
    {"IM",     31, 27,  "2^IM entries"},
    {"IIDX",   47, 32,  "first index"},
}};

inline constexpr Layout kWaitDescriptor0{"inv_wait_dsc.0", "VT-d 6.5.2.8", {
    {"TYPE",    3,  0,  "5"},
    {"IF",      4,  4,  "completion event: set ICS.IWC"},
    {"SW",      5,  5,  "write SDATA to SADDR"},
    {"FN",      6,  6,  "descriptors behind this one start after all before it are done"},
    {"PD",      7,  7,  "drain page requests"},
    {"TYPE_HI", 11, 9,  "0"},
    {"SDATA",  63, 32,  "status data"},
}};
inline constexpr Layout kWaitDescriptor1{"inv_wait_dsc.1", "VT-d 6.5.2.8", {
    {"SADDR",  63,  2,  "status address / 4"},
}};

// G of context-cache and IOTLB descriptors, CIRG and CAIG of CCMD, IIRG and IAIG of IOTLB.
enum class Granularity : std::uint8_t {
    reserved  = 0,  // as an answer: the request was wrong
    global    = 1,
    domain    = 2,
    selective = 3,  // of a device (context cache), of pages of a domain (IOTLB)
};

// IQERCD.IQEI (VT-d 11.4.10.9).
enum class QueueError : std::uint8_t {
    none                = 0,
    invalid_tail        = 1,  // the tail is outside of the queue
    fetch_failed        = 2,  // hardware could not read the descriptor
    invalid_type        = 3,
    reserved_field      = 4,  // a reserved field of the descriptor is not 0
    invalid_width       = 5,  // IQA.DW does not fit the translation table mode
    unaligned_tail      = 6,  // 256-bit descriptors and an odd tail
    invalid_ttm         = 7,
};

// ---- Fault reasons (VT-d 7.1.3) -----------------------------------------------------------------------------

enum class FaultReason : std::uint8_t {
    none                     = 0x0,
    root_entry_not_present   = 0x1,
    context_entry_not_present = 0x2,
    context_entry_invalid    = 0x3,
    address_beyond_mgaw      = 0x4,
    write_not_allowed        = 0x5,
    read_not_allowed         = 0x6,
    table_access_failed      = 0x7,
    root_table_access_failed = 0x8,
    context_table_access_failed = 0x9,
    root_entry_reserved      = 0xa,
    context_entry_reserved   = 0xb,
    table_entry_reserved     = 0xc,
    request_blocked          = 0xd,
    interrupt_address        = 0xe,
    translation_mode_invalid = 0x30,

    // Scalable mode.
    sm_root_access           = 0x38,
    sm_root_not_present      = 0x39,
    sm_root_reserved         = 0x3a,
    sm_context_access        = 0x40,
    sm_context_not_present   = 0x41,
    sm_context_reserved      = 0x42,
    sm_context_invalid       = 0x43,
    sm_no_device_tlb         = 0x44,
    sm_no_pasids             = 0x45,
    sm_pasid_too_large       = 0x46,
    sm_no_page_requests      = 0x47,
    sm_directory_access      = 0x50,
    sm_directory_not_present = 0x51,
    sm_directory_reserved    = 0x52,
    sm_pasid_access          = 0x58,
    sm_pasid_not_present     = 0x59,
    sm_pasid_reserved        = 0x5a,
    sm_pasid_invalid         = 0x5b,
    fs_access                = 0x70,
    fs_not_present           = 0x71,
    fs_reserved              = 0x72,
    nested_beyond_mgaw       = 0x74,
    nested_not_allowed       = 0x76,
    ss_access                = 0x78,
    ss_not_allowed           = 0x79,
    ss_reserved              = 0x7a,
    fs_not_canonical         = 0x80,
    sm_beyond_width          = 0x83,
    ss_beyond_width          = 0x84,
    sm_write_not_allowed     = 0x85,
    sm_read_not_allowed      = 0x86,
    sm_interrupt_address     = 0x87,
};

struct FaultReasonRow {
    FaultReason reason;
    bool qualified;  // FPD of the context entry suppresses it
    std::string_view name, doc;
};

inline constexpr std::array<FaultReasonRow, 47> kFaultReasons{{
    {FaultReason::root_entry_not_present,      false, "LRT.2",   "present bit of the root entry is clear"},
    {FaultReason::context_entry_not_present,   true,  "LCT.2",   "present bit of the context entry is clear"},
    {FaultReason::context_entry_invalid,       true,  "LCT.4.1", "context entry: unsupported address width or translation type"},
    {FaultReason::address_beyond_mgaw,         true,  "LGN.1.1", "address is above the width of the tables or of the unit"},
    {FaultReason::write_not_allowed,           true,  "LGN.2",   "no write permission"},
    {FaultReason::read_not_allowed,            true,  "LGN.3",   "no read permission"},
    {FaultReason::table_access_failed,         true,  "LSS.1",   "a second-stage table is not in memory"},
    {FaultReason::root_table_access_failed,    false, "LRT.1",   "the root table is not in memory"},
    {FaultReason::context_table_access_failed, false, "LCT.1",   "the context table is not in memory"},
    {FaultReason::root_entry_reserved,         false, "LRT.3",   "reserved field of the root entry is not 0"},
    {FaultReason::context_entry_reserved,      true,  "LCT.3",   "reserved field of the context entry is not 0"},
    {FaultReason::table_entry_reserved,        true,  "LSS.2",   "reserved field of a second-stage entry is not 0"},
    {FaultReason::request_blocked,             true,  "LCT.5",   "the translation type blocks this kind of request"},
    {FaultReason::interrupt_address,           true,  "LGN.4",   "the translated address is in the interrupt range"},
    {FaultReason::translation_mode_invalid,    false, "RTA.1",   "RTADDR.TTM names a mode that the unit does not have"},
    {FaultReason::sm_root_access,              false, "SRT.1",   "the scalable-mode root table is not in memory"},
    {FaultReason::sm_root_not_present,         false, "SRT.2",   "present bit of the scalable-mode root entry is clear"},
    {FaultReason::sm_root_reserved,            false, "SRT.3",   "reserved field of the scalable-mode root entry is not 0"},
    {FaultReason::sm_context_access,           false, "SCT.1",   "the scalable-mode context table is not in memory"},
    {FaultReason::sm_context_not_present,      true,  "SCT.2",   "present bit of the scalable-mode context entry is clear"},
    {FaultReason::sm_context_reserved,         true,  "SCT.3",   "reserved field of the scalable-mode context entry is not 0"},
    {FaultReason::sm_context_invalid,          true,  "SCT.4",   "scalable-mode context entry: the PASID directory is larger than the unit's PASIDs"},
    {FaultReason::sm_no_device_tlb,            true,  "SCT.5",   "the context entry allows no device TLB (DTE)"},
    {FaultReason::sm_no_pasids,                true,  "SCT.6",   "the context entry allows no requests with PASID (PASIDE)"},
    {FaultReason::sm_pasid_too_large,          true,  "SCT.7",   "the PASID is beyond the device's PASID directory"},
    {FaultReason::sm_no_page_requests,         true,  "SCT.8",   "the context entry allows no page requests (PRE)"},
    {FaultReason::sm_directory_access,         true,  "SPD.1",   "the PASID directory is not in memory"},
    {FaultReason::sm_directory_not_present,    true,  "SPD.2",   "present bit of the PASID directory entry is clear"},
    {FaultReason::sm_directory_reserved,       true,  "SPD.3",   "reserved field of the PASID directory entry is not 0"},
    {FaultReason::sm_pasid_access,             true,  "SPT.1",   "the PASID table is not in memory"},
    {FaultReason::sm_pasid_not_present,        true,  "SPT.2",   "present bit of the PASID table entry is clear"},
    {FaultReason::sm_pasid_reserved,           true,  "SPT.3",   "reserved field of the PASID table entry is not 0"},
    {FaultReason::sm_pasid_invalid,            true,  "SPT.4",   "PASID table entry: a translation type or width that the unit does not have"},
    {FaultReason::fs_access,                   true,  "SFS.1",   "a first-stage table is not in memory"},
    {FaultReason::fs_not_present,              true,  "SFS.2",   "present bit of a first-stage entry is clear"},
    {FaultReason::fs_reserved,                 true,  "SFS.3",   "reserved field of a first-stage entry is not 0"},
    {FaultReason::nested_beyond_mgaw,          true,  "SFS.5",   "a first-stage entry of a nested translation points beyond the unit's width"},
    {FaultReason::nested_not_allowed,          true,  "SFS.7",   "the second stage does not allow the access to a first-stage table"},
    {FaultReason::ss_access,                   true,  "SSS.1",   "a second-stage table is not in memory"},
    {FaultReason::ss_not_allowed,              true,  "SSS.2",   "no permission in a second-stage entry"},
    {FaultReason::ss_reserved,                 true,  "SSS.3",   "reserved field of a second-stage entry is not 0"},
    {FaultReason::fs_not_canonical,            true,  "SGN.1",   "address of a first-stage translation is not canonical"},
    {FaultReason::sm_beyond_width,             true,  "SGN.4",   "address is beyond what the unit passes through"},
    {FaultReason::ss_beyond_width,             true,  "SGN.5",   "address is above the width of the second-stage tables or of the unit"},
    {FaultReason::sm_write_not_allowed,        true,  "SGN.6",   "no write permission"},
    {FaultReason::sm_read_not_allowed,         true,  "SGN.7",   "no read permission"},
    {FaultReason::sm_interrupt_address,        true,  "SGN.8",   "the translated address is in the interrupt range"},
}};

// clang-format on

constexpr const FaultReasonRow* find_fault_reason(FaultReason reason) {
  for (const FaultReasonRow& row : kFaultReasons)
    if (row.reason == reason) return &row;
  return nullptr;
}

// Writes to this range are interrupts, never DMA (VT-d 3.14).
inline constexpr std::uint64_t kInterruptRangeFirst = 0xfee0'0000, kInterruptRangeLast = 0xfeef'ffff;

// ---- Values that several fields together mean ----------------------------------------------------------------

inline constexpr unsigned kGroupUnit = 16;  // FRO and IRO count these

constexpr std::uint32_t fault_record_offset(std::uint64_t cap, unsigned index) {
  return static_cast<std::uint32_t>((kCap["FRO"].get(cap) + index) * kGroupUnit);
}
constexpr std::uint32_t iotlb_offset(std::uint64_t ecap) {
  return static_cast<std::uint32_t>(kEcap["IRO"].get(ecap) * kGroupUnit);
}
constexpr unsigned fault_record_count(std::uint64_t cap) { return static_cast<unsigned>(kCap["NFR"].get(cap)) + 1; }
constexpr unsigned domain_id_bits(std::uint64_t cap) { return 4 + 2 * static_cast<unsigned>(kCap["ND"].get(cap)); }
constexpr unsigned guest_address_width(std::uint64_t cap) { return static_cast<unsigned>(kCap["MGAW"].get(cap)) + 1; }

// AW of a context entry and the bit of SAGAW are the same number: levels - 2. Widths are 39, 48 and 57.
constexpr unsigned aw_of_levels(unsigned levels) { return levels - 2; }
constexpr unsigned levels_of_aw(unsigned aw) { return aw + 2; }
constexpr unsigned width_of_levels(unsigned levels) { return 12 + 9 * levels; }
constexpr bool supports_levels(std::uint64_t cap, unsigned levels) {
  return (kCap["SAGAW"].get(cap) >> aw_of_levels(levels) & 1) != 0;
}
constexpr unsigned descriptor_type(std::uint64_t word0) {
  return static_cast<unsigned>(kDescriptor["TYPE"].get(word0) | kDescriptor["TYPE_HI"].get(word0) << 4);
}
// Descriptors in a queue of IQA.QS, and its bytes.
constexpr std::uint32_t queue_bytes(std::uint64_t iqa) {
  return std::uint32_t{4096} << static_cast<unsigned>(kIqa["QS"].get(iqa));
}
constexpr std::uint16_t source_id(unsigned bus, unsigned device, unsigned function) {
  return static_cast<std::uint16_t>(bus << 8 | device << 3 | function);
}

static_assert(width_of_levels(3) == 39 && width_of_levels(4) == 48 && width_of_levels(5) == 57);
static_assert(kIotlb["IVT"].mask() == std::uint64_t{1} << 63 && kCcmd["ICC"].mask() == std::uint64_t{1} << 63);

}  // namespace softiommu::hw::vtd
