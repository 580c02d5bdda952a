// SPDX-License-Identifier: BSD-3-Clause
// Tegra20 GART: 8192 registers that remap a window of 32 MiB. Entries hold no rights.
//
// The engine keeps them as a flat table of register words in memory; whoever owns the hardware copies what changes into
// the registers, which are reached through one pair of them.
#pragma once

#include "hw/tegra_gart.h"
#include "pt/format.h"

namespace softiommu::pt {

struct TegraGartConfig {
  std::uint64_t window = 0x5800'0000;  // the first IOVA: where the chip has it
};

struct TegraGart {
  using Entry = std::uint32_t;
  static constexpr std::string_view kName = "tegra_gart";
  static constexpr unsigned kPageShift = 12;
  static constexpr std::array kIndexBits{13u};

  using Config = TegraGartConfig;

  static constexpr Result<Shape> shape(const Config& config) {
    if ((config.window & (kWindowBytes - 1)) != 0 || config.window >> kBusBits != 0)
      return fail(EINVAL, "the window begins at a multiple of 32 MiB below 4 GiB");
    return Shape{.input_bits = kPageShift + kIndexBits[0],
                 .window = config.window,
                 .output_bits = kData["PHYS_ADDR"].hi + 1,
                 .page_sizes = kPageSize};
  }

  static constexpr Result<std::uint64_t> attributes(const Config& /*config*/, Prot prot) {
    if (!prot.read || !prot.write) return fail(EINVAL, "pages of the GART can always be read and written");
    if (prot.coherent || prot.execute) return fail(EINVAL, "the GART knows neither snooping nor execution");
    return kData["PHYS_ADDR_VALID"].put(1);
  }

  static constexpr Entry leaf(std::uint64_t attributes, PhysAddr pa, unsigned /*level*/, unsigned /*lg2*/) {
    return static_cast<Entry>(attributes | kData["PHYS_ADDR"].in_place(pa.value));
  }
  // There are no tables below the root.
  static constexpr Entry table(PhysAddr /*pa*/, unsigned /*level*/) { return 0; }
  static constexpr bool is_table(Entry /*entry*/, unsigned /*level*/) { return false; }
  static constexpr PhysAddr table_address(Entry /*entry*/, unsigned /*level*/) { return PhysAddr{0}; }
  static constexpr PhysAddr page_address(Entry entry, unsigned /*level*/) {
    return PhysAddr{kData["PHYS_ADDR"].in_place(entry)};
  }
  static constexpr unsigned page_lg2(Entry /*entry*/, unsigned /*level*/) { return kPageShift; }
  static constexpr Prot prot(const Config& /*config*/, Entry /*entry*/, unsigned /*level*/) {
    return {.read = true, .write = true};
  }

  static constexpr Config kConfigurations[] = {{}};

 private:
  static constexpr unsigned kBusBits = 32;
  static constexpr std::uint64_t kWindowBytes = kPageSize << kIndexBits[0];
  static constexpr auto kData = hw::tegra_gart::kEntryData;
};

static_assert(PageTableFormat<TegraGart>);

}  // namespace softiommu::pt
