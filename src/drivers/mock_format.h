// SPDX-License-Identifier: BSD-3-Clause
// The page tables of the mock IOMMU: AMD v1 at half its scale, so that pages are smaller than the CPU's (2 KiB).
//
// An entry holds twice the address of what it maps, and says twice its size; tables are where AMD's are.
#pragma once

#include "pt/formats/amd_v1.h"

namespace softiommu::mock {

inline constexpr std::uint64_t kAllPageSizes = pt::amd_v1::kAllSizes >> 1;

// Three levels, which grow to five: 56 bits.
struct FormatConfig {
  std::uint64_t page_sizes = kAllPageSizes;
};

struct Format {
  static constexpr std::string_view kName = "amd_v1_half";
  static constexpr unsigned kPageShift = pt::AmdV1::kPageShift - 1;
  static constexpr std::uint64_t kPage = std::uint64_t{1} << kPageShift;
  static constexpr std::array kIndexBits{9u, 9u, 9u, 9u, 9u};
  static constexpr bool kRepeats = true;

  using Entry = pt::AmdV1::Entry;
  using Config = FormatConfig;

  static constexpr Result<pt::Shape> shape(const Config& config) {
    if ((config.page_sizes & ~kAllPageSizes) != 0 || (config.page_sizes & kPage) == 0)
      return fail(EINVAL, "pages are 2K, and powers of two");
    const pt::Shape full = *pt::AmdV1::shape({.top_level = kTop});
    return pt::Shape{.top_level = kTop,
                     .most_top_level = kMostTop,
                     .input_bits = kPageShift + 9 * (kMostTop + 1),
                     .output_bits = full.output_bits - 1,
                     .table_bits = full.table_bits,
                     .page_sizes = config.page_sizes & full.page_sizes >> 1,
                     .dirty = full.dirty};
  }
  static constexpr Result<std::uint64_t> attributes(const Config& /*config*/, Prot prot) {
    return pt::AmdV1::attributes({}, prot);
  }
  static constexpr Entry leaf(std::uint64_t attributes, PhysAddr pa, unsigned level, unsigned lg2) {
    return pt::AmdV1::leaf(attributes, PhysAddr{pa.value << 1}, level, lg2 + 1);
  }
  static constexpr Entry table(PhysAddr pa, unsigned level) { return pt::AmdV1::table(pa, level); }
  static constexpr bool is_table(Entry entry, unsigned level) { return pt::AmdV1::is_table(entry, level); }
  static constexpr PhysAddr table_address(Entry entry, unsigned level) {
    return pt::AmdV1::table_address(entry, level);
  }
  static constexpr PhysAddr page_address(Entry entry, unsigned level) {
    return PhysAddr{pt::AmdV1::page_address(entry, level).value >> 1};
  }
  static constexpr unsigned page_lg2(Entry entry, unsigned level) { return pt::AmdV1::page_lg2(entry, level) - 1; }
  static constexpr Prot prot(const Config& /*config*/, Entry entry, unsigned level) {
    return pt::AmdV1::prot({}, entry, level);
  }

  static constexpr Config kConfigurations[] = {{}, {.page_sizes = kPage | 2 * kPage | 512 * kPage}};

 private:
  static constexpr unsigned kTop = 2, kMostTop = 4;
};

static_assert(pt::PageTableFormat<Format>);

}  // namespace softiommu::mock
