// SPDX-License-Identifier: BSD-3-Clause
// AMD IOMMU host page tables, "v1" (48882 2.2.3): one to six levels, the whole 64 bits of an IOVA, every power-of-two
// page size. A domain starts with a small root, which grows when a mapping needs more (Linux starts with three levels).
//
// Reading and writing are separate rights. Prot.coherent is the entry's FC bit. Dirty bits are always followed:
// whether hardware sets them is a matter of the device table entry (HAD); it marks only the entry that it used of those
// that a large page stands in.
//
// Words against Linux's (generic_pt amdv1): equal, with coherent asked for where Linux has FORCE_COHERENCE. Linux also
// writes leaves that allow neither reading nor writing, which are refused here.
#pragma once

#include <bit>

#include "hw/amd_v1.h"
#include "pt/format.h"

namespace softiommu::pt {

namespace amd_v1 {
// 4 KiB to 2^51. Not 512 GiB: hardware is known to get that one wrong. The highest level has no pages.
inline constexpr std::uint64_t kAllSizes = ((std::uint64_t{1} << 52) - 1) & ~(4 * kKiB - 1) & ~(std::uint64_t{1} << 39);
}  // namespace amd_v1

struct AmdV1Config {
  unsigned top_level = 2;  // of the first root; 0..5: one to six levels
  bool grows = true;       // up to six levels
  std::uint64_t page_sizes = amd_v1::kAllSizes;
  unsigned input_bits = 0;    // 0: all that the levels reach
  unsigned output_bits = 52;  // physical addresses that the unit puts out
};

struct AmdV1 {
  static constexpr std::string_view kName = "amd_v1";
  static constexpr unsigned kPageShift = 12;
  static constexpr std::array kIndexBits{9u, 9u, 9u, 9u, 9u, 9u};  // of the highest, 128 are used
  static constexpr bool kRepeats = true;

  using Entry = std::uint64_t;
  using Config = AmdV1Config;

  static constexpr Result<Shape> shape(const Config& config) {
    if (config.top_level > kMostTop) return fail(EINVAL, "v1 tables have one to six levels");
    const unsigned highest = config.grows ? kMostTop : config.top_level, reach = reach_of(highest);
    if (config.input_bits > reach) return fail(EINVAL, "the levels do not reach that many input bits");
    if ((config.page_sizes & ~amd_v1::kAllSizes) != 0 || (config.page_sizes & kPageSize) == 0)
      return fail(EINVAL, "v1 pages are 4K, and powers of two up to 2^51 but for 512G");
    if (config.output_bits > kMostOutput) return fail(EINVAL, "v1 entries hold 52 address bits");
    return Shape{.top_level = config.top_level,
                 .most_top_level = config.grows ? kMostTop : 0,
                 .input_bits = config.input_bits == 0 ? reach : config.input_bits,
                 .output_bits = config.output_bits,
                 .table_bits = kMostOutput,
                 .page_sizes = config.page_sizes & sizes_within(highest, config.output_bits),
                 .dirty = {kDirty.mask(), kDirty.mask(), kDirty.mask()}};
  }

  static constexpr Result<std::uint64_t> attributes(const Config& /*config*/, Prot prot) {
    if (!prot.read && !prot.write) return fail(EINVAL, "a mapping must allow reading or writing");
    if (prot.execute) return fail(EINVAL, "v1 entries have no right to execute");
    return kPresent.put(1) | kRead.put(prot.read) | kWrite.put(prot.write) | kCoherent.put(prot.coherent);
  }

  static constexpr Entry leaf(std::uint64_t attributes, PhysAddr pa, unsigned level, unsigned lg2) {
    if (lg2 == span_lg2<AmdV1>(level))
      return attributes | kNext.put(hw::amd_v1::kNextDefaultSize) | kAddress.in_place(pa.value);
    // The page's address ends in ones, and the zero above them is the page's uppermost offset bit.
    const std::uint64_t within = low_bits(lg2), code = low_bits(lg2 - 1);
    return attributes | kNext.put(hw::amd_v1::kNextCodedSize) | kAddress.in_place((pa.value & ~within) | code);
  }
  // Rights of tables limit what is below, so tables allow everything and leaves decide.
  static constexpr Entry table(PhysAddr pa, unsigned level) {
    return kPresent.put(1) | kNext.put(level) | kAddress.in_place(pa.value) | kRead.put(1) | kWrite.put(1);
  }
  static constexpr bool is_table(Entry entry, unsigned level) {
    const std::uint64_t next = kNext.get(entry);
    return level > 0 && next != hw::amd_v1::kNextDefaultSize && next != hw::amd_v1::kNextCodedSize;
  }
  static constexpr PhysAddr table_address(Entry entry, unsigned /*level*/) {
    return PhysAddr{kAddress.in_place(entry)};
  }
  static constexpr PhysAddr page_address(Entry entry, unsigned level) {
    return PhysAddr{kAddress.in_place(entry) & ~low_bits(page_lg2(entry, level))};
  }
  static constexpr unsigned page_lg2(Entry entry, unsigned level) {
    if (kNext.get(entry) == hw::amd_v1::kNextDefaultSize) return span_lg2<AmdV1>(level);
    return kPageShift + static_cast<unsigned>(std::countr_one(kAddress.get(entry))) + 1;
  }
  static constexpr Prot prot(const Config& /*config*/, Entry entry, unsigned /*level*/) {
    return {.read = kRead.is_set(entry), .write = kWrite.is_set(entry), .coherent = kCoherent.is_set(entry)};
  }

  static constexpr Config kConfigurations[] = {
      {},
      {.top_level = 1, .output_bits = 48},
      {.top_level = 3, .page_sizes = 4 * kKiB | 2 * kMiB | 1 * kGiB},
      {.top_level = 2, .input_bits = 48},
      {.top_level = 0, .grows = false},
      {.top_level = 1, .grows = false},
      {.top_level = 2, .grows = false, .input_bits = 32},
      {.top_level = 3, .grows = false},
      {.top_level = 4, .grows = false, .output_bits = 40},
      {.top_level = 5, .grows = false},
      {.top_level = 5, .grows = false, .page_sizes = 4 * kKiB},
  };

 private:
  static constexpr unsigned kMostTop = 5, kMostOutput = 52;
  static constexpr hw::Field kPresent = hw::amd_v1::kLeaf["PR"], kDirty = hw::amd_v1::kLeaf["D"],
                             kNext = hw::amd_v1::kLeaf["NEXT"], kAddress = hw::amd_v1::kLeaf["ADDR"],
                             kCoherent = hw::amd_v1::kLeaf["FC"], kRead = hw::amd_v1::kLeaf["IR"],
                             kWrite = hw::amd_v1::kLeaf["IW"];

  static constexpr std::uint64_t low_bits(unsigned count) { return (std::uint64_t{1} << count) - 1; }
  static constexpr unsigned reach_of(unsigned level) { return level == kMostTop ? 64 : span_lg2<AmdV1>(level + 1); }
  // A page is at most half a table of the level it stands in, and no page stands in the highest level there can be.
  static constexpr std::uint64_t sizes_within(unsigned level, unsigned output_bits) {
    const unsigned span = level == kMostTop ? kMostOutput : reach_of(level);
    return low_bits(span < output_bits ? span : output_bits);
  }
};

static_assert(PageTableFormat<AmdV1>);

}  // namespace softiommu::pt
