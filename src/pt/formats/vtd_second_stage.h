// SPDX-License-Identifier: BSD-3-Clause
// Intel VT-d second-stage tables (VT-d 9.8): 3 to 5 levels.
//
// Reading and writing are separate rights, so a page can be write-only; one that allows neither cannot be
// expressed. Dirty bits are always followed: whether hardware sets them is a matter of the context (SSADE).
#pragma once

#include "hw/vtd_second_stage.h"
#include "pt/format.h"

namespace softiommu::pt {

struct VtdSecondStageConfig {
  unsigned top_level = 3;  // 2, 3, 4: three, four, five levels
  std::uint64_t page_sizes = 4 * kKiB | 2 * kMiB | 1 * kGiB;
  bool snoop_control = false;  // Prot.coherent is expressed with SNP; otherwise it is refused
  unsigned input_bits = 0;     // 0: all that the levels reach (MGAW may be less)
  unsigned output_bits = 52;   // host address width
};

struct VtdSecondStage {
  static constexpr std::string_view kName = "vtd_second_stage";
  using Entry = std::uint64_t;
  static constexpr unsigned kPageShift = 12;
  static constexpr unsigned kIndexBits[] = {9, 9, 9, 9, 9};

  using Config = VtdSecondStageConfig;

  static constexpr Result<Shape> shape(const Config& config) {
    if (config.top_level < 2 || config.top_level > 4) return fail(EINVAL, "second-stage tables have 3, 4 or 5 levels");
    const unsigned reach = kPageShift + 9 * (config.top_level + 1);
    if (config.input_bits > reach) return fail(EINVAL, "the levels do not reach that many input bits");
    constexpr std::uint64_t kSizes = 4 * kKiB | 2 * kMiB | 1 * kGiB;
    if ((config.page_sizes & ~kSizes) != 0 || (config.page_sizes & kPageSize) == 0)
      return fail(EINVAL, "second-stage pages are 4K, and perhaps 2M and 1G");
    if (config.output_bits > 52) return fail(EINVAL, "second-stage entries hold 52 address bits");
    return Shape{.top_level = config.top_level,
                 .input_bits = config.input_bits == 0 ? reach : config.input_bits,
                 .output_bits = config.output_bits,
                 .page_sizes = config.page_sizes,
                 .dirty = {kDirty.mask(), kDirty.mask(), kDirty.mask()}};
  }

  static constexpr Result<std::uint64_t> attributes(const Config& config, Prot prot) {
    if (!prot.read && !prot.write) return fail(EINVAL, "a mapping must allow reading or writing");
    if (prot.execute) return fail(EINVAL, "second-stage entries have no right to execute");
    if (prot.coherent && !config.snoop_control) return fail(EINVAL, "the unit has no snoop control");
    return kRead.put(prot.read) | kWrite.put(prot.write) | kSnoop.put(prot.coherent);
  }

  static constexpr std::uint64_t leaf(std::uint64_t attributes, PhysAddr pa, unsigned level, unsigned /*lg2*/) {
    return attributes | kAddress.in_place(pa.value) | kLarge.put(level > 0);
  }
  static constexpr std::uint64_t table(PhysAddr pa, unsigned /*level*/) {
    return kAddress.in_place(pa.value) | kRead.put(1) | kWrite.put(1);
  }
  static constexpr bool is_table(std::uint64_t entry, unsigned /*level*/) { return !kLarge.is_set(entry); }
  static constexpr PhysAddr table_address(std::uint64_t entry, unsigned /*level*/) {
    return PhysAddr{kAddress.in_place(entry)};
  }
  static constexpr PhysAddr page_address(std::uint64_t entry, unsigned /*level*/) {
    return PhysAddr{kAddress.in_place(entry)};
  }
  static constexpr unsigned page_lg2(std::uint64_t /*entry*/, unsigned level) { return kPageShift + 9 * level; }
  static constexpr Prot prot(const Config& /*config*/, std::uint64_t entry, unsigned /*level*/) {
    return {.read = kRead.is_set(entry), .write = kWrite.is_set(entry), .coherent = kSnoop.is_set(entry)};
  }

  static constexpr Config kConfigurations[] = {
      {.top_level = 2},
      {.top_level = 3, .snoop_control = true},
      {.top_level = 4},
      {.top_level = 3, .page_sizes = 4 * kKiB},
      {.top_level = 3, .page_sizes = 4 * kKiB | 1 * kGiB},
      {.top_level = 3, .input_bits = 46, .output_bits = 46},
  };

 private:
  static constexpr hw::Field kRead = hw::vtd_second_stage::kEntry["R"], kWrite = hw::vtd_second_stage::kEntry["W"],
                             kLarge = hw::vtd_second_stage::kEntry["PS"], kDirty = hw::vtd_second_stage::kEntry["D"],
                             kSnoop = hw::vtd_second_stage::kEntry["SNP"],
                             kAddress = hw::vtd_second_stage::kEntry["ADDR"];
};

static_assert(PageTableFormat<VtdSecondStage>);

}  // namespace softiommu::pt
