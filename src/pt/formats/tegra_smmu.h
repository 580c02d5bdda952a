// SPDX-License-Identifier: BSD-3-Clause
// Tegra SMMU tables (Tegra30 to Tegra210): a directory of 1024 entries, tables of 1024 pages of 4 KiB.
//
// Directory entries allow everything and pages decide. Hardware also has pages of 4 MiB in the directory; Linux does
// not use them, so a configuration asks for them.
#pragma once

#include "hw/tegra_smmu_paging.h"
#include "pt/format.h"

namespace softiommu::pt {

struct TegraSmmuConfig {
  unsigned output_bits = 32;  // 34 from Tegra124 on
  std::uint64_t page_sizes = 4 * kKiB;
};

struct TegraSmmu {
  using Entry = std::uint32_t;
  static constexpr std::string_view kName = "tegra_smmu";
  static constexpr unsigned kPageShift = 12;
  static constexpr std::array kIndexBits{10u, 10u};

  using Config = TegraSmmuConfig;

  static constexpr Result<Shape> shape(const Config& config) {
    if (config.output_bits != 32 && config.output_bits != 34)
      return fail(EINVAL, "Tegra physical addresses have 32 or 34 bits");
    if (config.page_sizes != 4 * kKiB && config.page_sizes != (4 * kKiB | 4 * kMiB))
      return fail(EINVAL, "Tegra pages are 4K, and perhaps 4M");
    return Shape{.top_level = 1,
                 .input_bits = 32,
                 .output_bits = config.output_bits,
                 .table_bits = config.output_bits,
                 .page_sizes = config.page_sizes};
  }

  static constexpr Result<std::uint64_t> attributes(const Config& /*config*/, Prot prot) {
    if (!prot.read && !prot.write) return fail(EINVAL, "a mapping must allow reading or writing");
    if (prot.coherent || prot.execute) return fail(EINVAL, "Tegra entries know neither snooping nor execution");
    return kPte["READ"].put(prot.read) | kPte["WRITE"].put(prot.write) | kPte["NONSECURE"].put(1);
  }

  // Pages of 4 MiB have the bits of a page entry, and NEXT clear.
  static constexpr Entry leaf(std::uint64_t attributes, PhysAddr pa, unsigned /*level*/, unsigned /*lg2*/) {
    return static_cast<Entry>(attributes | kPte["PFN"].put(pa.value >> kPageShift));
  }
  static constexpr Entry table(PhysAddr pa, unsigned /*level*/) {
    return static_cast<Entry>(kPde["READ"].put(1) | kPde["WRITE"].put(1) | kPde["NONSECURE"].put(1) |
                              kPde["NEXT"].put(1) | kPde["PFN"].put(pa.value >> kPageShift));
  }
  static constexpr bool is_table(Entry entry, unsigned /*level*/) { return kPde["NEXT"].is_set(entry); }
  static constexpr PhysAddr table_address(Entry entry, unsigned /*level*/) {
    return PhysAddr{kPde["PFN"].get(entry) << kPageShift};
  }
  static constexpr PhysAddr page_address(Entry entry, unsigned /*level*/) {
    return PhysAddr{kPte["PFN"].get(entry) << kPageShift};
  }
  static constexpr unsigned page_lg2(Entry /*entry*/, unsigned level) { return level > 0 ? kSectionLg2 : kPageShift; }
  static constexpr Prot prot(const Config& /*config*/, Entry entry, unsigned /*level*/) {
    return {.read = kPte["READ"].is_set(entry), .write = kPte["WRITE"].is_set(entry)};
  }

  static constexpr Config kConfigurations[] = {
      {},
      {.output_bits = 34},
      {.output_bits = 34, .page_sizes = 4 * kKiB | 4 * kMiB},
  };

 private:
  static constexpr unsigned kSectionLg2 = 22;
  static constexpr auto kPde = hw::tegra_smmu_paging::kPde;
  static constexpr auto kPte = hw::tegra_smmu_paging::kPte;
};

static_assert(PageTableFormat<TegraSmmu>);

}  // namespace softiommu::pt
