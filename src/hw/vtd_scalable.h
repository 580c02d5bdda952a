// SPDX-License-Identifier: BSD-3-Clause
// Intel VT-d scalable mode (ECAP.SMTS): root and context entries, PASID directory and table, the invalidation
// descriptors that name PASIDs, page requests and their responses.
//
// A source id finds a context entry; that finds a PASID directory, whose tables hold an entry of 64 bytes for each PASID.
// Requests without a PASID have the one that the context entry gives them (RID_PASID).
#pragma once

#include <cstdint>

#include "hw/layout.h"
#include "hw/vtd.h"

namespace softiommu::hw::vtd {

// clang-format off

// ---- Root and context tables: a bus has two tables of 128 context entries -------------------------------------

inline constexpr unsigned kScalableContextEntries = 128, kScalableContextWords = 4;

// Both words of a root entry: functions 00.0 to 0f.7, and 10.0 to 1f.7.
inline constexpr Layout kScalableRootEntry{"sm_root_entry", "VT-d 9.2", {
    {"P",       0,  0,  "the context table pointer is valid"},
    {"CTP",    63, 12,  "context table address / 4 KiB"},
}};

inline constexpr Layout kScalableContextEntry0{"sm_context_entry.0", "VT-d 9.4", {
    {"P",       0,  0,  "the entry is valid"},
    {"FPD",     1,  1,  "faults of this device are not recorded"},
    {"DTE",     2,  2,  "the device may have a TLB"},
    {"PASIDE",  3,  3,  "requests with PASID are allowed"},
    {"PRE",     4,  4,  "page requests are allowed"},
    {"PDTS",   11,  9,  "the PASID directory has 2^(PDTS + 7) entries"},
    {"PASIDDIRPTR", 63, 12, "PASID directory address / 4 KiB"},
}};
inline constexpr Layout kScalableContextEntry1{"sm_context_entry.1", "VT-d 9.4", {
    {"RID_PASID", 19, 0,  "PASID of requests without one"},
    {"RID_PRIV",  20, 20, "those are privileged (ECAP.RPRIVS)"},
}};

// ---- PASID directory and table --------------------------------------------------------------------------------

inline constexpr unsigned kPasidBits = 20, kPasidTableLg2 = 6, kLeastDirectoryLg2 = 7;
inline constexpr unsigned kPasidEntryWords = 8, kPasidTableEntries = 1 << kPasidTableLg2;

inline constexpr Layout kPasidDirectoryEntry{"pasid_directory_entry", "VT-d 9.5", {
    {"P",       0,  0,  "the PASID table pointer is valid"},
    {"FPD",     1,  1,  "faults of these PASIDs are not recorded"},
    {"SMPTBLPTR", 63, 12, "PASID table address / 4 KiB"},
}};

enum class PasidTranslation : std::uint8_t {
    first_stage  = 1,
    second_stage = 2,
    nested       = 3,  // the output of the first stage, and its tables, through the second
    pass_through = 4,
};

inline constexpr Layout kPasidEntry0{"pasid_table_entry.0", "VT-d 9.6", {
    {"P",       0,  0,  "the entry is valid"},
    {"FPD",     1,  1,  "faults of this PASID are not recorded"},
    {"AW",      4,  2,  "second stage: 1 39 bits (3 levels), 2 48 (4), 3 57 (5)"},
    {"SSEE",    5,  5,  "second stage: execute permission is checked"},
    {"PGTT",    8,  6,  "translation type"},
    {"SSADE",   9,  9,  "second stage: hardware keeps accessed and dirty bits"},
    {"SSPTPTR", 63, 12, "second-stage table address / 4 KiB"},
}};
inline constexpr Layout kPasidEntry1{"pasid_table_entry.1", "VT-d 9.6", {
    {"DID",    15,  0,  "domain id"},
    {"PWSNP",  23, 23,  "table walks snoop the CPU caches"},
    {"PGSNP",  24, 24,  "accesses snoop the CPU caches, whatever the request says"},
    {"CD",     25, 25,  "first-stage accesses are not cached"},
    {"EMTE",   26, 26,  "extended memory types"},
    {"EMT",    29, 27,  "extended memory type"},
    {"PWT",    30, 30,  "page-level write-through"},
    {"PCD",    31, 31,  "page-level cache disable"},
    {"PAT",    63, 32,  "page attributes"},
}};
inline constexpr Layout kPasidEntry2{"pasid_table_entry.2", "VT-d 9.6", {
    {"SRE",     0,  0,  "privileged requests are allowed (ECAP.SRS)"},
    {"ERE",     1,  1,  "execute requests are allowed (ECAP.ERS)"},
    {"FSPM",    3,  2,  "first stage: 0 4 levels, 1 5 levels"},
    {"WPE",     4,  4,  "privileged writes respect read-only pages"},
    {"NXE",     5,  5,  "first-stage entries can forbid execution"},
    {"SMEP",    6,  6,  "privileged requests execute no user pages"},
    {"EAFE",    7,  7,  "extended accessed flag (ECAP.EAFS)"},
    {"FSPTPTR", 63, 12, "first-stage table address / 4 KiB"},
}};

// ---- Invalidation descriptors of 256 bits (IQA.DW): the upper two words are 0 ----------------------------------

inline constexpr unsigned kWideDescriptorBytes = 32;

inline constexpr Layout kPasidCacheDescriptor0{"pasid_cache_inv_dsc.0", "VT-d 6.5.2.2", {
    {"TYPE",    3,  0,  "7"},
    {"G",       5,  4,  "granularity (enum PasidCacheGranularity)"},
    {"TYPE_HI", 11, 9,  "0"},
    {"DID",    31, 16,  "domain id"},
    {"PASID",  51, 32,  "PASID"},
}};
enum class PasidCacheGranularity : std::uint8_t { domain = 0, pasid = 1, reserved = 2, global = 3 };

inline constexpr Layout kPasidIotlbDescriptor0{"p_iotlb_inv_dsc.0", "VT-d 6.5.2.4", {
    {"TYPE",    3,  0,  "6"},
    {"G",       5,  4,  "granularity (enum PasidIotlbGranularity)"},
    {"TYPE_HI", 11, 9,  "0"},
    {"DID",    31, 16,  "domain id"},
    {"PASID",  51, 32,  "PASID"},
}};
// The high word is that of kIotlbDescriptor1; only for pages.
enum class PasidIotlbGranularity : std::uint8_t { pasid = 2, pages = 3 };

inline constexpr Layout kPasidDeviceTlbDescriptor0{"p_dev_tlb_inv_dsc.0", "VT-d 6.5.2.6", {
    {"TYPE",    3,  0,  "8"},
    {"MIP",     8,  4,  "invalidations that may be pending at the device"},
    {"TYPE_HI", 11, 9,  "0"},
    {"PFSID_LO", 15, 12, "physical function's source id, bits 3:0"},
    {"SID",    31, 16,  "source id"},
    {"PASID",  51, 32,  "PASID"},
    {"PFSID_HI", 63, 52, "physical function's source id, bits 15:4"},
}};
inline constexpr Layout kPasidDeviceTlbDescriptor1{"p_dev_tlb_inv_dsc.1", "VT-d 6.5.2.6", {
    {"G",       0,  0,  "of all PASIDs"},
    {"S",      11, 11,  "the low zero bit of ADDR says how many pages; else one"},
    {"ADDR",   63, 12,  "page"},
}};

inline constexpr Layout kPageResponseDescriptor0{"page_grp_resp_dsc.0", "VT-d 7.7.1", {
    {"TYPE",    3,  0,  "9"},
    {"PP",      4,  4,  "the request had a PASID"},
    {"TYPE_HI", 11, 9,  "0"},
    {"RC",     15, 12,  "response code: 0 success, 1 invalid, 15 failure"},
    {"RID",    31, 16,  "source id of the requester"},
    {"PASID",  51, 32,  "PASID"},
}};
enum class PageResponseCode : std::uint8_t { success = 0, invalid = 1, failure = 15 };
inline constexpr Layout kPageResponseDescriptor1{"page_grp_resp_dsc.1", "VT-d 7.7.1", {
    {"PRGI",   11,  3,  "page request group index"},
}};

// ---- Page requests, 32 bytes each ------------------------------------------------------------------------------

inline constexpr unsigned kPageRequestBytes = 32, kPageRequestWords = 4;
inline constexpr std::uint64_t kPageRequestType = 1;

inline constexpr Layout kPageRequest0{"page_req_dsc.0", "VT-d 7.4.1.1", {
    {"TYPE",    7,  0,  "1"},
    {"PP",      8,  8,  "the request has a PASID"},
    {"RID",    31, 16,  "source id of the requester"},
    {"PASID",  51, 32,  "PASID"},
    {"EXR",    52, 52,  "for execution"},
    {"PMR",    53, 53,  "privileged"},
}};
inline constexpr Layout kPageRequest1{"page_req_dsc.1", "VT-d 7.4.1.1", {
    {"R",       0,  0,  "for reading"},
    {"W",       1,  1,  "for writing"},
    {"LPIG",    2,  2,  "the last one of its group: an answer is expected"},
    {"PRGI",   11,  3,  "page request group index"},
    {"ADDR",   63, 12,  "page"},
}};

// clang-format on

constexpr unsigned directory_lg2(std::uint64_t context0) {
  return kLeastDirectoryLg2 + static_cast<unsigned>(kScalableContextEntry0["PDTS"].get(context0));
}
constexpr unsigned pasid_width(std::uint64_t ecap) { return static_cast<unsigned>(kEcap["PSS"].get(ecap)) + 1; }
constexpr unsigned descriptor_bytes(std::uint64_t iqa) {
  return kIqa["DW"].is_set(iqa) ? kWideDescriptorBytes : kDescriptorBytes;
}
constexpr unsigned levels_of_fspm(std::uint64_t fspm) { return 4 + static_cast<unsigned>(fspm); }
constexpr std::uint32_t page_queue_bytes(std::uint64_t pqa) {
  return std::uint32_t{4096} << static_cast<unsigned>(kPqa["PQS"].get(pqa));
}

// Of both device-TLB descriptors: the pages that ADDR means. The number of its low one bits (if S) is the size.
struct DeviceTlbRange {
  std::uint64_t first, bytes;  // bytes 0: everything
};
constexpr DeviceTlbRange device_tlb_range(std::uint64_t address, bool sized) {
  constexpr unsigned kPageLg2 = 12;
  const std::uint64_t page = address >> kPageLg2;
  unsigned ones = 0;
  while (sized && ones < 64 - kPageLg2 && (page >> ones & 1) != 0) ++ones;
  const unsigned lg2 = kPageLg2 + (sized ? ones + 1 : 0);
  if (lg2 >= 64 - 1) return {0, 0};
  return {address >> lg2 << lg2, std::uint64_t{1} << lg2};
}
// The address word for 2^mask pages from `first`, which is aligned to them; without the S bit.
constexpr std::uint64_t device_tlb_address(std::uint64_t first, unsigned mask) {
  constexpr unsigned kPageLg2 = 12;
  if (mask == 0) return first;
  const unsigned ones = mask - 1;
  const std::uint64_t low = ones >= 64 - kPageLg2 ? ~std::uint64_t{0} : (std::uint64_t{1} << ones) - 1;
  return first | (low & (~std::uint64_t{0} >> (kPageLg2 + 1))) << kPageLg2;
}

static_assert(device_tlb_range(0x1000, false).bytes == 0x1000);
static_assert(device_tlb_range(0x0, true).bytes == 0x2000);
static_assert(device_tlb_range(0x1000, true).bytes == 0x4000);
static_assert(device_tlb_address(0, 2) == 0x1000 && device_tlb_address(0x4000, 1) == 0x4000);
static_assert(device_tlb_address(0, 52) == 0x7fff'ffff'ffff'f000 && device_tlb_range(0x7fff'ffff'ffff'f000, true).bytes == 0);

}  // namespace softiommu::hw::vtd
