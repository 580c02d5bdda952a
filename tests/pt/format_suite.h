// SPDX-License-Identifier: BSD-3-Clause
// The fixture of the laws that hold for every format in every configuration. Sizes and places are made from the shape,
// as formats agree in little: pages of 4 KiB to 64 KiB, apertures of 256 MiB to 64 bits, some that begin in the middle.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <set>
#include <vector>

#include "arena.h"
#include "base/fault.h"
#include "plain_map.h"
#include "pt/page_table.h"
#include "shadow.h"

namespace softiommu::pt {

template <class F>
class FormatSuite : public ::testing::Test {
 protected:
  using Format = F;
  using Table = PageTable<F>;
  using X = Facts<F>;
  using Entry = typename F::Entry;
  using Addresses = std::vector<std::uint64_t>;
  static constexpr std::uint64_t kPage = std::uint64_t{1} << F::kPageShift;

  explicit FormatSuite(const typename F::Config& configuration)
      : config(configuration),
        shape(*F::shape(config)),
        shadow(memory),
        table(*Table::create(memory, config, {.writes = &shadow})),
        base(table.aperture().first.value),
        last(table.aperture().last.value - base) {
    for (unsigned i = 0; i < 16; ++i)
      if (F::attributes(config, prot_of(i))) rights.push_back(prot_of(i));
    both = std::ranges::find(rights, Prot{.read = true, .write = true}) != rights.end()
               ? Prot{.read = true, .write = true}
               : rights.front();
    at_start = memory.allocated_bytes();
  }
  ~FormatSuite() override {
    fault::disarm();
    gather.release(memory);
  }

  // Maps and unmaps, and what they answer; unmap() completes the invalidation at once. IOVAs count from the aperture's
  // start, physical addresses from the first that can be mapped.
  int map(std::uint64_t iova, std::uint64_t pa, std::uint64_t bytes) { return map(iova, pa, bytes, both); }
  int map(std::uint64_t iova, std::uint64_t pa, std::uint64_t bytes, Prot prot) {
    const auto done = table.map(Iova{base + iova}, PhysAddr{pa}, bytes, prot);
    return done ? 0 : done.error().code;
  }
  std::uint64_t unmap(std::uint64_t iova, std::uint64_t bytes) {
    const std::uint64_t unmapped = table.unmap(Iova{base + iova}, bytes, gather);
    gather.release(memory);
    return unmapped;
  }
  std::optional<std::uint64_t> phys(std::uint64_t iova) const {
    const auto pa = table.iova_to_phys(Iova{base + iova});
    return pa ? std::optional(pa->value) : std::nullopt;
  }
  std::vector<Leaf> leaves() const {
    std::vector<Leaf> all;
    table.walk(table.aperture(), [&](const Leaf& leaf) { all.push_back(leaf); });
    return all;
  }
  std::uint64_t tables() const { return memory.allocated_bytes(); }
  IovaRange range(std::uint64_t first, std::uint64_t bytes) const { return IovaRange::of(Iova{base + first}, bytes); }

  // Plays the hardware: makes one entry of a page dirty.
  void dirty(std::uint64_t iova) {
    Entry* const entry = entry_of(iova);
    if (shape.dirty.is_dirty(Words<F>::load(*entry))) return;
    Words<F>::flip(*entry, shape.dirty.flip);
    Words<F>::flip(*shadow.as<Entry>(memory.address(entry)), shape.dirty.flip);
  }
  PlainMap::Runs dirty_runs(std::uint64_t first, std::uint64_t bytes, bool clear) {
    PlainMap::Runs runs;
    table.read_dirty(
        range(first, bytes), clear,
        [&](Iova run, std::uint64_t length) { runs.emplace_back(run.value - base, run.value - base + (length - 1)); },
        &gather);
    return runs;
  }

