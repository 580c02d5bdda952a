// SPDX-License-Identifier: BSD-3-Clause
// MediaTek M4U generation 1: one flat table of 4 MiB for 4 GiB. Entries hold no rights.
#pragma once

#include "hw/mtk_v1_paging.h"
#include "pt/format.h"

namespace softiommu::pt {

struct MtkV1Config {};

struct MtkV1 {
  using Entry = std::uint32_t;
  static constexpr std::string_view kName = "mtk_v1";
  static constexpr unsigned kPageShift = 12;
  static constexpr std::array kIndexBits{20u};

  using Config = MtkV1Config;

  static constexpr Result<Shape> shape(const Config& /*config*/) {
    return Shape{.input_bits = 32, .output_bits = 32, .table_bits = 32, .page_sizes = kPageSize};
  }

  static constexpr Result<std::uint64_t> attributes(const Config& /*config*/, Prot prot) {
    if (!prot.read || !prot.write) return fail(EINVAL, "pages of this M4U can always be read and written");
    if (prot.coherent || prot.execute) return fail(EINVAL, "M4U entries know neither snooping nor execution");
    return kEntry["VALID"].put(1) | kEntry["NONSECURE"].put(1);
  }

  static constexpr Entry leaf(std::uint64_t attributes, PhysAddr pa, unsigned /*level*/, unsigned /*lg2*/) {
    return static_cast<Entry>(attributes | kEntry["ADDR"].in_place(pa.value));
  }
  // There are no tables below the root.
  static constexpr Entry table(PhysAddr /*pa*/, unsigned /*level*/) { return 0; }
  static constexpr bool is_table(Entry /*entry*/, unsigned /*level*/) { return false; }
  static constexpr PhysAddr table_address(Entry /*entry*/, unsigned /*level*/) { return PhysAddr{0}; }
  static constexpr PhysAddr page_address(Entry entry, unsigned /*level*/) {
    return PhysAddr{kEntry["ADDR"].in_place(entry)};
  }
  static constexpr unsigned page_lg2(Entry /*entry*/, unsigned /*level*/) { return kPageShift; }
  static constexpr Prot prot(const Config& /*config*/, Entry /*entry*/, unsigned /*level*/) {
    return {.read = true, .write = true};
  }

  static constexpr Config kConfigurations[] = {{}};

 private:
  static constexpr auto kEntry = hw::mtk_v1_paging::kEntry;
};

static_assert(PageTableFormat<MtkV1>);

}  // namespace softiommu::pt
