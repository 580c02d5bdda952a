// SPDX-License-Identifier: BSD-3-Clause
// x86-64 tables, four or five levels, as IOMMUs use them: VT-d first stage (VT-d 9.7), AMD guest (v2) tables.
//
// Addresses are sign-extended; the engine serves the lower half only (47 or 56 bits), which means the same with
// and without a PASID. Present implies readable: write-only pages cannot be expressed. Snooping is forced per
// PASID entry, never per page, so Prot.coherent is refused here.
#pragma once

#include "hw/x86_64_paging.h"
#include "pt/format.h"

namespace softiommu::pt {

struct X86_64Config {
  unsigned top_level = 3;  // 3, 4: four, five levels
  std::uint64_t page_sizes = 4 * kKiB | 2 * kMiB | 1 * kGiB;
  // Leave D to the hardware. Otherwise writable leaves are born dirty, which spares it the atomic update.
  bool dirty_tracking = false;
  // XD is honoured: set where Prot.execute is not. Without it no request executes, and Prot.execute is refused.
  bool execute_disable = false;
  unsigned input_bits = 0;    // 0: the whole lower half
  unsigned output_bits = 52;  // host address width
};

struct X86_64 {
  static constexpr std::string_view kName = "x86_64";
  using Entry = std::uint64_t;
  static constexpr unsigned kPageShift = 12;
  static constexpr unsigned kIndexBits[] = {9, 9, 9, 9, 9};

  using Config = X86_64Config;

  static constexpr Result<Shape> shape(const Config& config) {
    if (config.top_level != 3 && config.top_level != 4) return fail(EINVAL, "x86-64 tables have 4 or 5 levels");
    const unsigned reach = kPageShift + 9 * (config.top_level + 1) - 1;
    if (config.input_bits > reach) return fail(EINVAL, "the lower half does not reach that many input bits");
    constexpr std::uint64_t kSizes = 4 * kKiB | 2 * kMiB | 1 * kGiB;
    if ((config.page_sizes & ~kSizes) != 0 || (config.page_sizes & kPageSize) == 0)
      return fail(EINVAL, "x86-64 pages are 4K, and perhaps 2M and 1G");
    if (config.output_bits > 52) return fail(EINVAL, "x86-64 entries hold 52 address bits");
    const DirtyRule dirty{kDirty.mask(), kDirty.mask(), kDirty.mask()};
    return Shape{.top_level = config.top_level,
                 .input_bits = config.input_bits == 0 ? reach : config.input_bits,
                 .output_bits = config.output_bits,
                 .page_sizes = config.page_sizes,
                 .dirty = config.dirty_tracking ? dirty : DirtyRule{}};
  }

  static constexpr Result<std::uint64_t> attributes(const Config& config, Prot prot) {
    if (!prot.read) return fail(EINVAL, "x86-64 entries that are present can be read");
    if (prot.coherent) return fail(EINVAL, "x86-64 entries cannot force snooping");
    if (prot.execute && !config.execute_disable) return fail(EINVAL, "this unit executes nothing");
    return kPresent.put(1) | kWrite.put(prot.write) | kUser.put(1) | kAccessed.put(1) |
           kDirty.put(prot.write && !config.dirty_tracking) | kNoExecute.put(config.execute_disable && !prot.execute);
  }

  static constexpr std::uint64_t leaf(std::uint64_t attributes, PhysAddr pa, unsigned level, unsigned /*lg2*/) {
    return attributes | kAddress.in_place(pa.value) | kLarge.put(level > 0);
  }
  static constexpr std::uint64_t table(PhysAddr pa, unsigned /*level*/) {
    return kAddress.in_place(pa.value) | kPresent.put(1) | kWrite.put(1) | kUser.put(1) | kAccessed.put(1);
  }
  static constexpr bool is_table(std::uint64_t entry, unsigned /*level*/) { return !kLarge.is_set(entry); }
  static constexpr PhysAddr table_address(std::uint64_t entry, unsigned /*level*/) {
    return PhysAddr{kAddress.in_place(entry)};
  }
  static constexpr PhysAddr page_address(std::uint64_t entry, unsigned /*level*/) {
    return PhysAddr{kAddress.in_place(entry)};
  }
  static constexpr unsigned page_lg2(std::uint64_t /*entry*/, unsigned level) { return kPageShift + 9 * level; }
  static constexpr Prot prot(const Config& config, std::uint64_t entry, unsigned /*level*/) {
    return {.read = kPresent.is_set(entry),
            .write = kWrite.is_set(entry),
            .execute = config.execute_disable && !kNoExecute.is_set(entry)};
  }

  static constexpr Config kConfigurations[] = {
      {.top_level = 3},
      {.top_level = 4, .dirty_tracking = true},
      {.top_level = 3, .page_sizes = 4 * kKiB | 2 * kMiB, .dirty_tracking = true, .execute_disable = true},
      {.top_level = 3, .input_bits = 39, .output_bits = 40},
  };

 private:
  static constexpr hw::Field kPresent = hw::x86_64_paging::kEntry["P"], kWrite = hw::x86_64_paging::kEntry["RW"],
                             kUser = hw::x86_64_paging::kEntry["US"], kAccessed = hw::x86_64_paging::kEntry["A"],
                             kDirty = hw::x86_64_paging::kEntry["D"], kLarge = hw::x86_64_paging::kEntry["PS"],
                             kNoExecute = hw::x86_64_paging::kEntry["XD"], kAddress = hw::x86_64_paging::kEntry["ADDR"];
};

static_assert(PageTableFormat<X86_64>);

}  // namespace softiommu::pt
