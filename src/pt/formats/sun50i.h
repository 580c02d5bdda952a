// SPDX-License-Identifier: BSD-3-Clause
// Allwinner H6 IOMMU tables: a directory of 4096 entries, tables of 256 pages of 4 KiB.
//
// A page names one of 16 sets of rights that registers hold. Set 0 cannot be made writable, so the driver gives four
// others the meanings below, for all masters alike.
#pragma once

#include "hw/sun50i_paging.h"
#include "pt/format.h"

namespace softiommu::pt {

struct Sun50iConfig {};

struct Sun50i {
  using Entry = std::uint32_t;
  static constexpr std::string_view kName = "sun50i";
  static constexpr unsigned kPageShift = 12;
  static constexpr std::array kIndexBits{8u, 12u};

  // What the driver programs DM_AUT_CTRL for.
  static constexpr std::uint64_t kAuthorityNone = 1, kAuthorityRead = 2, kAuthorityWrite = 3, kAuthorityReadWrite = 4;

  using Config = Sun50iConfig;

  static constexpr Result<Shape> shape(const Config& /*config*/) {
    return Shape{.top_level = 1, .input_bits = 32, .output_bits = 32, .table_bits = 32, .page_sizes = kPageSize};
  }

  static constexpr Result<std::uint64_t> attributes(const Config& /*config*/, Prot prot) {
    if (!prot.read && !prot.write) return fail(EINVAL, "a mapping must allow reading or writing");
    if (prot.coherent || prot.execute) return fail(EINVAL, "sun50i entries know neither snooping nor execution");
    const std::uint64_t one_way = prot.read ? kAuthorityRead : kAuthorityWrite;
    return kPte["VALID"].put(1) | kPte["ACI"].put(prot.read && prot.write ? kAuthorityReadWrite : one_way);
  }

  static constexpr Entry leaf(std::uint64_t attributes, PhysAddr pa, unsigned /*level*/, unsigned /*lg2*/) {
    return static_cast<Entry>(attributes | kPte["ADDR"].in_place(pa.value));
  }
  static constexpr Entry table(PhysAddr pa, unsigned /*level*/) {
    return static_cast<Entry>(kDte["TYPE"].put(hw::sun50i_paging::kTypeTable) | kDte["ADDR"].in_place(pa.value));
  }
  static constexpr bool is_table(Entry /*entry*/, unsigned /*level*/) { return true; }
  static constexpr PhysAddr table_address(Entry entry, unsigned /*level*/) {
    return PhysAddr{kDte["ADDR"].in_place(entry)};
  }
  static constexpr PhysAddr page_address(Entry entry, unsigned /*level*/) {
    return PhysAddr{kPte["ADDR"].in_place(entry)};
  }
  static constexpr unsigned page_lg2(Entry /*entry*/, unsigned /*level*/) { return kPageShift; }
  static constexpr Prot prot(const Config& /*config*/, Entry entry, unsigned /*level*/) {
    const std::uint64_t authority = kPte["ACI"].get(entry);
    return {.read = authority == kAuthorityRead || authority == kAuthorityReadWrite,
            .write = authority == kAuthorityWrite || authority == kAuthorityReadWrite};
  }

  static constexpr Config kConfigurations[] = {{}};

 private:
  static constexpr auto kDte = hw::sun50i_paging::kDte;
  static constexpr auto kPte = hw::sun50i_paging::kPte;
};

static_assert(PageTableFormat<Sun50i>);

}  // namespace softiommu::pt
