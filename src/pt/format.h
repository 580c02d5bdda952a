// SPDX-License-Identifier: BSD-3-Clause
// What a page-table format tells the engine: its shape, and how its entries are written and read.
//
// Levels count from the leaves: a table of level 0 holds pages of the smallest size, one of level n pages (or
// tables) of 2^(kPageShift + n * (kPageShift - 3)) bytes. The engine writes only entries that are present, or 0:
// an entry is in use exactly when it is not 0.
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace softiommu::pt {

// A leaf is dirty when entry & mask == dirty; flipping the `flip` bits makes it clean. mask 0: not tracked.
struct DirtyRule {
  std::uint64_t mask = 0, dirty = 0, flip = 0;
  constexpr bool is_dirty(std::uint64_t entry) const { return mask != 0 && (entry & mask) == dirty; }
};

// What a configuration comes to.
struct Shape {
  unsigned top_level = 0;        // level of the root
  unsigned input_bits = 0;       // IOVAs are below 2^input_bits
  unsigned output_bits = 0;      // physical addresses are below 2^output_bits
  unsigned root_tables = 1;      // concatenated tables that make the root (a power of two)
  std::uint64_t page_sizes = 0;  // bit n: leaves of 2^n bytes; the smallest page is always among them
  DirtyRule dirty;
};

inline constexpr unsigned kMaxLevels = 5;

// Rules for an implementer:
//   shape(config)              EINVAL: no hardware of this format has such a configuration
//   attributes(config, prot)   the bits of a leaf that depend neither on address nor level, never 0.
//                              EINVAL: the format cannot express the rights (they are never widened)
//   leaf(attributes, pa, level) and table(pa)    whole entries
//   is_table(entry, level)     of an entry in use, level > 0
//   address(entry)             next table or page; the engine clears the bits below the leaf's size
//   prot(config, entry)        of a leaf: what attributes() was given, whatever hardware has set since
//   kConfigurations            what the format suite runs on
template <class F>
concept PageTableFormat =
    requires(const typename F::Config& config, Prot prot, std::uint64_t word, PhysAddr pa, unsigned level) {
      { F::kName } -> std::convertible_to<std::string_view>;
      { F::kPageShift } -> std::convertible_to<unsigned>;
      { F::shape(config) } -> std::same_as<Result<Shape>>;
      { F::attributes(config, prot) } -> std::same_as<Result<std::uint64_t>>;
      { F::leaf(word, pa, level) } -> std::same_as<std::uint64_t>;
      { F::table(pa) } -> std::same_as<std::uint64_t>;
      { F::is_table(word, level) } -> std::same_as<bool>;
      { F::address(word) } -> std::same_as<PhysAddr>;
      { F::prot(config, word) } -> std::same_as<Prot>;
      { *std::begin(F::kConfigurations) } -> std::convertible_to<typename F::Config>;
    };

}  // namespace softiommu::pt
