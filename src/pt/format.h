// SPDX-License-Identifier: BSD-3-Clause
// What a page-table format tells the engine: its shape, and how its entries are written and read.
//
// Levels count from the leaves: entries of a level-0 table map pages of 2^kPageShift bytes (or runs of them), an entry
// of level n spans all that a table of level n - 1 maps. An entry is one hardware word of 32 or 64 bits.
//
// A page may be larger than the span of its level's entries (Arm's contiguous sets, v7s large pages, AMD v1's
// power-of-two sizes, RISC-V's NAPOT): it then stands in 2^k neighbouring entries, which the engine writes and clears
// together.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace softiommu::pt {

// A leaf is dirty when entry & mask == dirty; flipping the `flip` bits makes it clean. mask 0: not tracked. Hardware
// never writes a leaf that is dirty: what else it sets (accessed bits), it has set by then.
struct DirtyRule {
  std::uint64_t mask = 0, dirty = 0, flip = 0;
  constexpr bool is_dirty(std::uint64_t entry) const { return mask != 0 && (entry & mask) == dirty; }
};

// What a configuration comes to.
struct Shape {
  unsigned top_level = 0;          // level of the root; 0: a flat table
  unsigned most_top_level = 0;     // a root may grow up to this level (AMD v1); 0: it does not grow
  unsigned input_bits = 0;         // IOVAs have this many bits (64: all of them)
  bool upper_half = false;         // and all bits above them are ones (TTBR1), not zeros
  std::uint64_t window = 0;        // or these: IOVAs begin here (Tegra GART), a multiple of 2^input_bits
  unsigned output_bits = 0;        // physical addresses are below 2^output_bits
  std::uint64_t output_first = 0;  // and not below this (where a leaf of page 0 would be the word of an empty entry)
  unsigned table_bits = 64;        // table addresses are below 2^table_bits
  unsigned root_entries = 0;       // of the root: fewer than a table of its level, or more (concatenated); 0: as many
  std::uint64_t page_sizes = 0;    // bit n: pages of 2^n bytes; the smallest page is always among them
  DirtyRule dirty{};
};

inline constexpr unsigned kMaxLevels = 6;

// Rules for an implementer. All are static and constexpr.
//   Entry                      std::uint32_t or std::uint64_t
//   kIndexBits                 array by level: a table of level n has 2^kIndexBits[n] entries. The last element is the
//                              highest level there can be
//   shape(config)              EINVAL: no hardware of this format has such a configuration
//   attributes(config, prot)   what leaf() needs besides address and size: a word of the format's own choice, never 0.
//                              EINVAL: the format cannot express the rights (they are never widened)
//   leaf(attributes, pa, level, lg2)
//                              an entry, in a table of `level`, of a page of 2^lg2 bytes; `pa` is what this entry's own
//                              span maps. A format with kRepeats answers the same word for each entry of the page
//   table(pa, level)           an entry, in a table of `level`, that points to a table of level - 1
//   is_table(entry, level)     of an entry in use, level > 0
//   table_address(entry, level)
//   page_address(entry, level) the engine clears the bits below the page's size
//   page_lg2(entry, level)     the size of the page that a leaf entry belongs to
//   prot(config, entry, level) of a leaf: what attributes() was given, whatever hardware has set since
//   kConfigurations            what the format suite runs on
// May be left out:
//   kRepeats = true            the entries of a larger page are one word repeated, not a row of addresses
//   kBigEndian = true          words are stored big-endian. The functions see native words; the engine swaps
//   empty(level)               the word of an entry that is not in use, if it is not 0
template <class F>
concept PageTableFormat =
    (std::same_as<typename F::Entry, std::uint32_t> || std::same_as<typename F::Entry, std::uint64_t>) &&
    requires(const typename F::Config& config, Prot prot, std::uint64_t word, typename F::Entry entry, PhysAddr pa,
             unsigned level) {
      { F::kName } -> std::convertible_to<std::string_view>;
      { F::kPageShift } -> std::convertible_to<unsigned>;
      { F::kIndexBits[0] } -> std::convertible_to<unsigned>;
      { F::shape(config) } -> std::same_as<Result<Shape>>;
      { F::attributes(config, prot) } -> std::same_as<Result<std::uint64_t>>;
      { F::leaf(word, pa, level, level) } -> std::same_as<typename F::Entry>;
      { F::table(pa, level) } -> std::same_as<typename F::Entry>;
      { F::is_table(entry, level) } -> std::same_as<bool>;
      { F::table_address(entry, level) } -> std::same_as<PhysAddr>;
      { F::page_address(entry, level) } -> std::same_as<PhysAddr>;
      { F::page_lg2(entry, level) } -> std::same_as<unsigned>;
      { F::prot(config, entry, level) } -> std::same_as<Prot>;
      { *std::begin(F::kConfigurations) } -> std::convertible_to<typename F::Config>;
    };

template <class F>
constexpr bool repeats() {
  if constexpr (requires { F::kRepeats; }) return F::kRepeats;
  return false;
}
template <class F>
constexpr bool big_endian() {
  if constexpr (requires { F::kBigEndian; }) return F::kBigEndian;
  return false;
}
template <class F>
constexpr typename F::Entry empty_entry(unsigned level) {
  if constexpr (requires { F::empty(level); }) return F::empty(level);
  return 0;
}

// The span of one entry of a table of `level`.
template <class F>
constexpr unsigned span_lg2(unsigned level) {
  unsigned lg2 = F::kPageShift;
  for (unsigned below = 0; below < level; ++below) lg2 += F::kIndexBits[below];
  return lg2;
}

}  // namespace softiommu::pt
