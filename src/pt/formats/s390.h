// SPDX-License-Identifier: BSD-3-Clause
// z/Architecture tables as zPCI functions translate through them (Principles of Operation ch. 3): page tables of 256
// entries under segment tables and up to three kinds of region tables of 2048. 4 KiB pages only.
//
// Words are big-endian. What is not in use has its I bit set, so an empty table is not zero. A page can always be read;
// P forbids writing.
//
// Words against Linux's (s390-iommu): equal for all that is mapped. When Linux unmaps, it sets I and leaves address and
// P behind; here the whole entry becomes the empty one.
#pragma once

#include "hw/s390_paging.h"
#include "pt/format.h"

namespace softiommu::pt {

struct S390Config {
  unsigned top_level = 2;     // 1: segment table, 2: region third, 3: region second, 4: region first
  unsigned input_bits = 0;    // 0: all that the levels reach (31, 42, 53, 64)
  unsigned output_bits = 64;  // of the machine's absolute addresses
};

struct S390 {
  static constexpr std::string_view kName = "s390";
  static constexpr unsigned kPageShift = 12;
  static constexpr std::array kIndexBits{8u, 11u, 11u, 11u, 11u};
  static constexpr bool kBigEndian = true;

  using Entry = std::uint64_t;
  using Config = S390Config;

  static constexpr Result<Shape> shape(const Config& config) {
    if (config.top_level < 1 || config.top_level > 4) return fail(EINVAL, "the root is a segment or a region table");
    const unsigned reach = span_lg2<S390>(config.top_level) + kIndexBits[config.top_level];
    if (config.input_bits > reach) return fail(EINVAL, "the levels do not reach that many input bits");
    if (config.output_bits > 64) return fail(EINVAL, "absolute addresses have 64 bits");
    return Shape{.top_level = config.top_level,
                 .input_bits = config.input_bits == 0 ? reach : config.input_bits,
                 .output_bits = config.output_bits,
                 .table_bits = config.output_bits,
                 .page_sizes = kPageSize,
                 .dirty = {}};
  }

  static constexpr Result<std::uint64_t> attributes(const Config& /*config*/, Prot prot) {
    if (!prot.read) return fail(EINVAL, "a page that is valid can be read");
    if (prot.coherent) return fail(EINVAL, "entries cannot force snooping");
    if (prot.execute) return fail(EINVAL, "functions do not fetch instructions");
    return kGranted | kProtected.put(!prot.write);
  }

  static constexpr Entry leaf(std::uint64_t attributes, PhysAddr pa, unsigned /*level*/, unsigned /*lg2*/) {
    return (attributes & ~kGranted) | kPage.in_place(pa.value);
  }
  static constexpr Entry table(PhysAddr pa, unsigned level) {
    if (level == 1) return hw::s390_paging::kSegmentEntry["ADDR"].in_place(pa.value);
    return kRegionTable.in_place(pa.value) | hw::s390_paging::kRegionEntry["TT"].put(level - 1) |
           hw::s390_paging::kRegionEntry["TL"].put(hw::s390_paging::kWholeTable);
  }
  static constexpr Entry empty(unsigned level) {
    return level == 0 ? hw::s390_paging::kPageEntry["I"].mask() : hw::s390_paging::kRegionEntry["I"].mask();
  }
  static constexpr bool is_table(Entry /*entry*/, unsigned level) { return level > 0; }
  static constexpr PhysAddr table_address(Entry entry, unsigned level) {
    if (level == 1) return PhysAddr{hw::s390_paging::kSegmentEntry["ADDR"].in_place(entry)};
    return PhysAddr{kRegionTable.in_place(entry)};
  }
  static constexpr PhysAddr page_address(Entry entry, unsigned /*level*/) { return PhysAddr{kPage.in_place(entry)}; }
  static constexpr unsigned page_lg2(Entry /*entry*/, unsigned /*level*/) { return kPageShift; }
  static constexpr Prot prot(const Config& /*config*/, Entry entry, unsigned /*level*/) {
    return {.read = true, .write = !kProtected.is_set(entry)};
  }

  static constexpr Config kConfigurations[] = {
      {.top_level = 1},
      {.top_level = 2},
      {.top_level = 3},
      {.top_level = 4},
      {.top_level = 2, .input_bits = 40, .output_bits = 48},
  };

 private:
  static constexpr hw::Field kPage = hw::s390_paging::kPageEntry["ADDR"], kProtected = hw::s390_paging::kPageEntry["P"],
                             kRegionTable = hw::s390_paging::kRegionEntry["ADDR"];
  // A page with all rights has no bit set but its address; attributes() must say something. Not part of an entry.
  static constexpr std::uint64_t kGranted = hw::s390_paging::kPageEntry["I"].mask();

  static_assert(hw::s390_paging::kTypeRegionThird == 1 && hw::s390_paging::kTypeRegionFirst == 3,
                "the type of a region table is its level less one");
};

static_assert(PageTableFormat<S390>);

}  // namespace softiommu::pt
