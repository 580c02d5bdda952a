// SPDX-License-Identifier: BSD-3-Clause
// Spreadtrum IOMMU: one flat table of page numbers for a window of IOVAs, 256 MiB under Linux. Entries hold no rights.
//
// Nor do they hold a valid bit: page number 0 is "nothing", so the first page of memory cannot be mapped.
#pragma once

#include "hw/sprd_paging.h"
#include "pt/format.h"

namespace softiommu::pt {

struct SprdConfig {
  std::uint64_t window = 0;  // the first IOVA (register FIRST_VPN), a multiple of the window's size
  unsigned input_bits = 28;  // the size of the window (register VPN_RANGE)
};

struct Sprd {
  using Entry = std::uint32_t;
  static constexpr std::string_view kName = "sprd";
  static constexpr unsigned kPageShift = 12;
  static constexpr std::array kIndexBits{20u};

  using Config = SprdConfig;

  static constexpr Result<Shape> shape(const Config& config) {
    if (config.input_bits <= kPageShift || config.input_bits > kAddressBits)
      return fail(EINVAL, "the window is larger than a page and at most 4 GiB");
    if ((config.window & ((std::uint64_t{1} << config.input_bits) - 1)) != 0 || config.window >> kAddressBits != 0)
      return fail(EINVAL, "the window begins at a multiple of its size below 4 GiB");
    return Shape{.input_bits = config.input_bits,
                 .window = config.window,
                 .output_bits = kAddressBits,
                 .output_first = kPageSize,
                 .root_entries = 1u << (config.input_bits - kPageShift),
                 .page_sizes = kPageSize};
  }

  static constexpr Result<std::uint64_t> attributes(const Config& /*config*/, Prot prot) {
    if (!prot.read || !prot.write) return fail(EINVAL, "pages of this IOMMU can always be read and written");
    if (prot.coherent || prot.execute) return fail(EINVAL, "page numbers know neither snooping nor execution");
    return 1;  // nothing that the entry holds
  }

  static constexpr Entry leaf(std::uint64_t /*attributes*/, PhysAddr pa, unsigned /*level*/, unsigned /*lg2*/) {
    return static_cast<Entry>(kEntry["PPN"].put(pa.value >> kPageShift));
  }
  // There are no tables below the root.
  static constexpr Entry table(PhysAddr /*pa*/, unsigned /*level*/) { return 0; }
  static constexpr bool is_table(Entry /*entry*/, unsigned /*level*/) { return false; }
  static constexpr PhysAddr table_address(Entry /*entry*/, unsigned /*level*/) { return PhysAddr{0}; }
  static constexpr PhysAddr page_address(Entry entry, unsigned /*level*/) {
    return PhysAddr{kEntry["PPN"].get(entry) << kPageShift};
  }
  static constexpr unsigned page_lg2(Entry /*entry*/, unsigned /*level*/) { return kPageShift; }
  static constexpr Prot prot(const Config& /*config*/, Entry /*entry*/, unsigned /*level*/) {
    return {.read = true, .write = true};
  }

  static constexpr Config kConfigurations[] = {{}, {.window = 0x4000'0000, .input_bits = 24}};

 private:
  static constexpr unsigned kAddressBits = 32;
  static constexpr auto kEntry = hw::sprd_paging::kEntry;
};

static_assert(PageTableFormat<Sprd>);

}  // namespace softiommu::pt
