// SPDX-License-Identifier: BSD-3-Clause
// OMAP MMU tables (TI TRMs, "System MMU"): 4096 sections of 1 MiB, tables of 256 pages of 4 KiB, and 16 neighbours that
// are one page of 16 MiB or 64 KiB.
//
// Entries hold no rights, so only pages that can be read and written can be expressed. What they do hold, how bytes are
// swapped, is the same for all pages of a table.
#pragma once

#include "hw/omap_paging.h"
#include "pt/format.h"

namespace softiommu::pt {

struct OmapConfig {
  std::uint64_t page_sizes = 4 * kKiB | 64 * kKiB | 1 * kMiB | 16 * kMiB;
  bool big_endian = false;
  std::uint64_t element_size = hw::omap_paging::kElement8;
  bool mixed = false;  // endianness comes with the access
};

struct Omap {
  using Entry = std::uint32_t;
  static constexpr std::string_view kName = "omap";
  static constexpr unsigned kPageShift = 12;
  static constexpr std::array kIndexBits{8u, 12u};
  static constexpr bool kRepeats = true;

  using Config = OmapConfig;

  static constexpr Result<Shape> shape(const Config& config) {
    constexpr std::uint64_t kSizes = 4 * kKiB | 64 * kKiB | 1 * kMiB | 16 * kMiB;
    if ((config.page_sizes & ~kSizes) != 0 || (config.page_sizes & kPageSize) == 0)
      return fail(EINVAL, "OMAP pages are 4K, and perhaps 64K, 1M and 16M");
    if (config.element_size > hw::omap_paging::kElementNone) return fail(EINVAL, "not an element size");
    return Shape{
        .top_level = 1, .input_bits = 32, .output_bits = 32, .table_bits = 32, .page_sizes = config.page_sizes};
  }

  // A page word below, a section word above.
  static constexpr Result<std::uint64_t> attributes(const Config& config, Prot prot) {
    using hw::omap_paging::kSection, hw::omap_paging::kSmallPage;
    if (!prot.read || !prot.write) return fail(EINVAL, "OMAP pages can always be read and written");
    if (prot.coherent || prot.execute) return fail(EINVAL, "OMAP entries know neither snooping nor execution");
    const std::uint64_t page = kSmallPage["ES"].put(config.element_size) | kSmallPage["E"].put(config.big_endian) |
                               kSmallPage["M"].put(config.mixed);
    const std::uint64_t section = kSection["TYPE"].put(hw::omap_paging::kTypeSection) |
                                  kSection["ES"].put(config.element_size) | kSection["E"].put(config.big_endian) |
                                  kSection["M"].put(config.mixed);
    return section << 32 | page;
  }

  static constexpr Entry leaf(std::uint64_t attributes, PhysAddr pa, unsigned level, unsigned lg2) {
    using namespace hw::omap_paging;
    if (level > 0) {
      const auto section = static_cast<Entry>(attributes >> 32);
      if (lg2 <= kSectionLg2) return section | word(kSection["ADDR"].in_place(pa.value));
      return section | word(kSupersection["SUPER"].put(1) | kSupersection["ADDR"].in_place(pa.value));
    }
    const auto page = static_cast<Entry>(attributes);
    if (lg2 == kPageShift)
      return page | word(kSmallPage["TYPE"].put(kTypeSmall) | kSmallPage["ADDR"].in_place(pa.value));
    return page | word(kLargePage["TYPE"].put(kTypeLarge) | kLargePage["ADDR"].in_place(pa.value));
  }
  static constexpr Entry table(PhysAddr pa, unsigned /*level*/) {
    using namespace hw::omap_paging;
    return word(kTable["TYPE"].put(kTypeTable) | kTable["ADDR"].in_place(pa.value));
  }
  static constexpr bool is_table(Entry entry, unsigned /*level*/) {
    return hw::omap_paging::kTable["TYPE"].get(entry) == hw::omap_paging::kTypeTable;
  }
  static constexpr PhysAddr table_address(Entry entry, unsigned /*level*/) {
    return PhysAddr{hw::omap_paging::kTable["ADDR"].in_place(entry)};
  }
  static constexpr PhysAddr page_address(Entry entry, unsigned level) {
    using namespace hw::omap_paging;
    return PhysAddr{level > 0 ? kSection["ADDR"].in_place(entry) : kSmallPage["ADDR"].in_place(entry)};
  }
  static constexpr unsigned page_lg2(Entry entry, unsigned level) {
    using namespace hw::omap_paging;
    if (level > 0) return kSection["SUPER"].is_set(entry) ? kSupersectionLg2 : kSectionLg2;
    return kSmallPage["TYPE"].get(entry) == kTypeLarge ? kLargePageLg2 : kPageShift;
  }
  static constexpr Prot prot(const Config& /*config*/, Entry /*entry*/, unsigned /*level*/) {
    return {.read = true, .write = true};
  }

  static constexpr Config kConfigurations[] = {
      {},
      {.page_sizes = 4 * kKiB | 1 * kMiB, .big_endian = true, .element_size = hw::omap_paging::kElement32},
      {.element_size = hw::omap_paging::kElementNone, .mixed = true},
      {.page_sizes = 4 * kKiB},
  };

 private:
  static constexpr unsigned kLargePageLg2 = 16, kSectionLg2 = 20, kSupersectionLg2 = 24;
  static constexpr Entry word(std::uint64_t bits) { return static_cast<Entry>(bits); }
};

static_assert(PageTableFormat<Omap>);

}  // namespace softiommu::pt