  // The sizes of pages that the configuration has and that the physical range can hold, smallest first.
  Addresses sizes() const {
    Addresses all;
    for (unsigned lg2 = 0; lg2 < 64; ++lg2) {
      const std::uint64_t size = std::uint64_t{1} << lg2;
      if ((table.page_sizes() & size) != 0 && size - 1 <= last && below(lg2) <= below(shape.output_bits) &&
          shape.output_first + below(lg2) <= below(shape.output_bits))
        all.push_back(size);
    }
    return all;
  }
  std::uint64_t largest() const { return sizes().back(); }
  bool has_large() const { return sizes().size() > 1; }
  // A physical address that is a multiple of `size`, and not the same as IOVA 0.
  std::uint64_t pa(std::uint64_t size) const {
    const std::uint64_t top = below(shape.output_bits);
    return size - 1 <= top - size ? size : 0;
  }
  // What a leaf table maps, or a part of it that fits into the aperture four times.
  std::uint64_t stretch() const { return std::min(std::uint64_t{1} << X::span(1), last / 4 + 1); }
  std::vector<std::uint64_t> table_spans() const {
    std::vector<std::uint64_t> spans;
    for (unsigned level = 1; level <= std::max(shape.top_level, shape.most_top_level) && X::span(level) < 64; ++level)
      spans.push_back(X::span_bytes(level));
    return spans;
  }
  // No table is kept without need: as many as the pages of the oracle touch, below a root of `top` level.
  std::uint64_t bytes_for(const PlainMap& plain) const {
    std::array<std::set<std::uint64_t>, kMaxLevels> needed;
    const unsigned top = table.top_level();
    for (const auto& [iova, page] : plain.pages())
      for (unsigned level = X::level_of(static_cast<unsigned>(std::countr_zero(page.bytes))); level < top; ++level)
        needed[level].insert(block(iova, X::span(level + 1)));
    std::uint64_t bytes = table.root_bytes();
    for (unsigned level = 0; level < top; ++level) bytes += needed[level].size() * X::table_size(level).bytes();
    return bytes;
  }
  void expect_equal(const PlainMap& plain) const {
    const auto all = leaves();
    ASSERT_EQ(all.size(), plain.pages().size());
    auto page = plain.pages().begin();
    for (const Leaf& leaf : all) {
      ASSERT_EQ(leaf.iova.value - base, page->first);
      ASSERT_EQ(leaf.pa.value, page->second.pa) << page->first;
      ASSERT_EQ(leaf.bytes, page->second.bytes) << page->first;
      ASSERT_EQ(leaf.prot, page->second.prot);
      ++page;
    }
    ASSERT_EQ(tables(), bytes_for(plain));
  }
  // All tables that hardware can reach in the shadow hold what the engine wrote.
  void expect_shadowed() const {
    ASSERT_TRUE(shadow.equals(table.root(), table.root_bytes()));
    expect_tables_shadowed(table.root(), table.top_level(), root_entries());
  }
  std::uint64_t root_entries() const {
    return shape.root_entries != 0 ? shape.root_entries : X::entries(table.top_level());
  }
  // A walk of the test's own, to the entry's word.
  Entry* entry_of(std::uint64_t iova) const {
    Entry* entry = memory.as<Entry>(table.root()) + block(iova, X::span(table.top_level()));
    for (unsigned level = table.top_level(); level > 0; --level) {
      const Entry word = Words<F>::load(*entry);
      if (word == empty_entry<F>(level) || !F::is_table(word, level)) break;
      entry = memory.as<Entry>(F::table_address(word, level)) + block(iova, X::span(level - 1)) % X::entries(level - 1);
    }
    return entry;
  }

  Arena memory;
  const typename F::Config& config;
  Shape shape;
  Shadow shadow;
  Table table;
  Gather gather;
  std::uint64_t base, last;  // of the aperture; `last` counts from `base`
  std::vector<Prot> rights;  // that the configuration can express
  Prot both;                 // reading and writing, if it can
  std::uint64_t at_start = 0;

 private:
  void expect_tables_shadowed(PhysAddr address, unsigned level, std::uint64_t entries) const {
    if (level == 0) return;
    const Entry* const words = shadow.as<Entry>(address);
    for (std::uint64_t i = 0; i < entries; ++i) {
      const Entry word = Words<F>::load(words[i]);
      if (word == empty_entry<F>(level) || !F::is_table(word, level)) continue;
      const PhysAddr child = F::table_address(word, level);
      ASSERT_TRUE(shadow.equals(child, X::table_size(level - 1).bytes())) << "level " << level - 1;
      expect_tables_shadowed(child, level - 1, X::entries(level - 1));
    }
  }
};

}  // namespace softiommu::pt
