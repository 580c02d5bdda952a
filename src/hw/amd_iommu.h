// SPDX-License-Identifier: BSD-3-Clause
// AMD IOMMU: registers, device table entries, GCR3 tables, commands, events and page requests (AMD 48882, 2 and 3).
//
// A device table entry is four 64-bit words; the address of its GCR3 table stands in three pieces. Commands, events and
// page requests are two words each, and bits 63:60 of the first say what they are. Table entries are in amd_v1.h (host)
// and x86_64_paging.h (guest).
#pragma once

#include <cstdint>

#include "hw/layout.h"

namespace softiommu::hw::amd {

// clang-format off

// ---- registers (3.4) ----

inline constexpr std::uint32_t kRegisterBytes = 0x4000;
using enum RegisterAccess;

inline constexpr Register kDeviceTable{0x0000, 8, rw, 0, Layout{"Device Table Base Address", "AMD 48882 3.4.1", {
    {"Size",       8,  0,  "number of 4 KiB pages - 1; 128 entries a page"},
    {"DevTabBase", 51, 12, ""},
}}};
inline constexpr Register kCommandBase{0x0008, 8, rw, 0, Layout{"Command Buffer Base Address", "AMD 48882 3.4.1", {
    {"ComBase", 51, 12, ""},
    {"ComLen",  59, 56, "log2 of the number of commands, at least 8"},
}}};
inline constexpr Register kEventBase{0x0010, 8, rw, 0, Layout{"Event Log Base Address", "AMD 48882 3.4.1", {
    {"EventBase", 51, 12, ""},
    {"EventLen",  59, 56, "log2 of the number of events, at least 8"},
}}};
inline constexpr Register kControl{0x0018, 8, rw, 0, Layout{"Control", "AMD 48882 3.4.1", {
    {"IommuEn",      0,  0,  "translate; off: all addresses pass"},
    {"HtTunEn",      1,  1,  ""},
    {"EventLogEn",   2,  2,  ""},
    {"EventIntEn",   3,  3,  ""},
    {"ComWaitIntEn", 4,  4,  ""},
    {"InvTimeOut",   7,  5,  "how long device TLBs may take to answer"},
    {"PassPW",       8,  8,  ""},
    {"ResPassPW",    9,  9,  ""},
    {"Coherent",     10, 10, "table walks snoop the CPU caches"},
    {"Isoc",         11, 11, ""},
    {"CmdBufEn",     12, 12, ""},
    {"PprLogEn",     13, 13, ""},
    {"PprIntEn",     14, 14, ""},
    {"PprEn",        15, 15, "page requests are taken"},
    {"GTEn",         16, 16, "guest tables are walked; off: DTE.GV must be 0"},
    {"GAEn",         17, 17, ""},
    {"GALogEn",      28, 28, ""},
    {"GAIntEn",      29, 29, ""},
    {"EPHEn",        45, 45, ""},
    {"HADUpdate",    47, 46, ""},
    {"XTEn",         50, 50, ""},
    {"IntCapXTEn",   51, 51, ""},
    {"GCR3TRPMode",  58, 58, "the GCR3 table's address is a system address, not a guest's"},
}}};
inline constexpr Register kExclusionBase{0x0020, 8, rw, 0, Layout{"Exclusion Base", "AMD 48882 3.4.1", {
    {"Ex",    0,  0,  "addresses of the range are not translated"},
    {"Allow", 1,  1,  "for all devices; else for those with DTE.EX"},
    {"Base",  51, 12, "first page"},
}}};
inline constexpr Register kExclusionLimit{0x0028, 8, rw, 0, Layout{"Exclusion Range Limit", "AMD 48882 3.4.1", {
    {"Limit", 51, 12, "last page"},
}}};
inline constexpr Register kFeatures{0x0030, 8, ro, 0, Layout{"Extended Feature", "AMD 48882 3.4.2", {
    {"PreFSup",    0,  0,  "PREFETCH_IOMMU_PAGES"},
    {"PPRSup",     1,  1,  "page requests"},
    {"XTSup",      2,  2,  ""},
    {"NXSup",      3,  3,  "no-execute in guest tables"},
    {"GTSup",      4,  4,  "guest tables"},
    {"IASup",      6,  6,  "INVALIDATE_IOMMU_ALL"},
    {"GASup",      7,  7,  ""},
    {"HESup",      8,  8,  ""},
    {"PCSup",      9,  9,  ""},
    {"HATS",       11, 10, "most levels of host tables: 0 4, 1 5, 2 6, 3 no host tables"},
    {"GATS",       13, 12, "most levels of guest tables: 0 4, 1 5"},
    {"GLXSup",     15, 14, "most levels of GCR3 tables: 0 1, 1 2, 2 3"},
    {"GAMSup",     23, 21, ""},
    {"PASmax",     36, 32, "bits of a PASID - 1"},
    {"GIoSup",     48, 48, "DTE.GIoV: requests without a PASID may use the table of PASID 0"},
    {"HASup",      49, 49, "hardware keeps accessed bits of host tables"},
    {"EPHSup",     50, 50, ""},
    {"HDSup",      52, 52, "hardware keeps dirty bits of host tables"},
    {"SNPSup",     63, 63, ""},
}}};
inline constexpr Register kPprBase{0x0038, 8, rw, 0, Layout{"PPR Log Base Address", "AMD 48882 3.4.3", {
    {"PprLogBase", 51, 12, ""},
    {"PprLogLen",  59, 56, "log2 of the number of page requests, at least 8"},
}}};
inline constexpr Register kFeatures2{0x01a0, 8, ro, 0, Layout{"Extended Feature 2", "AMD 48882 3.4.11", {
    {"GCR3TRPModeSup", 3,  3,  "Control.GCR3TRPMode"},
    {"NumIntRemapSup", 9,  8,  ""},
    {"HTRangeIgnore",  11, 11, "addresses of the HyperTransport range are as any others"},
}}};
inline constexpr Register kCommandHead{0x2000, 8, rw, 0, Layout{"Command Buffer Head Pointer", "AMD 48882 3.4.13", {
    {"Ptr", 18, 4, "index of the next command that the hardware runs"},
}}};
inline constexpr Register kCommandTail{0x2008, 8, rw, 0, Layout{"Command Buffer Tail Pointer", "AMD 48882 3.4.13", {
    {"Ptr", 18, 4, "index of the next command that software writes"},
}}};
inline constexpr Register kEventHead{0x2010, 8, rw, 0, Layout{"Event Log Head Pointer", "AMD 48882 3.4.13", {
    {"Ptr", 18, 4, "index of the next event that software reads"},
}}};
inline constexpr Register kEventTail{0x2018, 8, rw, 0, Layout{"Event Log Tail Pointer", "AMD 48882 3.4.13", {
    {"Ptr", 18, 4, "index of the next event that the hardware writes"},
}}};
inline constexpr Register kStatus{0x2020, 8, w1c, 0, Layout{"Status", "AMD 48882 3.4.13", {
    {"EventOverflow", 0, 0, "events are lost: the log was full"},
    {"EventLogInt",   1, 1, "an event was logged"},
    {"ComWaitInt",    2, 2, "a COMPLETION_WAIT with I has completed"},
    {"EventLogRun",   3, 3, "read only: events are logged"},
    {"CmdBufRun",     4, 4, "read only: commands are run; an error stops them"},
    {"PprOverflow",   5, 5, "page requests are lost: the log was full"},
    {"PprInt",        6, 6, "a page request was logged"},
    {"PprLogRun",     7, 7, "read only: page requests are logged"},
}}};
inline constexpr Register kPprHead{0x2030, 8, rw, 0, Layout{"PPR Log Head Pointer", "AMD 48882 3.4.13", {
    {"Ptr", 18, 4, "index of the next page request that software reads"},
}}};
inline constexpr Register kPprTail{0x2038, 8, rw, 0, Layout{"PPR Log Tail Pointer", "AMD 48882 3.4.13", {
    {"Ptr", 18, 4, "index of the next page request that the hardware writes"},
}}};
// Not in 48882, where this is reserved and reads as 0: how the machine file makes domain ids scarce.
inline constexpr Register kDomainIds{0x3ff8, 8, ro, 0, Layout{"Domain Ids (softiommu's own)", "reserved in AMD 48882", {
    {"Count", 16, 0, "ids that the unit can tell apart, from 0; 0: all 65536"},
}}};

inline constexpr unsigned kLeastQueueLg2 = 8, kQueueEntryWords = 2, kQueueEntryBytes = 16;
inline constexpr unsigned kDomainIdBits = 16, kPasidBits = 20;
inline constexpr std::uint64_t kNoHostTables = 3;  // of HATS
constexpr unsigned most_host_levels(std::uint64_t features) {
  const std::uint64_t hats = kFeatures["HATS"].get(features);
  return hats == kNoHostTables ? 0 : 4 + static_cast<unsigned>(hats);
}
constexpr unsigned most_guest_levels(std::uint64_t features) {
  return kFeatures["GTSup"].is_set(features) ? 4 + static_cast<unsigned>(kFeatures["GATS"].get(features)) : 0;
}

// Addresses that mean something else (2.1.2): interrupt messages, and what HyperTransport keeps for itself.
inline constexpr std::uint64_t kInterruptFirst = 0xfee0'0000, kInterruptLast = 0xfeef'ffff;
inline constexpr std::uint64_t kHyperTransportFirst = 0xfd'0000'0000, kHyperTransportLast = 0xff'ffff'ffff;

// ---- device table entries (2.2.2.1) ----

inline constexpr unsigned kDteWords = 4, kDteBytes = 32, kDtesInPage = 128;
inline constexpr Layout kDte0{"DTE[63:0]", "AMD 48882 2.2.2.1", {
    {"V",             0,  0,  "bits 127:1 mean something; else addresses pass"},
    {"TV",            1,  1,  "the translation means something; else accesses are refused"},
    {"HAD",           8,  7,  "hardware keeps in host tables: 0 nothing, 1 accessed bits, 3 dirty bits too"},
    {"Mode",          11, 9,  "levels of the host table; 0: guest addresses are system addresses"},
    {"HostTableRoot", 51, 12, ""},
    {"PPR",           52, 52, "the device may send page requests"},
    {"GPRP",          53, 53, "answers to page requests carry the PASID"},
    {"GIoV",          54, 54, "requests without a PASID use the table of PASID 0"},
    {"GV",            55, 55, "the guest translation means something"},
    {"GLX",           57, 56, "levels of the GCR3 table - 1"},
    {"GCR3_14_12",    60, 58, "GCR3 table, bits 14:12"},
    {"IR",            61, 61, "reading is allowed"},
    {"IW",            62, 62, "writing is allowed"},
}};
inline constexpr Layout kDte1{"DTE[127:64]", "AMD 48882 2.2.2.1", {
    {"DomainID",   15, 0,  "tag of what is cached"},
    {"GCR3_30_15", 31, 16, "GCR3 table, bits 30:15"},
    {"I",          32, 32, "the device may have a TLB"},
    {"SE",         33, 33, "after its first page fault the device causes no more events"},
    {"SA",         34, 34, "page faults cause no events"},
    {"IoCtl",      36, 35, ""},
    {"Cache",      37, 37, ""},
    {"SD",         38, 38, ""},
    {"EX",         39, 39, "the exclusion range is not translated for the device"},
    {"SysMgt",     41, 40, ""},
    {"SATS",       42, 42, ""},
    {"GCR3_51_31", 63, 43, "GCR3 table, bits 51:31"},
}};
inline constexpr Layout kDte2{"DTE[191:128]", "AMD 48882 2.2.2.1", {
    {"IV",              0,  0,  "the interrupt table means something"},
    {"IntTabLen",       4,  1,  ""},
    {"IG",              5,  5,  ""},
    {"IntTableRoot",    51, 6,  ""},
    {"GuestPagingMode", 55, 54, "levels of guest tables: 0 4, 1 5"},
    {"InitPass",        56, 56, ""},
    {"EIntPass",        57, 57, ""},
    {"NMIPass",         58, 58, ""},
    {"HPTMode",         59, 59, ""},
    {"IntCtl",          61, 60, ""},
    {"Lint0Pass",       62, 62, ""},
    {"Lint1Pass",       63, 63, ""},
}};
inline constexpr Layout kDte3{"DTE[255:192]", "AMD 48882 2.2.2.1", {
    {"GDeviceID",      15, 0,  ""},
    {"GuestID",        31, 16, ""},
    {"VImuEn",         48, 48, ""},
    {"AttrV",          54, 54, ""},
    {"Mode0FC",        55, 55, "where Mode is 0, accesses snoop"},
    {"SnoopAttribute", 63, 56, ""},
}};
inline constexpr std::uint64_t kKeepNothing = 0, kKeepAccessed = 1, kKeepDirty = 3;  // DTE.HAD
inline constexpr unsigned kMostHostLevels = 6;

// The GCR3 table's address from its pieces, and the pieces of an address.
constexpr std::uint64_t gcr3_table(std::uint64_t dte0, std::uint64_t dte1) {
  return kDte0["GCR3_14_12"].get(dte0) << 12 | kDte1["GCR3_30_15"].get(dte1) << 15 |
         kDte1["GCR3_51_31"].get(dte1) << 31;
}
constexpr std::uint64_t gcr3_in_dte0(std::uint64_t table) {
  return kDte0["GCR3_14_12"].put(table >> 12 & kDte0["GCR3_14_12"].max());
}
constexpr std::uint64_t gcr3_in_dte1(std::uint64_t table) {
  return kDte1["GCR3_30_15"].put(table >> 15 & kDte1["GCR3_30_15"].max()) |
         kDte1["GCR3_51_31"].put(table >> 31 & kDte1["GCR3_51_31"].max());
}

inline constexpr Layout kGcr3{"GCR3 table entry", "AMD 48882 2.2.6.2", {
    {"V",    0,  0,  "valid"},
    {"Base", 51, 12, "the next table, at the lowest level the root of a guest table"},
}};
inline constexpr unsigned kGcr3IndexBits = 9;

// ---- commands (2.4) ----

enum class Opcode : std::uint8_t {
  completion_wait = 1,
  invalidate_devtab_entry = 2,
  invalidate_iommu_pages = 3,
  invalidate_iotlb_pages = 4,
  invalidate_interrupt_table = 5,
  prefetch_iommu_pages = 6,
  complete_ppr_request = 7,
  invalidate_iommu_all = 8,
};
inline constexpr Field kOpcode{"Opcode", 63, 60, "of every command"};
inline constexpr Layout kCompletionWait0{"COMPLETION_WAIT[63:0]", "AMD 48882 2.4.1", {
    {"S", 0, 0, "store the data"}, {"I", 1, 1, "interrupt"}, {"F", 2, 2, "later commands wait for this one"},
    {"Address", 51, 3, "where the data goes"}, {"Opcode", 63, 60, ""},
}};
inline constexpr Layout kInvalidateDevice0{"INVALIDATE_DEVTAB_ENTRY[63:0]", "AMD 48882 2.4.2", {
    {"DeviceID", 15, 0, "INVALIDATE_INTERRUPT_TABLE has the same form"}, {"Opcode", 63, 60, ""},
}};
inline constexpr Layout kInvalidatePages0{"INVALIDATE_IOMMU_PAGES[63:0]", "AMD 48882 2.4.3", {
    {"PASID", 19, 0, "with GN"}, {"DomainID", 47, 32, ""}, {"Opcode", 63, 60, ""},
}};
inline constexpr Layout kInvalidatePages1{"INVALIDATE_IOMMU_PAGES[127:64]", "AMD 48882 2.4.3", {
    {"S", 0, 0, "more than 4 KiB: the address ends in ones, the zero above them is the size's uppermost offset bit"},
    {"PDE", 1, 1, "entries that point to tables too"}, {"GN", 2, 2, "guest addresses of PASID"},
    {"Address", 63, 12, ""},
}};
inline constexpr Layout kInvalidateIotlb0{"INVALIDATE_IOTLB_PAGES[63:0]", "AMD 48882 2.4.4", {
    {"DeviceID", 15, 0, ""}, {"PASID_15_8", 23, 16, ""}, {"MaxPend", 31, 24, ""}, {"QueueID", 47, 32, ""},
    {"PASID_7_0", 55, 48, ""}, {"PASID_19_16", 59, 56, ""}, {"Opcode", 63, 60, ""},
}};
inline constexpr Layout kInvalidateIotlb1{"INVALIDATE_IOTLB_PAGES[127:64]", "AMD 48882 2.4.4", {
    {"S", 0, 0, ""}, {"GN", 2, 2, ""}, {"Type", 6, 4, ""}, {"Address", 63, 12, ""},
}};
inline constexpr Layout kPrefetch0{"PREFETCH_IOMMU_PAGES[63:0]", "AMD 48882 2.4.6", {
    {"DeviceID", 15, 0, ""}, {"PFCount", 31, 24, "pages - 1"}, {"PASID", 51, 32, ""}, {"Opcode", 63, 60, ""},
}};
inline constexpr Layout kPrefetch1{"PREFETCH_IOMMU_PAGES[127:64]", "AMD 48882 2.4.6", {
    {"S", 0, 0, ""}, {"GN", 2, 2, ""}, {"Inv", 4, 4, "forget them first"}, {"Address", 63, 12, ""},
}};
inline constexpr Layout kCompletePpr0{"COMPLETE_PPR_REQUEST[63:0]", "AMD 48882 2.4.7", {
    {"DeviceID", 15, 0, ""}, {"PASID", 51, 32, ""}, {"Opcode", 63, 60, ""},
}};
inline constexpr Layout kCompletePpr1{"COMPLETE_PPR_REQUEST[127:64]", "AMD 48882 2.4.7", {
    {"GN", 2, 2, ""}, {"Tag", 41, 32, ""}, {"Code", 47, 44, "0 success, 1 invalid, 15 failure"},
}};

// ---- events (2.5) ----

enum class Event : std::uint8_t {
  none = 0,
  illegal_dev_table_entry = 1,
  io_page_fault = 2,
  dev_tab_hardware_error = 3,
  page_tab_hardware_error = 4,
  illegal_command_error = 5,
  command_hardware_error = 6,
  iotlb_inv_timeout = 7,
  invalid_device_request = 8,
  invalid_ppr_request = 9,
  event_counter_zero = 10,
};
constexpr const char* name_of(Event event) {
  switch (event) {
    case Event::illegal_dev_table_entry: return "ILLEGAL_DEV_TABLE_ENTRY";
    case Event::io_page_fault: return "IO_PAGE_FAULT";
    case Event::dev_tab_hardware_error: return "DEV_TAB_HARDWARE_ERROR";
    case Event::page_tab_hardware_error: return "PAGE_TAB_HARDWARE_ERROR";
    case Event::illegal_command_error: return "ILLEGAL_COMMAND_ERROR";
    case Event::command_hardware_error: return "COMMAND_HARDWARE_ERROR";
    case Event::iotlb_inv_timeout: return "IOTLB_INV_TIMEOUT";
    case Event::invalid_device_request: return "INVALID_DEVICE_REQUEST";
    case Event::invalid_ppr_request: return "INVALID_PPR_REQUEST";
    case Event::event_counter_zero: return "EVENT_COUNTER_ZERO";
    case Event::none: break;
  }
  return "unknown event";
}
inline constexpr Layout kEvent0{"event log entry[63:0]", "AMD 48882 2.5.2", {
    {"DeviceID", 15, 0,  ""},
    {"PASID_19_16", 19, 16, "where GN is set"},
    {"DomainID", 47, 32, "page faults; PASID[15:0] where GN is set"},
    {"GN",   48, 48, "the address is a guest's, under a PASID"},
    {"NX",   49, 49, ""},
    {"US",   50, 50, ""},
    {"I",    51, 51, "it was an interrupt"},
    {"PR",   52, 52, "the page is present: its rights, or bits that must be 0, are why"},
    {"RW",   53, 53, "it was a write"},
    {"PE",   54, 54, "a right was missing"},
    {"RZ",   55, 55, "bits that must be 0 are not; in a device table entry, else: a level that does not exist"},
    {"TR",   56, 56, "it was a translation request"},
    {"Type", 59, 57, "hardware errors: 1 master abort; INVALID_DEVICE_REQUEST: what was asked for"},
    {"EventCode", 63, 60, ""},
}};
inline constexpr Layout kEvent1{"event log entry[127:64]", "AMD 48882 2.5.2", {
    {"Address", 63, 0, "of the access, of the entry or of the command"},
}};
inline constexpr std::uint64_t kMasterAbort = 1;       // kEvent0["Type"] of hardware errors
inline constexpr std::uint64_t kReadOfInterrupts = 0;  // of INVALID_DEVICE_REQUEST
inline constexpr std::uint64_t kReservedRange = 3;

// ---- page requests (2.6) ----

inline constexpr std::uint64_t kPageServiceRequest = 1;
inline constexpr Layout kPpr0{"PPR log entry[63:0]", "AMD 48882 2.6.1", {
    {"DeviceID", 15, 0, ""}, {"PASID_15_0", 31, 16, ""}, {"Tag", 41, 32, ""}, {"PASID_19_16", 45, 42, ""},
    {"NX", 49, 49, ""}, {"Read", 50, 50, ""}, {"Write", 53, 53, ""}, {"US", 54, 54, ""}, {"RZ", 55, 55, ""},
    {"GN", 56, 56, "with a PASID"}, {"Code", 63, 60, "1: a page request"},
}};
inline constexpr Layout kPpr1{"PPR log entry[127:64]", "AMD 48882 2.6.1", {
    {"Address", 63, 12, ""},
}};

// clang-format on

// Interrupt lines of the model: the general one (events and completions), and page requests.
inline constexpr unsigned kGeneralLine = 0, kPprLine = 1;

}  // namespace softiommu::hw::amd
