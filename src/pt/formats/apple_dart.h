// SPDX-License-Identifier: BSD-3-Clause
// Apple DART tables: version 1 with 4 or 16 KiB pages, version 2 with 16 KiB; two or three levels below up to four base
// registers (TTBR), which the engine sees as one concatenated root: table n of it belongs to TTBR n.
//
// Rights are negative: what is not forbidden is allowed. Version 2 can have accesses bypass the CPU caches;
// Prot.coherent clears that bit. Version 1 has no such choice and refuses coherent. All of a page is allowed (sub-page
// 0..0xfff).
//
// Words against Linux's (io-pgtable-dart): equal, with coherent for IOMMU_CACHE in version 2 (Linux ignores the flag in
// version 1). Linux also takes 42-bit outputs with version 1 and 4 KiB pages with version 2, and then cuts address bits
// that its entries have no room for; both are refused here.
#pragma once

#include <algorithm>

#include "hw/apple_dart.h"
#include "pt/format.h"

namespace softiommu::pt {

struct AppleDartConfig {
  unsigned input_bits = 32;  // decides how many levels and base registers are used, as Linux does
};

// What differs between the versions' words.
struct AppleDartV1 {
  static constexpr unsigned kOutputBits = 36, kAddressShift = 0;
  static constexpr auto kLeaf = hw::apple_dart::kLeaf1;
  static constexpr hw::Field kAddress = kLeaf["ADDR"];
  static constexpr Result<std::uint64_t> caching(Prot prot) {
    if (prot.coherent) return fail(EINVAL, "version 1 entries cannot choose coherency");
    return kLeaf["SP_DIS"].put(1);
  }
  static constexpr bool coherent(std::uint64_t /*entry*/) { return false; }
};
struct AppleDartV2 {
  static constexpr unsigned kOutputBits = 42, kAddressShift = hw::apple_dart::kAddressShift2;
  static constexpr auto kLeaf = hw::apple_dart::kLeaf2;
  static constexpr hw::Field kAddress = kLeaf["ADDR"];
  static constexpr Result<std::uint64_t> caching(Prot prot) { return kLeaf["NO_CACHE"].put(!prot.coherent); }
  static constexpr bool coherent(std::uint64_t entry) { return !kLeaf["NO_CACHE"].is_set(entry); }
};

template <class Version, unsigned kShift>
struct AppleDart {
  static_assert(kShift >= Version::kAddress.lo + Version::kAddressShift, "entries have no room for such pages");
  static constexpr bool kIsV1 = Version::kAddressShift == 0, kIsSmall = kShift == 12;
  static constexpr std::string_view kName = !kIsV1     ? "apple_dart2_16k"
                                            : kIsSmall ? "apple_dart1_4k"
                                                       : "apple_dart1_16k";
  static constexpr unsigned kPageShift = kShift;
  static constexpr std::array kIndexBits{kShift - 3, kShift - 3, kShift - 3};

  using Entry = std::uint64_t;
  using Config = AppleDartConfig;

  static constexpr Result<Shape> shape(const Config& config) {
    if (config.input_bits <= kShift || config.input_bits > Version::kOutputBits)
      return fail(EINVAL, "IOVAs are wider than a page's offset and not wider than physical addresses");
    // Only the old units with 4 KiB pages have more than one base register.
    const unsigned indexed = config.input_bits - kShift, per_level = kShift - 3, root_lg2 = kIsSmall ? 2 : 0;
    const unsigned needed = indexed > root_lg2 ? (indexed - root_lg2 + per_level - 1) / per_level : 0;
    const unsigned levels = std::max(2u, needed);
    if (levels > kIndexBits.size()) return fail(EINVAL, "there are at most three levels below the base registers");
    const unsigned reach = levels * per_level, roots = indexed > reach ? 1u << (indexed - reach) : 1;
    return Shape{.top_level = levels - 1,
                 .input_bits = config.input_bits,
                 .output_bits = Version::kOutputBits,
                 .table_bits = Version::kOutputBits,
                 .root_entries = roots > 1 ? roots << per_level : 0,
                 .page_sizes = std::uint64_t{1} << kShift,
                 .dirty = {}};
  }

  static constexpr Result<std::uint64_t> attributes(const Config& /*config*/, Prot prot) {
    if (!prot.read && !prot.write) return fail(EINVAL, "a mapping must allow reading or writing");
    if (prot.execute) return fail(EINVAL, "DART entries have no right to execute");
    const std::uint64_t caching = TRY(Version::caching(prot));
    return caching | kValid.put(1) | kNoRead.put(!prot.read) | kNoWrite.put(!prot.write) | kStart.put(0) |
           kEnd.put(hw::apple_dart::kSubPageLast);
  }

  static constexpr Entry leaf(std::uint64_t attributes, PhysAddr pa, unsigned /*level*/, unsigned /*lg2*/) {
    return attributes | kAddress.in_place(pa.value >> Version::kAddressShift);
  }
  static constexpr Entry table(PhysAddr pa, unsigned /*level*/) {
    return kValid.put(1) | kAddress.in_place(pa.value >> Version::kAddressShift);
  }
  static constexpr bool is_table(Entry /*entry*/, unsigned level) { return level > 0; }
  static constexpr PhysAddr table_address(Entry entry, unsigned /*level*/) { return address(entry); }
  static constexpr PhysAddr page_address(Entry entry, unsigned /*level*/) { return address(entry); }
  static constexpr unsigned page_lg2(Entry /*entry*/, unsigned /*level*/) { return kShift; }
  static constexpr Prot prot(const Config& /*config*/, Entry entry, unsigned /*level*/) {
    return {.read = !kNoRead.is_set(entry), .write = !kNoWrite.is_set(entry), .coherent = Version::coherent(entry)};
  }

  // Widths: of the registers' 32 bits, of one table less, of all that two levels reach, and with three levels.
  static constexpr Config kConfigurations[] = {
      {.input_bits = 32},
      {.input_bits = kIsSmall ? 30 : 28},
      {.input_bits = kIsSmall ? 31 : 36},
      {.input_bits = kIsV1 ? 35 : 42},
      {.input_bits = kIsV1 ? 36 : 39},
  };

 private:
  static constexpr hw::Field kValid = Version::kLeaf["VALID"], kAddress = Version::kAddress,
                             kNoRead = Version::kLeaf["NO_READ"], kNoWrite = Version::kLeaf["NO_WRITE"],
                             kStart = Version::kLeaf["SP_START"], kEnd = Version::kLeaf["SP_END"];
  static constexpr PhysAddr address(Entry entry) {
    return PhysAddr{kAddress.in_place(entry) << Version::kAddressShift};
  }
};

using AppleDart1With4K = AppleDart<AppleDartV1, 12>;
using AppleDart1With16K = AppleDart<AppleDartV1, 14>;
using AppleDart2 = AppleDart<AppleDartV2, 14>;

static_assert(PageTableFormat<AppleDart1With4K> && PageTableFormat<AppleDart1With16K> && PageTableFormat<AppleDart2>);

}  // namespace softiommu::pt
