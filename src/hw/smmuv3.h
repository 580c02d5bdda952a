// SPDX-License-Identifier: BSD-3-Clause
// Arm SMMUv3: registers, stream table entries, context descriptors, commands and events (Arm IHI 0070, chapters 3 to
// 7).
//
// Structures are arrays of 64-bit words; the word that holds the valid bit is written last. Names are the
// specification's; a field split over two registers is one row per piece.
#pragma once

#include <cstdint>

#include "hw/layout.h"

namespace softiommu::hw::smmuv3 {

// clang-format off

// ---- registers, page 0 (6.3); the event and PRI queue indices are in page 1 ----

inline constexpr std::uint32_t kRegisterBytes = 0x20000;
using enum RegisterAccess;

inline constexpr Register kIdr0{0x000, 4, ro, 0, Layout{"SMMU_IDR0", "IHI0070 6.3.1", {
    {"S2P",         0,  0,  "stage 2 is supported"},
    {"S1P",         1,  1,  "stage 1 is supported"},
    {"TTF",         3,  2,  "table formats: 2 is AArch64, 3 is both"},
    {"COHACC",      4,  4,  "the SMMU's own accesses are coherent"},
    {"BTM",         5,  5,  "takes part in broadcast TLB maintenance"},
    {"HTTU",        7,  6,  "hardware update: 1 access flag, 2 access flag and dirty state"},
    {"HYP",         9,  9,  "EL2 stage 1 contexts"},
    {"ATS",         10, 10, "PCIe ATS"},
    {"ASID16",      12, 12, "16-bit ASIDs"},
    {"MSI",         13, 13, "message signalled interrupts"},
    {"SEV",         14, 14, "CMD_SYNC may send an event to the PE"},
    {"PRI",         16, 16, "PCIe PRI"},
    {"VMW",         17, 17, "VMID wildcard matching"},
    {"VMID16",      18, 18, "16-bit VMIDs"},
    {"CD2L",        19, 19, "two-level context descriptor tables"},
    {"TTENDIAN",    22, 21, "table endianness: 2 is little"},
    {"STALL_MODEL", 25, 24, "0 stall and terminate, 1 terminate only, 2 stall only"},
    {"TERM_MODEL",  26, 26, "a terminated access is always an abort"},
    {"ST_LEVEL",    28, 27, "1: two-level stream tables"},
}}};
inline constexpr Register kIdr1{0x004, 4, ro, 0, Layout{"SMMU_IDR1", "IHI0070 6.3.2", {
    {"SIDSIZE",  5,  0,  "bits of a stream id"},
    {"SSIDSIZE", 10, 6,  "bits of a substream id"},
    {"PRIQS",    15, 11, "log2 of the largest PRI queue"},
    {"EVENTQS",  20, 16, "log2 of the largest event queue"},
    {"CMDQS",    25, 21, "log2 of the largest command queue"},
    {"REL",      28, 28, "preset bases are relative"},
    {"QUEUES_PRESET", 29, 29, "queue bases are fixed"},
    {"TABLES_PRESET", 30, 30, "table bases are fixed"},
}}};
inline constexpr Register kIdr3{0x00c, 4, ro, 0, Layout{"SMMU_IDR3", "IHI0070 6.3.4", {
    {"HAD",  2,  2,  "hierarchical attribute disable"},
    {"XNX",  4,  4,  "stage 2 execute-never per privilege"},
    {"FWB",  8,  8,  "stage 2 can force write-back attributes"},
    {"STT",  9,  9,  "small translation tables"},
    {"RIL",  10, 10, "range invalidation and level hints"},
    {"BBML", 12, 11, "break-before-make level"},
}}};
inline constexpr Register kIdr5{0x014, 4, ro, 0, Layout{"SMMU_IDR5", "IHI0070 6.3.6", {
    {"OAS",       2,  0,  "output address size: 0 32, 1 36, 2 40, 3 42, 4 44, 5 48, 6 52 bits"},
    {"GRAN4K",    4,  4,  "4 KiB granule"},
    {"GRAN16K",   5,  5,  "16 KiB granule"},
    {"GRAN64K",   6,  6,  "64 KiB granule"},
    {"VAX",       11, 10, "1: 52-bit virtual addresses"},
    {"STALL_MAX", 31, 16, "outstanding stalled transactions"},
}}};
inline constexpr Register kIidr{0x018, 4, ro, 0, Layout{"SMMU_IIDR", "IHI0070 6.3.7", {
    {"Implementer", 11, 0, ""}, {"Revision", 15, 12, ""}, {"Variant", 19, 16, ""}, {"ProductID", 31, 20, ""},
}}};
inline constexpr Register kAidr{0x01c, 4, ro, 0, Layout{"SMMU_AIDR", "IHI0070 6.3.8", {
    {"ArchMinorRev", 3, 0, ""}, {"ArchMajorRev", 7, 4, ""},
}}};
inline constexpr Layout kCr0Bits{"SMMU_CR0", "IHI0070 6.3.9", {
    {"SMMUEN",   0, 0, "translate; off: GBPA decides"},
    {"PRIQEN",   1, 1, ""},
    {"EVENTQEN", 2, 2, ""},
    {"CMDQEN",   3, 3, ""},
    {"ATSCHK",   4, 4, ""},
    {"VMW",      8, 6, ""},
}};
inline constexpr Register kCr0{0x020, 4, rw, 0, kCr0Bits};
inline constexpr Register kCr0Ack{0x024, 4, ro, 0, kCr0Bits};
inline constexpr Register kCr1{0x028, 4, rw, 0, Layout{"SMMU_CR1", "IHI0070 6.3.11", {
    {"QUEUE_IC", 1, 0, ""}, {"QUEUE_OC", 3, 2, ""}, {"QUEUE_SH", 5, 4, ""},
    {"TABLE_IC", 7, 6, ""}, {"TABLE_OC", 9, 8, ""}, {"TABLE_SH", 11, 10, ""},
}}};
inline constexpr Register kCr2{0x02c, 4, rw, 0, Layout{"SMMU_CR2", "IHI0070 6.3.12", {
    {"E2H", 0, 0, ""}, {"RECINVSID", 1, 1, "record events for invalid stream ids"}, {"PTM", 2, 2, ""},
}}};
inline constexpr Register kGbpa{0x044, 4, rw, 0, Layout{"SMMU_GBPA", "IHI0070 6.3.14", {
    {"SHCFG",  13, 12, ""},
    {"ABORT",  20, 20, "while not enabled: abort (1) or bypass (0)"},
    {"UPDATE", 31, 31, "set with the new value; reads 0 when it has taken effect"},
}}};
inline constexpr Layout kIrqCtrlBits{"SMMU_IRQ_CTRL", "IHI0070 6.3.16", {
    {"GERROR_IRQEN", 0, 0, ""}, {"PRIQ_IRQEN", 1, 1, ""}, {"EVENTQ_IRQEN", 2, 2, ""},
}};
inline constexpr Register kIrqCtrl{0x050, 4, rw, 0, kIrqCtrlBits};
inline constexpr Register kIrqCtrlAck{0x054, 4, ro, 0, kIrqCtrlBits};
inline constexpr Layout kGerrorBits{"SMMU_GERROR", "IHI0070 6.3.18", {
    {"CMDQ_ERR",         0, 0, "a command was not understood; CMDQ_CONS.ERR says why"},
    {"EVENTQ_ABT_ERR",   2, 2, "the event queue could not be written"},
    {"PRIQ_ABT_ERR",     3, 3, ""},
    {"MSI_CMDQ_ABT_ERR", 4, 4, ""},
    {"SFM_ERR",          8, 8, "service failure mode"},
}};
inline constexpr Register kGerror{0x060, 4, ro, 0, kGerrorBits};   // a bit is active where it differs from GERRORN
inline constexpr Register kGerrorN{0x064, 4, rw, 0, kGerrorBits};  // software toggles to acknowledge

inline constexpr Register kStrtabBase{0x080, 8, rw, 0, Layout{"SMMU_STRTAB_BASE", "IHI0070 6.3.24", {
    {"ADDR", 51, 6, "physical address, aligned to the table's size"}, {"RA", 62, 62, "read-allocate"},
}}};
inline constexpr Register kStrtabBaseCfg{0x088, 4, rw, 0, Layout{"SMMU_STRTAB_BASE_CFG", "IHI0070 6.3.25", {
    {"LOG2SIZE", 5,  0,  "log2 of the number of stream ids"},
    {"SPLIT",    10, 6,  "stream id bits in a second-level table: 6, 8 or 10"},
    {"FMT",      17, 16, "0 linear, 1 two-level"},
}}};
inline constexpr Layout kQueueBaseBits{"SMMU_QUEUE_BASE", "IHI0070 6.3.26", {
    {"LOG2SIZE", 4, 0, "log2 of the number of entries"}, {"ADDR", 51, 5, "aligned to the queue's size"}, {"RA", 62, 62, ""},
}};
inline constexpr Register kCmdqBase{0x090, 8, rw, 0, kQueueBaseBits};
inline constexpr Register kCmdqProd{0x098, 4, rw, 0, Layout{"SMMU_CMDQ_PROD", "IHI0070 6.3.27", {
    {"WR", 19, 0, "index with its wrap bit just above LOG2SIZE"},
}}};
inline constexpr Register kCmdqCons{0x09c, 4, rw, 0, Layout{"SMMU_CMDQ_CONS", "IHI0070 6.3.28", {
    {"RD", 19, 0, "index with its wrap bit"}, {"ERR", 30, 24, "why the command at RD failed (CommandError)"},
}}};
inline constexpr Register kEventqBase{0x0a0, 8, rw, 0, kQueueBaseBits};
inline constexpr Register kEventqProd{0x100a8, 4, rw, 0, Layout{"SMMU_EVENTQ_PROD", "IHI0070 6.3.30", {
    {"WR", 19, 0, ""}, {"OVFLG", 31, 31, "toggled when an event was lost"},
}}};
inline constexpr Register kEventqCons{0x100ac, 4, rw, 0, Layout{"SMMU_EVENTQ_CONS", "IHI0070 6.3.31", {
    {"RD", 19, 0, ""}, {"OVACKFLG", 31, 31, "software copies OVFLG here"},
}}};

inline constexpr Register kPriqBase{0x0c0, 8, rw, 0, kQueueBaseBits};
inline constexpr Register kPriqProd{0x100c8, 4, rw, 0, Layout{"SMMU_PRIQ_PROD", "IHI0070 6.3.33", {
    {"WR", 19, 0, ""}, {"OVFLG", 31, 31, "toggled when a page request was lost"},
}}};
inline constexpr Register kPriqCons{0x100cc, 4, rw, 0, Layout{"SMMU_PRIQ_CONS", "IHI0070 6.3.34", {
    {"RD", 19, 0, ""}, {"OVACKFLG", 31, 31, "software copies OVFLG here"},
}}};

enum class CommandError : std::uint8_t { none = 0, illegal = 1, abort = 2, atc_inv_sync = 3 };

// ---- stream table (5.1, 5.2) ----

inline constexpr unsigned kSteWords = 8, kSteBytes = 64;
inline constexpr Layout kL1Std{"L1STD", "IHI0070 5.1", {
    {"Span",  4,  0, "0: invalid; n: the second-level table has 2^(n-1) entries"},
    {"L2Ptr", 51, 6, ""},
}};
inline constexpr Layout kSte0{"STE[63:0]", "IHI0070 5.2", {
    {"V",            0,  0,  "valid"},
    {"Config",       3,  1,  "0 abort, 4 bypass, 5 stage 1, 6 stage 2, 7 both (SteConfig)"},
    {"S1Fmt",        5,  4,  "table of context descriptors: 0 linear, 1 two-level with 4 KiB leaves, 2 with 64 KiB (S1Format)"},
    {"S1ContextPtr", 51, 6,  "that table; an IPA if stage 2 translates, too"},
    {"S1CDMax",      63, 59, "log2 of the number of context descriptors"},
}};
inline constexpr Layout kSte1{"STE[127:64]", "IHI0070 5.2", {
    {"S1DSS",    1,  0,  "without a substream: 0 abort, 1 bypass, 2 substream 0 (S1Default). Ignored if S1CDMax is 0"},
    {"S1CIR",    3,  2,  ""},
    {"S1COR",    5,  4,  ""},
    {"S1CSH",    7,  6,  ""},
    {"MEV",      19, 19, "merge events"},
    {"S2FWB",    25, 25, "stage 2 leaves may force write-back"},
    {"S1STALLD", 27, 27, "stalling is disabled"},
    {"EATS",     29, 28, "ATS: 0 refused, 1 translation requests are answered"},
    {"STRW",     31, 30, "0 NS-EL1, 2 EL2"},
    {"SHCFG",    45, 44, "1: use incoming shareability"},
}};
inline constexpr Layout kSte2{"STE[191:128]", "IHI0070 5.2", {
    {"S2VMID", 15, 0,  ""},
    {"S2T0SZ", 37, 32, "64 - bits of the input address"},
    {"S2SL0",  39, 38, "start level, 4 KiB granule: 0 level 2, 1 level 1, 2 level 0"},
    {"S2IR0",  41, 40, ""},
    {"S2OR0",  43, 42, ""},
    {"S2SH0",  45, 44, ""},
    {"S2TG",   47, 46, "granule: 0 4K, 1 64K, 2 16K"},
    {"S2PS",   50, 48, "output size, as IDR5.OAS"},
    {"S2AA64", 51, 51, ""},
    {"S2ENDI", 52, 52, ""},
    {"S2AFFD", 53, 53, "no access flag faults"},
    {"S2PTW",  54, 54, ""},
    {"S2HD",   55, 55, ""},
    {"S2HA",   56, 56, ""},
    {"S2S",    57, 57, "stall on stage 2 faults"},
    {"S2R",    58, 58, "record stage 2 faults"},
}};
inline constexpr Layout kSte3{"STE[255:192]", "IHI0070 5.2", {
    {"S2TTB", 51, 4, ""},
}};
enum class SteConfig : std::uint8_t { abort = 0, bypass = 4, stage1 = 5, stage2 = 6, nested = 7 };
enum class S1Format : std::uint8_t { linear = 0, leaves_4k = 1, leaves_64k = 2 };
enum class S1Default : std::uint8_t { abort = 0, bypass = 1, substream0 = 2 };

// ---- context descriptor (5.3, 5.4) ----

inline constexpr unsigned kCdWords = 8, kCdBytes = 64;
inline constexpr unsigned kMostSubstreamBits = 20;
inline constexpr Layout kL1Cd{"L1CD", "IHI0070 5.3", {
    {"V", 0, 0, "valid"}, {"L2Ptr", 51, 12, "the descriptors of this part of the substreams"},
}};
inline constexpr Layout kCd0{"CD[63:0]", "IHI0070 5.4", {
    {"T0SZ", 5,  0,  "64 - bits of the input address"},
    {"TG0",  7,  6,  "granule: 0 4K, 1 64K, 2 16K"},
    {"IR0",  9,  8,  ""},
    {"OR0",  11, 10, ""},
    {"SH0",  13, 12, ""},
    {"EPD0", 14, 14, "no walks through TTB0"},
    {"ENDI", 15, 15, ""},
    {"T1SZ", 21, 16, ""},
    {"TG1",  23, 22, ""},
    {"EPD1", 30, 30, "no walks through TTB1"},
    {"V",    31, 31, "valid"},
    {"IPS",  34, 32, "output size, as IDR5.OAS"},
    {"AFFD", 35, 35, "no access flag faults"},
    {"TBI0", 38, 38, "ignore the top byte"},
    {"AA64", 41, 41, "64-bit tables"},
    {"HD",   42, 42, "hardware sets the dirty state"},
    {"HA",   43, 43, "hardware sets the access flag"},
    {"S",    44, 44, "stall on faults"},
    {"R",    45, 45, "record faults"},
    {"A",    46, 46, "abort on faults (else RAZ/WI)"},
    {"ASET", 47, 47, "the ASID is not shared with processors"},
    {"ASID", 63, 48, ""},
}};
inline constexpr Layout kCd1{"CD[127:64]", "IHI0070 5.4", {
    {"HAD0", 1, 1, ""}, {"TTB0", 51, 4, ""},
}};
inline constexpr Layout kCd3{"CD[255:192]", "IHI0070 5.4", {
    {"MAIR0", 31, 0, ""}, {"MAIR1", 63, 32, ""},
}};

// ---- commands (chapter 4): two words each ----

inline constexpr unsigned kCommandWords = 2, kCommandBytes = 16;
enum class Opcode : std::uint8_t {
  prefetch_config = 0x01,
  prefetch_addr = 0x02,
  cfgi_ste = 0x03,
  cfgi_ste_range = 0x04,  // Range 31: CFGI_ALL
  cfgi_cd = 0x05,
  cfgi_cd_all = 0x06,
  tlbi_nh_all = 0x10,
  tlbi_nh_asid = 0x11,
  tlbi_nh_va = 0x12,
  tlbi_nh_vaa = 0x13,
  tlbi_el2_all = 0x20,
  tlbi_el2_asid = 0x21,
  tlbi_el2_va = 0x22,
  tlbi_el2_vaa = 0x23,
  tlbi_s12_vmall = 0x28,
  tlbi_s2_ipa = 0x2a,
  tlbi_nsnh_all = 0x30,
  atc_inv = 0x40,
  pri_resp = 0x41,
  resume = 0x44,
  stall_term = 0x45,
  sync = 0x46,
};
inline constexpr Layout kCommandCfgi0{"CMD_CFGI[63:0]", "IHI0070 4.3", {
    {"Opcode", 7, 0, ""}, {"SSec", 10, 10, ""}, {"SubstreamID", 31, 12, ""}, {"StreamID", 63, 32, ""},
}};
inline constexpr Layout kCommandCfgi1{"CMD_CFGI[127:64]", "IHI0070 4.3", {
    {"Range", 4, 0, "CFGI_STE, CFGI_CD: bit 0 is Leaf; CFGI_STE_RANGE: 2^(Range+1) stream ids, 31 is all"},
}};
inline constexpr Layout kCommandTlbi0{"CMD_TLBI[63:0]", "IHI0070 4.4", {
    {"Opcode", 7, 0, ""}, {"NUM", 16, 12, "range: (NUM+1)*2^SCALE granules"}, {"SCALE", 25, 20, ""},
    {"VMID", 47, 32, ""}, {"ASID", 63, 48, ""},
}};
inline constexpr Layout kCommandTlbi1{"CMD_TLBI[127:64]", "IHI0070 4.4", {
    {"Leaf", 0, 0, "only last-level entries"}, {"TTL", 9, 8, "level hint"},
    {"TG", 11, 10, "0: one address; 1 4K, 2 16K, 3 64K: a range"}, {"Address", 63, 12, ""},
}};
inline constexpr Layout kCommandAtcInv0{"CMD_ATC_INV[63:0]", "IHI0070 4.5.1", {
    {"Opcode", 7, 0, ""}, {"Global", 9, 9, "translations of every PASID"}, {"SSec", 10, 10, ""},
    {"SSV", 11, 11, "SubstreamID is valid"}, {"SubstreamID", 31, 12, ""}, {"StreamID", 63, 32, ""},
}};
inline constexpr Layout kCommandAtcInv1{"CMD_ATC_INV[127:64]", "IHI0070 4.5.1", {
    {"Size", 5, 0, "2^Size pages of 4 KiB; 52: everything"}, {"Address", 63, 12, "aligned to that"},
}};
inline constexpr Layout kCommandPriResp0{"CMD_PRI_RESP[63:0]", "IHI0070 4.5.2", {
    {"Opcode", 7, 0, ""}, {"SSec", 10, 10, ""}, {"SSV", 11, 11, "SubstreamID is valid"}, {"SubstreamID", 31, 12, ""},
    {"StreamID", 63, 32, ""},
}};
inline constexpr Layout kCommandPriResp1{"CMD_PRI_RESP[127:64]", "IHI0070 4.5.2", {
    {"PRGIndex", 8, 0, ""}, {"Resp", 13, 12, "0 failure, 1 invalid request, 2 success (PriResponse)"},
}};
enum class PriResponse : std::uint8_t { failure = 0, invalid = 1, success = 2 };
inline constexpr Layout kCommandResume0{"CMD_RESUME[63:0]", "IHI0070 4.6.1", {
    {"Opcode", 7, 0, ""}, {"SSec", 10, 10, ""}, {"Ac", 12, 12, "try again; else terminate"},
    {"Ab", 13, 13, "terminate with an abort"}, {"StreamID", 63, 32, ""},
}};
inline constexpr Layout kCommandResume1{"CMD_RESUME[127:64]", "IHI0070 4.6.1", {
    {"STAG", 15, 0, "of the event"},
}};
inline constexpr Layout kCommandSync0{"CMD_SYNC[63:0]", "IHI0070 4.7", {
    {"Opcode", 7, 0, ""}, {"CS", 13, 12, "0 none, 1 interrupt (MSI if MSIADDR is not 0), 2 event"},
    {"MSH", 23, 22, ""}, {"MSIATTR", 27, 24, ""}, {"MSIDATA", 63, 32, ""},
}};
inline constexpr Layout kCommandSync1{"CMD_SYNC[127:64]", "IHI0070 4.7", {
    {"MSIADDR", 51, 2, ""},
}};

// ---- events (chapter 7): four words each ----

inline constexpr unsigned kEventWords = 4, kEventBytes = 32;
enum class Event : std::uint8_t {
  f_uut = 0x01,
  c_bad_streamid = 0x02,
  f_ste_fetch = 0x03,
  c_bad_ste = 0x04,
  f_bad_ats_treq = 0x05,
  f_stream_disabled = 0x06,
  f_transl_forbidden = 0x07,
  c_bad_substreamid = 0x08,
  f_cd_fetch = 0x09,
  c_bad_cd = 0x0a,
  f_walk_eabt = 0x0b,
  f_translation = 0x10,
  f_addr_size = 0x11,
  f_access = 0x12,
  f_permission = 0x13,
};
constexpr const char* name_of(Event event) {
  switch (event) {
    case Event::f_uut: return "F_UUT";
    case Event::c_bad_streamid: return "C_BAD_STREAMID";
    case Event::f_ste_fetch: return "F_STE_FETCH";
    case Event::c_bad_ste: return "C_BAD_STE";
    case Event::f_bad_ats_treq: return "F_BAD_ATS_TREQ";
    case Event::f_stream_disabled: return "F_STREAM_DISABLED";
    case Event::f_transl_forbidden: return "F_TRANSL_FORBIDDEN";
    case Event::c_bad_substreamid: return "C_BAD_SUBSTREAMID";
    case Event::f_cd_fetch: return "F_CD_FETCH";
    case Event::c_bad_cd: return "C_BAD_CD";
    case Event::f_walk_eabt: return "F_WALK_EABT";
    case Event::f_translation: return "F_TRANSLATION";
    case Event::f_addr_size: return "F_ADDR_SIZE";
    case Event::f_access: return "F_ACCESS";
    case Event::f_permission: return "F_PERMISSION";
  }
  return "unknown event";
}
inline constexpr Layout kEvent0{"EVT[63:0]", "IHI0070 7.3", {
    {"Event", 7, 0, ""}, {"SSV", 11, 11, "SubstreamID is valid"}, {"SubstreamID", 31, 12, ""}, {"StreamID", 63, 32, ""},
}};
inline constexpr Layout kEvent1{"EVT[127:64]", "IHI0070 7.3", {
    {"STAG", 15, 0, "names a stalled transaction"}, {"Stall", 31, 31, "it waits for CMD_RESUME"}, {"PnU", 33, 33, ""}, {"InD", 34, 34, ""},
    {"RnW", 35, 35, "the access was a read"}, {"S2", 39, 39, "a stage 2 fault"},
    {"CLASS", 41, 40, "0 CD fetch, 1 table walk, 2 input address"},
}};
inline constexpr Layout kEvent2{"EVT[191:128]", "IHI0070 7.3", {
    {"InputAddr", 63, 0, ""},
}};
inline constexpr Layout kEvent3{"EVT[255:192]", "IHI0070 7.3", {
    {"IPA", 51, 12, "input of stage 2, where S2 is set"},
}};

// ---- page requests (chapter 8): two words each ----

inline constexpr unsigned kPriWords = 2, kPriBytes = 16;
inline constexpr Layout kPri0{"PRI[63:0]", "IHI0070 8.1", {
    {"StreamID", 31, 0, ""}, {"SubstreamID", 51, 32, ""}, {"Priv", 58, 58, "privileged"}, {"X", 59, 59, "for execution"},
    {"R", 60, 60, "to read"}, {"W", 61, 61, "to write"}, {"Last", 62, 62, "of its group: an answer is expected"},
    {"SSV", 63, 63, "SubstreamID is valid"},
}};
inline constexpr Layout kPri1{"PRI[127:64]", "IHI0070 8.1", {
    {"PRGIndex", 8, 0, "page request group index"}, {"Address", 63, 12, ""},
}};

// clang-format on

// Interrupt lines of the model.
inline constexpr unsigned kEventqLine = 0, kGerrorLine = 1, kSyncLine = 2, kPriqLine = 3;

}  // namespace softiommu::hw::smmuv3
