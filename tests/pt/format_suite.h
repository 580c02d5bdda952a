// SPDX-License-Identifier: BSD-3-Clause
// The fixture of the laws that hold for every format in every configuration.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <vector>

#include "all_formats.h"
#include "arena.h"
#include "base/fault.h"
#include "plain_map.h"
#include "pt/page_table.h"

namespace softiommu::pt {

template <class C>
class FormatSuite : public ::testing::Test {
 protected:
  using Format = typename C::Format;
  using Table = PageTable<Format>;
  static constexpr Prot kReadWrite{.read = true, .write = true};

  ~FormatSuite() override { fault::disarm(); }

  // Maps and unmaps with what they answer; unmap() completes the invalidation at once.
  int map(std::uint64_t iova, std::uint64_t pa, std::uint64_t bytes, Prot prot = kReadWrite) {
    const auto done = table.map(Iova{iova}, PhysAddr{pa}, bytes, prot);
    return done ? 0 : done.error().code;
  }
  std::uint64_t unmap(std::uint64_t iova, std::uint64_t bytes) {
    const std::uint64_t unmapped = table.unmap(Iova{iova}, bytes, gather);
    gather.release(memory);
    return unmapped;
  }
  std::optional<std::uint64_t> phys(std::uint64_t iova) const {
    const auto pa = table.iova_to_phys(Iova{iova});
    return pa ? std::optional(pa->value) : std::nullopt;
  }
  // All leaves, as the oracle sees pages.
  std::vector<Leaf> leaves() const {
    std::vector<Leaf> all;
    table.walk(table.aperture(), [&](const Leaf& leaf) { all.push_back(leaf); });
    return all;
  }
  std::vector<std::uint64_t> page_sizes_used() const {
    std::vector<std::uint64_t> sizes;
    for (const Leaf& leaf : leaves())
      if (sizes.empty() || sizes.back() != leaf.bytes) sizes.push_back(leaf.bytes);
    return sizes;
  }
  std::uint64_t tables() const { return memory.allocated_pages(); }

  // Plays the hardware: sets a page dirty if the format tracks it.
  void dirty(std::uint64_t iova) {
    const DirtyRule rule = shape.dirty;
    std::uint64_t* const entry = entry_of(iova);
    if (!rule.is_dirty(*entry)) std::atomic_ref(*entry).fetch_xor(rule.flip);
  }
  std::vector<std::uint64_t> dirty_pages(std::uint64_t first, std::uint64_t bytes, bool clear) {
    std::vector<std::uint64_t> pages;
    table.read_dirty(
        IovaRange::of(Iova{first}, bytes), clear,
        [&](Iova run, std::uint64_t length) {
          for (std::uint64_t at = 0; at < length; at += kPageSize) pages.push_back(run.value + at);
        },
        &gather);
    return pages;
  }

  // The highest size that this configuration has.
  std::uint64_t largest_page() const { return std::bit_floor(table.page_sizes()); }
  bool has(std::uint64_t size) const { return (table.page_sizes() & size) != 0; }
  std::uint64_t top() const { return table.aperture().last.value; }

  Arena memory;
  Shape shape = *Format::shape(C::kConfig);
  Table table = *Table::create(memory, C::kConfig);
  Gather gather;

 private:
  // A walk of the test's own, to the entry's word.
  std::uint64_t* entry_of(std::uint64_t iova) {
    std::uint64_t* entry = memory.words(table.root()) + (iova >> (12 + 9 * table.top_level()));
    for (unsigned level = table.top_level(); level > 0 && Format::is_table(*entry, level); --level)
      entry = memory.words(Format::address(*entry)) + (iova >> (12 + 9 * (level - 1))) % 512;
    return entry;
  }
};

}  // namespace softiommu::pt
