// SPDX-License-Identifier: BSD-3-Clause
// What follows from a format at compile time: spans, sizes of tables, and which of the engine's special cases it needs.
//
// The special cases (pages of several entries, roots that grow) are found by looking at the format's configurations:
// a configuration that needs one must be among those that the format suite runs on.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <iterator>

#include "base/table_memory.h"
#include "pt/format.h"
#include "pt/map_plan.h"

namespace softiommu::pt {

template <PageTableFormat F>
struct Facts {
  using Entry = typename F::Entry;

  static constexpr unsigned kLevels = static_cast<unsigned>(std::size(F::kIndexBits));
  static_assert(kLevels <= kMaxLevels);
  static constexpr unsigned kPageShift = F::kPageShift, kEntryLg2 = sizeof(Entry) == 8 ? 3 : 2;

  // All tables alike, as nearly always: levels are a matter of arithmetic.
  static constexpr bool kUniform = [] {
    for (unsigned level = 1; level < kLevels; ++level)
      if (F::kIndexBits[level] != F::kIndexBits[0]) return false;
    return true;
  }();
  static constexpr auto kSpans = [] {
    std::array<std::uint8_t, kMaxLevels + 1> spans{};
    for (unsigned level = 0; level <= kLevels; ++level) spans[level] = static_cast<std::uint8_t>(span_lg2<F>(level));
    return spans;
  }();

  // As the format says, and 0 beyond its levels: the compiler follows paths there that no walk takes.
  static constexpr auto kIndexBits = [] {
    std::array<std::uint8_t, kMaxLevels + 1> bits{};
    for (unsigned level = 0; level < kLevels; ++level) bits[level] = static_cast<std::uint8_t>(F::kIndexBits[level]);
    return bits;
  }();

  // log2 of what an entry of a table of `level` maps.
  static constexpr unsigned span(unsigned level) {
    return kUniform ? kPageShift + F::kIndexBits[0] * level : kSpans[level];
  }
  static constexpr std::uint64_t span_bytes(unsigned level) { return std::uint64_t{1} << span(level); }
  static constexpr unsigned entries(unsigned level) { return 1u << kIndexBits[kUniform ? 0 : level]; }
  static constexpr TableSize table_size(unsigned level) {
    const unsigned lg2 = kIndexBits[kUniform ? 0 : level] + kEntryLg2;
    return {lg2 < TableSize::kLeastLg2 ? TableSize::kLeastLg2 : lg2};
  }
  // The level whose tables hold pages of 2^lg2 bytes: the highest one whose entries do not span more.
  static constexpr unsigned level_of(unsigned lg2) {
    if constexpr (kUniform) {
      const unsigned level = (lg2 - kPageShift) / F::kIndexBits[0];
      return level < kLevels ? level : kLevels - 1;
    } else {
      unsigned level = 0;
      while (level + 1 < kLevels && span(level + 1) <= lg2) ++level;
      return level;
    }
  }

  // Tables below a root have one or two sizes: class 0 is that of leaf tables.
  static constexpr unsigned class_of(unsigned level) { return table_size(level) == table_size(0) ? 0 : 1; }
  static constexpr unsigned kClasses = [] {
    for (unsigned level = 1; level < kLevels; ++level)
      if (class_of(level) != 0) return 2u;
    return 1u;
  }();
  static constexpr TableSize class_size(unsigned table_class) {
    if (table_class != 0)
      for (unsigned level = 1; level < kLevels; ++level)
        if (class_of(level) == table_class) return table_size(level);
    return table_size(0);
  }
  static_assert([] {
    // A root may have any size: only what a table points to counts.
    for (unsigned level = 1; level + 1 < kLevels; ++level)
      if (table_size(level) != class_size(class_of(level))) return false;
    return true;
  }());

  // Entries that are not in use are words of 0 at every level.
  static constexpr bool kZeroIsEmpty = [] {
    for (unsigned level = 0; level < kLevels; ++level)
      if (empty_entry<F>(level) != 0) return false;
    return true;
  }();
  static constexpr bool kVectors = kZeroIsEmpty && !big_endian<F>() && sizeof(Entry) == 8;

  template <class Needs>
  static constexpr bool any_shape(Needs&& needs) {
    for (const auto& config : F::kConfigurations)
      if (const auto shape = F::shape(config); shape && needs(*shape)) return true;
    return false;
  }
  // The sizes of pages that stand in one entry.
  static constexpr std::uint64_t kOneEntrySizes = [] {
    std::uint64_t sizes = 0;
    for (unsigned level = 0; level < kLevels && span_lg2<F>(level) < 64; ++level)
      sizes |= std::uint64_t{1} << span_lg2<F>(level);
    return sizes;
  }();
  // Some pages stand in several entries.
  static constexpr bool kSets = any_shape([](const Shape& shape) { return (shape.page_sizes & ~kOneEntrySizes) != 0; });
  // Roots may grow.
  static constexpr bool kGrows = any_shape([](const Shape& shape) { return shape.most_top_level > shape.top_level; });

  // How far leaves of neighbouring pages of one table differ by the same number: while their physical addresses agree
  // above this many bits. Formats with scattered address bits have less of it than others.
  static constexpr auto kLinear = [] {
    std::array<std::uint8_t, kMaxLevels> linear{};
    for (unsigned level = 0; level < kLevels; ++level) linear[level] = 64;
    for (const auto& config : F::kConfigurations) {
      const auto shape = F::shape(config);
      const auto attributes = F::attributes(config, Prot{.read = true, .write = true});
      if (!shape || !attributes) continue;
      for (unsigned level = 0; level < kLevels && span_lg2<F>(level) < shape->output_bits; ++level) {
        const unsigned lg2 = span_lg2<F>(level);
        if ((shape->page_sizes >> lg2 & 1) == 0) continue;
        const Entry zero = F::leaf(*attributes, PhysAddr{0}, level, lg2);
        const std::uint64_t step =
            static_cast<Entry>(F::leaf(*attributes, PhysAddr{std::uint64_t{1} << lg2}, level, lg2) - zero);
        for (unsigned bit = lg2; bit < shape->output_bits; ++bit) {
          const Entry word = F::leaf(*attributes, PhysAddr{std::uint64_t{1} << bit}, level, lg2);
          if (static_cast<Entry>(word - zero) == static_cast<Entry>(step << (bit - lg2))) continue;
          if (bit < linear[level]) linear[level] = static_cast<std::uint8_t>(bit);
          break;
        }
      }
    }
    return linear;
  }();
};

}  // namespace softiommu::pt
