// SPDX-License-Identifier: BSD-3-Clause
// Arm SMMU versions 1 and 2: registers of the two global spaces and of the context banks (Arm IHI 0062, chapters 9, 10
// and 16).
//
// The register space is two halves of NUMPAGE pages of 4 or 64 KiB each: global space 0 is page 0 of the first, global
// space 1 is page 1, and context bank n is page n of the second. Offsets are counted from the page. Names are the
// specification's without SMMU_; where a field means something else by format there is a layout for each format.
#pragma once

#include <cstdint>

#include "hw/layout.h"

namespace softiommu::hw::smmu {

// clang-format off

using enum RegisterAccess;

inline constexpr unsigned kMostStreamEntries = 128, kMostContextBanks = 128;

// ---- global register space 0 (chapter 10) ----

inline constexpr Register kCr0{0x000, 4, rw, 1, Layout{"SMMU_sCR0", "IHI0062 10.6.1", {
    {"CLIENTPD",    0,  0,  "all transactions bypass the SMMU"},
    {"GFRE",        1,  1,  "global faults abort the transaction"},
    {"GFIE",        2,  2,  "global faults raise the interrupt"},
    {"EXIDENABLE",  3,  3,  "16-bit stream ids: SMRn without VALID, S2CRn.EXIDVALID in its place (version 2)"},
    {"GCFGFRE",     4,  4,  "configuration faults abort the access"},
    {"GCFGFIE",     5,  5,  "configuration faults raise the interrupt"},
    {"STALLD",      8,  8,  "no context stalls"},
    {"USFCFG",      10, 10, "a stream that nothing matches: 0 bypasses, 1 faults"},
    {"VMIDPNE",     11, 11, "private VMIDs: no broadcast TLB maintenance"},
    {"PTM",         12, 12, "private TLB maintenance"},
    {"FB",          13, 13, "force broadcast"},
    {"BSU",         15, 14, "barrier upgrade"},
    {"SMCFCFG",     21, 21, "a stream that several entries match: 0 bypasses, 1 faults"},
    {"VMID16EN",    31, 31, "16-bit VMIDs, in CBA2Rn (version 2)"},
}}};
inline constexpr Register kAcr{0x010, 4, rw, 0, Layout{"SMMU_sACR", "IHI0062 10.6.1", {
    {"IMPLEMENTATION", 31, 0, "the implementation's own; 0 here"},
}}};
inline constexpr Register kIdr0{0x020, 4, ro, 0, Layout{"SMMU_IDR0", "IHI0062 10.6.7", {
    {"NUMSMRG", 7,  0,  "stream mapping entries"},
    {"EXIDS",   8,  8,  "16-bit stream ids (version 2)"},
    {"NUMSIDB", 12, 9,  "bits of a stream id"},
    {"BTM",     13, 13, "takes part in broadcast TLB maintenance"},
    {"CTTW",    14, 14, "table walks are coherent"},
    {"NUMIRPT", 23, 16, "context fault interrupts; version 2: one for each bank"},
    {"PTFS",    25, 24, "AArch32 tables: 0 long and short descriptors, 1 long ones only, 2 none"},
    {"ATOSNS",  26, 26, "version 2: no address translation operations"},
    {"SMS",     27, 27, "stream matching; else S2CRn is indexed with the stream id"},
    {"NTS",     28, 28, "nested translation"},
    {"S2TS",    29, 29, "stage 2"},
    {"S1TS",    30, 30, "stage 1"},
    {"SES",     31, 31, "security extensions"},
}}};
inline constexpr Register kIdr1{0x024, 4, ro, 0, Layout{"SMMU_IDR1", "IHI0062 10.6.7", {
    {"NUMCB",       7,  0,  "context banks"},
    {"SMCD",        15, 15, "conflicts of stream matching are detected, all of them"},
    {"NUMS2CB",     23, 16, "of the banks, the first ones: they do stage 2 only"},
    {"NUMPAGENDXB", 30, 28, "half of the register space has 2^(n+1) pages"},
    {"PAGESIZE",    31, 31, "pages of registers: 0 4 KiB, 1 64 KiB"},
}}};
inline constexpr Register kIdr2{0x028, 4, ro, 0, Layout{"SMMU_IDR2", "IHI0062 10.6.7", {
    {"IAS",     3,  0,  "bits that stage 2 takes: 0 32, 1 36, 2 40, 3 42, 4 44, 5 48"},
    {"OAS",     7,  4,  "bits that go out, likewise"},
    {"UBS",     11, 8,  "bits that come in, likewise (version 2)"},
    {"PTFSV8_4K",  12, 12, "AArch64 tables of 4 KiB (version 2)"},
    {"PTFSV8_16K", 13, 13, "AArch64 tables of 16 KiB (version 2)"},
    {"PTFSV8_64K", 14, 14, "AArch64 tables of 64 KiB (version 2)"},
    {"VMID16S", 15, 15, "16-bit VMIDs (version 2)"},
}}};
inline constexpr Register kIdr7{0x03c, 4, ro, 0, Layout{"SMMU_IDR7", "IHI0062 10.6.7", {
    {"MINOR", 3, 0, "of the implementation"}, {"MAJOR", 7, 4, "of the implementation"},
}}};
inline constexpr Register kGfar{0x040, 8, rw, 0, Layout{"SMMU_sGFAR", "IHI0062 10.6.2", {
    {"FADDR", 63, 0, "address of the transaction"},
}}};
inline constexpr Register kGfsr{0x048, 4, w1c, 0, Layout{"SMMU_sGFSR", "IHI0062 10.6.3", {
    {"ICF",   0,  0,  "S2CRn.TYPE or a context's kind says fault"},
    {"USF",   1,  1,  "no entry matches the stream"},
    {"SMCF",  2,  2,  "several entries match it"},
    {"UCBF",  3,  3,  "the context bank is not there"},
    {"UCIF",  4,  4,  "the context's interrupt is not there"},
    {"CAF",   5,  5,  "a forbidden access to registers"},
    {"EF",    6,  6,  "external abort"},
    {"PF",    7,  7,  "permission fault"},
    {"UUT",   8,  8,  "a transaction that is not supported"},
    {"MULTI", 31, 31, "more followed; what was recorded is of the first"},
}}};
inline constexpr Register kGfsynr0{0x050, 4, rw, 0, Layout{"SMMU_sGFSYNR0", "IHI0062 10.6.5", {
    {"NESTED", 0, 0, ""}, {"WNR", 1, 1, "it was a write"}, {"PNU", 2, 2, ""}, {"IND", 3, 3, ""},
    {"NSSTATE", 4, 4, ""}, {"NSATTR", 5, 5, ""}, {"ATS", 6, 6, ""},
}}};
inline constexpr Register kGfsynr1{0x054, 4, rw, 0, Layout{"SMMU_sGFSYNR1", "IHI0062 10.6.5", {
    {"STREAMID", 15, 0, ""},
}}};

// Writes to these do their work whatever is written, but for the VMID of the first.
inline constexpr Register kTlbiVmid{0x064, 4, wo, 0, Layout{"SMMU_TLBIVMID", "IHI0062 10.6.14", {
    {"VMID", 15, 0, "all of this VMID, stage 1 and stage 2; 8 bits without VMID16EN"},
}}};
inline constexpr Layout kAnything{"SMMU_TLBI, TLBSYNC", "IHI0062 10.6", {
    {"IGNORED", 31, 0, "the write itself counts"},
}};
inline constexpr Register kTlbiAllNsnh{0x068, 4, wo, 0, kAnything};  // all that is not the hypervisor's
inline constexpr Register kTlbiAllH{0x06c, 4, wo, 0, kAnything};     // the hypervisor's
inline constexpr Register kTlbGsync{0x070, 4, wo, 0, kAnything};
inline constexpr Layout kStatusBits{"SMMU_TLBSTATUS", "IHI0062 10.6.12", {
    {"SACTIVE", 0, 0, "invalidations, or transactions that used what they removed, are under way"},
}};
inline constexpr Register kTlbGstatus{0x074, 4, ro, 0, kStatusBits};

inline constexpr Layout kSmr{"SMMU_SMRn", "IHI0062 10.6.15", {
    {"ID", 14, 0, ""}, {"MASK", 30, 16, "id bits that are not compared"}, {"VALID", 31, 31, ""},
}};
inline constexpr Layout kExtendedSmr{"SMMU_SMRn with EXIDENABLE", "IHI0062 10.6.15", {
    {"ID", 15, 0, ""}, {"MASK", 31, 16, "id bits that are not compared"},
}};
inline constexpr Layout kS2cr{"SMMU_S2CRn", "IHI0062 10.6.16", {
    {"CBNDX",     7,  0,  "context bank"},
    {"SHCFG",     9,  8,  ""},
    {"EXIDVALID", 10, 10, "with EXIDENABLE: SMRn is valid"},
    {"MTCFG",     11, 11, ""},
    {"MEMATTR",   15, 12, ""},
    {"TYPE",      17, 16, "StreamType"},
    {"RACFG",     21, 20, ""},
    {"WACFG",     23, 22, ""},
    {"PRIVCFG",   25, 24, ""},
    {"INSTCFG",   27, 26, ""},
}};
enum class StreamType : std::uint8_t { translate = 0, bypass = 1, fault = 2 };

constexpr std::uint32_t smr_offset(unsigned entry) { return 0x800 + 4 * entry; }
constexpr std::uint32_t s2cr_offset(unsigned entry) { return 0xc00 + 4 * entry; }

// ---- global register space 1 (chapter 11): one word for each context bank ----

inline constexpr Layout kCbar{"SMMU_CBARn", "IHI0062 11.1.1", {
    {"VMID",    7,  0,  "tag of its translations, without VMID16EN"},
    {"BPSHCFG", 9,  8,  "stage 1 alone: shareability without stage 2"},
    {"MEMATTR", 15, 12, "stage 1 alone: memory type without stage 2"},
    {"TYPE",    17, 16, "ContextType"},
    {"IRPTNDX", 31, 24, "version 1: which context interrupt; version 2 uses the bank's number"},
}};
inline constexpr Layout kNestedCbar{"SMMU_CBARn, stage 1 over stage 2", "IHI0062 11.1.1", {
    {"VMID",    7,  0,  "tag of its translations, without VMID16EN"},
    {"CBNDX",   15, 8,  "bank of stage 2"},
    {"TYPE",    17, 16, "3"},
    {"IRPTNDX", 31, 24, "version 1: which context interrupt"},
}};
enum class ContextType : std::uint8_t { stage2 = 0, stage1 = 1, stage1_then_fault = 2, nested = 3 };
inline constexpr Layout kCbfrsynra{"SMMU_CBFRSYNRAn", "IHI0062 11.1.3", {
    {"STREAMID", 15, 0, "of the transaction that faulted"},
}};
inline constexpr Layout kCba2r{"SMMU_CBA2Rn", "IHI0062 11.1.2", {
    {"VA64", 0, 0, "AArch64 tables"}, {"MONC", 1, 1, ""}, {"VMID16", 31, 16, "tag of its translations, with VMID16EN"},
}};

constexpr std::uint32_t cbar_offset(unsigned bank) { return 4 * bank; }
constexpr std::uint32_t cbfrsynra_offset(unsigned bank) { return 0x400 + 4 * bank; }
constexpr std::uint32_t cba2r_offset(unsigned bank) { return 0x800 + 4 * bank; }

// ---- context banks (chapter 16) ----

inline constexpr Register kSctlr{0x000, 4, rw, 0, Layout{"SMMU_CBn_SCTLR", "IHI0062 16.5", {
    {"M",       0,  0,  "translate; 0: this stage lets addresses pass"},
    {"TRE",     1,  1,  "short descriptors: memory types are remapped"},
    {"AFE",     2,  2,  "short descriptors: AP[0] is the access flag"},
    {"AFFD",    3,  3,  "no access flag faults"},
    {"E",       4,  4,  "big-endian tables"},
    {"CFRE",    5,  5,  "a fault aborts the transaction (else reads are zero, writes ignored)"},
    {"CFIE",    6,  6,  "a fault raises the context's interrupt"},
    {"CFCFG",   7,  7,  "a fault stalls the transaction (else it is terminated)"},
    {"HUPCF",   8,  8,  "others go on while a fault is outstanding"},
    {"ASIDPNE", 12, 12, "private ASIDs: no broadcast TLB maintenance"},
}}};
inline constexpr Register kResume{0x008, 4, wo, 0, Layout{"SMMU_CBn_RESUME", "IHI0062 16.5", {
    {"TNR", 0, 0, "what stalled: 0 try again, 1 terminate"},
}}};
inline constexpr Register kTcr2{0x010, 4, rw, 0, Layout{"SMMU_CBn_TCR2", "IHI0062 16.5", {
    {"PASIZE", 2,  0,  "stage 1: bits of an output address, as IDR2.OAS"},
    {"AS",     4,  4,  "16-bit ASIDs (AArch64)"},
    {"TBI0",   5,  5,  "TTBR0: the top byte is ignored (AArch64)"},
    {"TBI1",   6,  6,  "TTBR1: the top byte is ignored (AArch64)"},
    {"SEP",    17, 15, "which bit extends addresses; 7: the highest that comes in"},
}}};
inline constexpr Layout kTtbrBits{"SMMU_CBn_TTBRm", "IHI0062 16.5", {
    {"ADDR", 47, 4, "table"}, {"ASID", 63, 48, "stage 1; 8 bits without TCR2.AS"},
}};
inline constexpr Register kTtbr0{0x020, 8, rw, 0, kTtbrBits};
inline constexpr Register kTtbr1{0x028, 8, rw, 0, kTtbrBits};
inline constexpr Layout kShortTtbr{"SMMU_CBn_TTBRm, short descriptors", "IHI0062 16.5", {
    {"IRGN1", 0, 0, ""}, {"S", 1, 1, "shareable"}, {"RGN", 4, 3, "outer cacheability"}, {"NOS", 5, 5, ""},
    {"IRGN0", 6, 6, ""}, {"ADDR", 31, 7, "table"},
}};
inline constexpr Register kTcr{0x030, 4, rw, 0, Layout{"SMMU_CBn_TCR", "IHI0062 16.5", {
    {"T0SZ",  5,  0,  "64 - bits that TTBR0 translates (AArch32: 3 bits, 32 - T0SZ)"},
    {"EPD0",  7,  7,  "no walks through TTBR0"},
    {"IRGN0", 9,  8,  "inner cacheability of walks"},
    {"ORGN0", 11, 10, "outer cacheability of walks"},
    {"SH0",   13, 12, "shareability of walks"},
    {"TG0",   15, 14, "granule: 0 4K, 1 64K, 2 16K (AArch64)"},
    {"T1SZ",  21, 16, "as T0SZ, for TTBR1"},
    {"A1",    22, 22, "the ASID is in TTBR1"},
    {"EPD1",  23, 23, "no walks through TTBR1"},
    {"IRGN1", 25, 24, ""},
    {"ORGN1", 27, 26, ""},
    {"SH1",   29, 28, ""},
    {"TG1",   31, 30, "granule: 1 16K, 2 4K, 3 64K (AArch64)"},
}}};
inline constexpr Layout kAArch32Tcr{"SMMU_CBn_TCR, AArch32", "IHI0062 16.5", {
    {"N",   2,  0,  "short descriptors: TTBR0 translates 32 - N bits"},
    {"PD0", 4,  4,  "short descriptors: no walks through TTBR0"},
    {"PD1", 5,  5,  "short descriptors: no walks through TTBR1"},
    {"EAE", 31, 31, "long descriptors"},
}};
inline constexpr Layout kStage2Tcr{"SMMU_CBn_TCR, stage 2", "IHI0062 16.5", {
    {"T0SZ",   5,  0,  "64 - bits of an input address (AArch32: 5 bits with a sign, 32 - T0SZ)"},
    {"SL0",    7,  6,  "start level: 4 KiB and AArch32 2 - SL0, other granules 3 - SL0"},
    {"IRGN0",  9,  8,  "inner cacheability of walks"},
    {"ORGN0",  11, 10, "outer cacheability of walks"},
    {"SH0",    13, 12, "shareability of walks"},
    {"TG0",    15, 14, "granule: 0 4K, 1 64K, 2 16K (AArch64)"},
    {"PASIZE", 18, 16, "bits of an output address, as IDR2.OAS"},
    {"RES1",   31, 31, "1"},
}};
inline constexpr Register kContextIdr{0x034, 4, rw, 0, Layout{"SMMU_CBn_CONTEXTIDR", "IHI0062 16.5", {
    {"ASID", 7, 0, "of short descriptors"}, {"PROCID", 31, 8, ""},
}}};
// MAIR0 and MAIR1 of long descriptors; PRRR and NMRR of short ones.
inline constexpr Register kMair0{0x038, 4, rw, 0, Layout{"SMMU_CBn_MAIR0, PRRR", "IHI0062 16.5", {
    {"ATTR0", 7, 0, "memory type of AttrIndx 0"}, {"ATTR1", 15, 8, ""}, {"ATTR2", 23, 16, ""}, {"ATTR3", 31, 24, ""},
}}};
inline constexpr Register kMair1{0x03c, 4, rw, 0, Layout{"SMMU_CBn_MAIR1, NMRR", "IHI0062 16.5", {
    {"ATTR4", 7, 0, ""}, {"ATTR5", 15, 8, ""}, {"ATTR6", 23, 16, ""}, {"ATTR7", 31, 24, ""},
}}};
inline constexpr Layout kPrrr{"SMMU_CBn_PRRR", "IHI0062 16.5", {
    {"TR7", 15, 14, "type of TEX[0], C, B = 7: 2 is normal memory"},
    {"NS1", 19, 19, "normal memory with S set is shareable"},
    {"NOS7", 31, 31, "of TEX[0], C, B = 7: not outer shareable"},
}};
inline constexpr Layout kNmrr{"SMMU_CBn_NMRR", "IHI0062 16.5", {
    {"IR7", 15, 14, "inner cacheability of TEX[0], C, B = 7: 1 write-back, allocating"},
    {"OR7", 31, 30, "outer cacheability, likewise"},
}};
inline constexpr Register kPar{0x050, 8, rw, 0, Layout{"SMMU_CBn_PAR", "IHI0062 16.5", {
    {"F",    0,  0,  "the translation failed: bits 1 to 8 are as in FSR"},
    {"ADDR", 47, 12, "the page, if it did not"},
}}};
inline constexpr Register kFsr{0x058, 4, w1c, 0, Layout{"SMMU_CBn_FSR", "IHI0062 16.5", {
    {"TF",     1,  1,  "translation fault"},
    {"AFF",    2,  2,  "access flag fault"},
    {"PF",     3,  3,  "permission fault"},
    {"EF",     4,  4,  "external abort"},
    {"TLBMCF", 5,  5,  "TLB match conflict"},
    {"TLBLKF", 6,  6,  "TLB lock fault"},
    {"ASF",    7,  7,  "address size fault"},
    {"UUT",    8,  8,  "a transaction that is not supported"},
    {"FORMAT", 10, 9,  "of the tables: 0 short, 1 long, 2 AArch64; read only"},
    {"SS",     30, 30, "a transaction is stalled; RESUME clears it"},
    {"MULTI",  31, 31, "more followed; what was recorded is of the first"},
}}};
inline constexpr Register kFar{0x060, 8, rw, 0, Layout{"SMMU_CBn_FAR", "IHI0062 16.5", {
    {"FADDR", 63, 0, "address of the transaction"},
}}};
inline constexpr Register kFsynr0{0x068, 4, rw, 0, Layout{"SMMU_CBn_FSYNR0", "IHI0062 16.5", {
    {"PLVL",    1,  0,  "level of the table"},
    {"WNR",     4,  4,  "it was a write"},
    {"PNU",     5,  5,  ""},
    {"IND",     6,  6,  ""},
    {"NSATTR",  8,  8,  ""},
    {"PTWF",    10, 10, "stage 2 refused a table of stage 1"},
    {"AFR",     11, 11, ""},
    {"S1CBNDX", 23, 16, "nested: bank of stage 1"},
}}};
inline constexpr Register kIpaFar{0x070, 8, rw, 0, Layout{"SMMU_CBn_IPAFAR", "IHI0062 16.5", {
    {"IPA", 47, 0, "stage 2: what it was to translate"},
}}};

inline constexpr Layout kTlbiVa64{"SMMU_CBn_TLBIVA, AArch64", "IHI0062 16.5", {
    {"VA", 43, 0, "address bits 55:12"}, {"ASID", 63, 48, ""},
}};
inline constexpr Layout kTlbiVa32{"SMMU_CBn_TLBIVA, AArch32", "IHI0062 16.5", {
    {"ASID", 7, 0, ""}, {"VA", 31, 12, ""},
}};
inline constexpr Register kTlbiVa{0x600, 8, wo, 0, kTlbiVa64};
inline constexpr Register kTlbiVaa{0x608, 8, wo, 0, kTlbiVa64};  // of all ASIDs
inline constexpr Register kTlbiAsid{0x610, 4, wo, 0, Layout{"SMMU_CBn_TLBIASID", "IHI0062 16.5", {
    {"ASID", 15, 0, ""},
}}};
inline constexpr Register kTlbiAll{0x618, 4, wo, 0, kAnything};
inline constexpr Register kTlbiVal{0x620, 8, wo, 0, kTlbiVa64};    // last level only
inline constexpr Register kTlbiVaal{0x628, 8, wo, 0, kTlbiVa64};   // last level only, of all ASIDs
inline constexpr Layout kTlbiIpa{"SMMU_CBn_TLBIIPAS2", "IHI0062 16.5", {
    {"IPA", 35, 0, "address bits 47:12 (AArch32: 39:12)"},
}};
inline constexpr Register kTlbiIpas2{0x630, 8, wo, 0, kTlbiIpa};   // version 2
inline constexpr Register kTlbiIpas2l{0x638, 8, wo, 0, kTlbiIpa};  // last level only
inline constexpr Register kTlbSync{0x7f0, 4, wo, 0, kAnything};
inline constexpr Register kTlbStatus{0x7f4, 4, ro, 0, kStatusBits};

// Address translation operations: the answer comes in PAR.
inline constexpr Layout kAtsBits{"SMMU_CBn_ATS1", "IHI0062 16.5", {
    {"ADDR", 63, 12, "what to translate"},
}};
inline constexpr Register kAts1Pr{0x800, 8, wo, 0, kAtsBits};  // privileged read
inline constexpr Register kAts1Pw{0x808, 8, wo, 0, kAtsBits};
inline constexpr Register kAts1Ur{0x810, 8, wo, 0, kAtsBits};  // unprivileged read
inline constexpr Register kAts1Uw{0x818, 8, wo, 0, kAtsBits};
inline constexpr Register kAtsr{0x8f0, 4, ro, 0, Layout{"SMMU_CBn_ATSR", "IHI0062 16.5", {
    {"ACTIVE", 0, 0, "not done yet"},
}}};

// clang-format on

// Bits of an address by the codes of IDR2, TCR2.PASIZE and the like; what lies beyond is 48.
inline constexpr unsigned kAddressBits[] = {32, 36, 40, 42, 44, 48};

// Where the spaces are, by IDR1.
struct Pages {
  unsigned lg2 = 12;                  // of a page
  unsigned half = kMostContextBanks;  // NUMPAGE

  static constexpr Pages of(std::uint64_t idr1) {
    return {kIdr1["PAGESIZE"].is_set(idr1) ? 16u : 12u, 2u << kIdr1["NUMPAGENDXB"].get(idr1)};
  }
  constexpr std::uint64_t global1() const { return std::uint64_t{1} << lg2; }
  constexpr std::uint64_t bank(unsigned n) const { return std::uint64_t{half + n} << lg2; }
  constexpr std::uint64_t bytes() const { return std::uint64_t{2} * half << lg2; }
};

// Interrupt lines of the model: global faults, then the context interrupts.
inline constexpr unsigned kGlobalLine = 0, kFirstContextLine = 1;

}  // namespace softiommu::hw::smmu
