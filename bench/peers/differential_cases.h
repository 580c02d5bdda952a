// SPDX-License-Identifier: BSD-3-Clause
// What the differential test runs on, and what may differ from Linux there: each difference once, with its reason.
#pragma once

#include <array>
#include <cstdint>

#include "table_words.h"

namespace differential {

constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;

// Kernels whose code a row is about.
enum Kernel : unsigned { kNew = 1, kOld = 2, kBoth = 3 };

constexpr unsigned in(peer_format format) { return 1u << format; }
constexpr unsigned kArm64 = in(PEER_ARM_S1) | in(PEER_ARM_S2), kAll = ~0u;

enum class Behaviour {
  word,              // leaf words differ in some bits
  empty_table,       // Linux keeps a table without entries where ours has none
  hole,              // Linux's unmap stops at a hole
  mapped_error,      // another errno for a page that is mapped already
  outside_error,     // another errno for addresses that are too large
  grown_in_vain,     // a refused mapping leaves a higher root
  not_checked,       // Linux does not notice a mistake, or not without losing what was mapped
  block_over_pages,  // Linux's map replaces mapped pages by a block
  dirty_hole,        // Linux refuses to read dirty state where something is not mapped
  dirty_last_entry,  // Linux reports a dirty page without its last entry
  last_byte,         // Linux does not translate the last address of 64 bits
  born_dirty,        // fresh leaves are dirty
};

struct Difference {
  Behaviour behaviour;
  unsigned kernels, formats;
  std::uint64_t mask;  // of leaf words: the bits that may differ, where `rights` were asked for and `without` were not
  unsigned rights, without;
  const char* reason;
};

constexpr Difference kAllowed[] = {
    {Behaviour::empty_table, kBoth, kAll, 0, 0, 0,
     "Linux frees a table only in an unmap that spans all of it; ours in the unmap that empties it"},
    {Behaviour::hole, kBoth, kAll, 0, 0, 0,
     "iommu_unmap stops where nothing is mapped; ours goes on, as the VFIO uAPI asks"},
    {Behaviour::mapped_error, kBoth, kArm64 | in(PEER_V7S) | in(PEER_DART1) | in(PEER_DART2), 0, 0, 0,
     "io-pgtable answers EEXIST, generic_pt (and ours, through kp.h) EADDRINUSE"},
    {Behaviour::outside_error, kNew, in(PEER_VTDSS), 0, 0, 0,
     "generic_pt answers ERANGE, ours EINVAL (with sign extension generic_pt leaves the middle to its callers)"},
    {Behaviour::block_over_pages, kBoth, kArm64 | in(PEER_V7S), 0, 0, 0,
     "io-pgtable takes the table under a new block for an empty one and frees it; ours answers EEXIST"},
    {Behaviour::dirty_hole, kBoth, in(PEER_ARM_S1), 0, 0, 0,
     "io-pgtable-arm answers EINVAL where something is not mapped; ours skips it"},
    {Behaviour::not_checked, kOld, in(PEER_VTDSS) | in(PEER_AMDV1), 0, 0, 0,
     "the drivers of 6.12 overwrite entries that are in use"},
    {Behaviour::born_dirty, kBoth, in(PEER_ARM_S1), 0, 0, 0,
     "io-pgtable-arm maps writable pages as dirty already; ours are clean until a device has written"},
    {Behaviour::word, kBoth, in(PEER_ARM_S2), bit(53), PEER_NOEXEC, 0,
     "stage 2 without execution: Linux writes XN 3, which with FEAT_XNX lets privileged accesses execute; ours 2, "
     "none"},
    {Behaviour::word, kOld, in(PEER_VTDSS), bit(0), PEER_WRITE, PEER_READ,
     "the driver of 6.12 marks each entry as present, which is the right to read; ours is write-only"},
    {Behaviour::grown_in_vain, kNew, in(PEER_AMDV1), 0, 0, 0,
     "generic_pt lets the root grow for a mapping that it then refuses; ours checks first"},
    {Behaviour::last_byte, kNew, in(PEER_ARM_S1), 0, 0, 0,
     "io-pgtable-arm's iova_to_phys adds 1 to the address, which wraps at the end of the upper half (7.2.13)"},
    {Behaviour::dirty_last_entry, kNew, in(PEER_AMDV1), 0, 0, 0,
     "generic_pt leaves out the last entry of a dirty page that stands in several (7.2.13 record_dirty)"},
};

struct Case {
  const char* name;
  unsigned kernels;
  peer_config config;
};

// Rights that are asked for at random. Formats that cannot express write-only refuse it here; Linux widens it.
inline unsigned rights_of(const peer_config& config, std::uint64_t random) {
  if ((config.flags & PEER_MEDIATEK) != 0)
    return PEER_READ | PEER_WRITE | PEER_CACHE | PEER_NOEXEC;  // entries have none
  static constexpr unsigned kUsual[] = {PEER_READ | PEER_WRITE, PEER_READ | PEER_WRITE, PEER_READ, PEER_WRITE};
  unsigned rights = kUsual[random % 4];
  if (config.format == PEER_X86_64 || config.format == PEER_RISCV64 || config.format == PEER_ARM_S1 ||
      config.format == PEER_V7S)
    rights |= PEER_READ;
  // Arm's entries are compared for cacheable requests only (as drivers of coherent devices ask).
  const bool arm = ((kArm64 | in(PEER_V7S)) & in(config.format)) != 0;
  if (arm || (random & 16) != 0) rights |= PEER_CACHE;
  if (((kArm64 | in(PEER_V7S) | in(PEER_RISCV64)) & in(config.format)) != 0 && (random & 32) != 0)
    rights |= PEER_NOEXEC;
  if (rights == (PEER_WRITE | PEER_CACHE)) rights |= PEER_NOEXEC;  // what is executed is read
  return rights;
}

constexpr unsigned long k4K = 4 * kKiB | 2 * kMiB | 1 * kGiB, k16K = 16 * kKiB | 32 * kMiB,
                        k64K = 64 * kKiB | 512 * kMiB, kV7s = 4 * kKiB | 64 * kKiB | 1 * kMiB | 16 * kMiB;

constexpr Case kCases[] = {
    {"vtdss, 3 levels", kBoth, {PEER_VTDSS, 39, 52, 12, k4K, 0}},
    {"vtdss, 4 levels", kBoth, {PEER_VTDSS, 48, 52, 12, k4K, 0}},
    {"vtdss, 4 levels, snooping forced", kBoth, {PEER_VTDSS, 48, 52, 12, k4K, PEER_FORCE_COHERENT}},
    {"vtdss, 5 levels", kBoth, {PEER_VTDSS, 57, 52, 12, k4K, 0}},
    {"x86_64, 4 levels", kNew, {PEER_X86_64, 48, 52, 12, k4K, 0}},
    {"x86_64, 5 levels", kNew, {PEER_X86_64, 57, 52, 12, k4K, 0}},
    {"amdv1, from 2 levels", kNew, {PEER_AMDV1, 30, 52, 12, ~0ul, PEER_FORCE_COHERENT}},
    {"amdv1, from 3 levels", kBoth, {PEER_AMDV1, 39, 52, 12, ~0ul, PEER_FORCE_COHERENT}},
    {"amdv1, from 4 levels", kNew, {PEER_AMDV1, 48, 52, 12, ~0ul, PEER_FORCE_COHERENT}},
    {"riscv, Sv39", kNew, {PEER_RISCV64, 39, 56, 12, k4K, 0}},
    {"riscv, Sv39, Svnapot", kNew, {PEER_RISCV64, 39, 56, 12, k4K | 64 * kKiB, 0}},
    {"riscv, Sv48", kNew, {PEER_RISCV64, 48, 56, 12, k4K | 512 * kGiB, 0}},
    {"riscv, Sv57, Svnapot", kNew, {PEER_RISCV64, 57, 56, 12, k4K | 64 * kKiB | 512 * kGiB, 0}},
    {"arm s1, 4K, 48 bits, dirty", kBoth, {PEER_ARM_S1, 48, 48, 12, k4K, PEER_TRACK_DIRTY}},
    {"arm s1, 4K, 39 bits", kBoth, {PEER_ARM_S1, 39, 40, 12, k4K, 0}},
    {"arm s1, 4K, 32 bits", kBoth, {PEER_ARM_S1, 32, 36, 12, k4K, 0}},
    {"arm s1, 16K, 48 bits", kBoth, {PEER_ARM_S1, 48, 48, 14, k16K, 0}},
    {"arm s1, 16K, 36 bits, dirty", kBoth, {PEER_ARM_S1, 36, 44, 14, k16K, PEER_TRACK_DIRTY}},
    {"arm s1, 64K, 48 bits", kBoth, {PEER_ARM_S1, 48, 48, 16, k64K, 0}},
    {"arm s1, 64K, 52 bits", kBoth, {PEER_ARM_S1, 52, 52, 16, k64K, 0}},
    {"arm s1, 4K, 48 bits, upper half", kBoth, {PEER_ARM_S1, 48, 48, 12, k4K, PEER_UPPER_HALF}},
    {"arm s1, 4K, 39 bits, non-secure", kBoth, {PEER_ARM_S1, 39, 40, 12, k4K, PEER_NON_SECURE}},
    {"arm s1, 64K, 42 bits, upper half", kBoth, {PEER_ARM_S1, 42, 44, 16, k64K, PEER_UPPER_HALF}},
    {"armv7 s1, 32 bits", kBoth, {PEER_ARM_S1, 32, 40, 12, k4K, PEER_AARCH32}},
    {"armv7 s2, 40 bits, 2 root tables", kBoth, {PEER_ARM_S2, 40, 40, 12, k4K, PEER_AARCH32}},
    {"arm s2, 4K, 48 bits", kBoth, {PEER_ARM_S2, 48, 48, 12, k4K, 0}},
    {"arm s2, 4K, 40 bits, 2 root tables", kNew, {PEER_ARM_S2, 40, 40, 12, k4K, 0}},
    {"arm s2, 4K, 42 bits, 8 root tables", kNew, {PEER_ARM_S2, 42, 42, 12, k4K, 0}},
    {"arm s2, 4K, 40 bits, 2 root tables", kOld, {PEER_ARM_S2, 40, 44, 12, k4K, PEER_CONCATENATE}},
    {"arm s2, 4K, 43 bits, 16 root tables", kOld, {PEER_ARM_S2, 43, 44, 12, k4K, PEER_CONCATENATE}},
    {"arm s2, 4K, 32 bits", kNew, {PEER_ARM_S2, 32, 36, 12, k4K, 0}},
    {"arm s2, 16K, 48 bits, 2 root tables", kNew, {PEER_ARM_S2, 48, 48, 14, k16K, 0}},
    {"arm s2, 16K, 40 bits, 16 root tables", kNew, {PEER_ARM_S2, 40, 40, 14, k16K, 0}},
    {"arm s2, 64K, 48 bits", kBoth, {PEER_ARM_S2, 48, 48, 16, k64K, 0}},
    {"v7s", kBoth, {PEER_V7S, 32, 32, 12, kV7s, 0}},
    {"v7s, MediaTek, 32 bits", kBoth, {PEER_V7S, 32, 32, 12, kV7s, PEER_MEDIATEK | PEER_NON_SECURE}},
    {"v7s, MediaTek, 34 bits", kBoth, {PEER_V7S, 34, 35, 12, kV7s, PEER_MEDIATEK | PEER_NON_SECURE}},
    {"dart1, 4K, 32 bits", kNew, {PEER_DART1, 32, 36, 12, 4 * kKiB, 0}},
    {"dart1, 4K, 36 bits", kNew, {PEER_DART1, 36, 36, 12, 4 * kKiB, 0}},
    {"dart1, 16K, 32 bits", kNew, {PEER_DART1, 32, 36, 14, 16 * kKiB, 0}},
    {"dart2, 16K, 36 bits", kNew, {PEER_DART2, 36, 36, 14, 16 * kKiB, 0}},
    {"dart2, 16K, 42 bits", kNew, {PEER_DART2, 42, 42, 14, 16 * kKiB, 0}},
};

}  // namespace differential
