// SPDX-License-Identifier: BSD-3-Clause
// Stream table entries (IHI 0070 5.2) as this driver writes them, and which of their bits mean something.
#pragma once

#include <cstdint>

#include "base/types.h"
#include "hw/smmuv3.h"

namespace softiommu::arm_smmu_v3 {

class PagingDomain;
using UnitId = std::uint16_t;  // an ASID, or a VMID

// The words that this driver uses; the others stay 0.
struct StreamEntry {
  static constexpr unsigned kWords = 4;
  std::uint64_t words[kWords]{};

  // The bits of a word that the hardware looks at, if word 0 is this (5.2; word 0 counts as a whole).
  static std::uint64_t used_bits(std::uint64_t word0, unsigned word);
};

// What a device and its unit can do, as far as entries and descriptors say it.
struct StreamTraits {
  bool coherent = false;    // table walks snoop the caches
  bool stalls = false;      // its faults wait for an answer
  bool stalls_off = false;  // they could, and must be told not to
  bool translates = false;  // ATS: translation requests are answered
};

// Word 1 is the same for every entry that translates or passes, but for what only the new entry uses: a change between
// bypass and stage 1 is one store.
StreamEntry abort_entry();
StreamEntry bypass_entry(const StreamTraits& traits);
// `table`: S1ContextPtr, S1Fmt and S1CDMax. `without_substream` counts if there is more than one descriptor.
StreamEntry stage1_entry(const StreamTraits& traits, std::uint64_t table, hw::smmuv3::S1Default without_substream);
StreamEntry stage2_entry(const StreamTraits& traits, const PagingDomain& domain, UnitId vmid);
// A guest's stage 1 over `parent`. `guest`: the two words that it may say, checked (nested.h).
StreamEntry nested_entry(const StreamTraits& traits, const PagingDomain& parent, UnitId vmid,
                         const std::uint64_t (&guest)[2]);

// IPS, S2PS: as IDR5.OAS.
std::uint64_t output_size(unsigned bits);

}  // namespace softiommu::arm_smmu_v3
