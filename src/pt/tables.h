// SPDX-License-Identifier: BSD-3-Clause
// The tables of one address space, and who may touch them: what the engine's operations (mapper.h, unmapper.h, dirty.h,
// cut.h) share. Addresses in here count from the start of the aperture.
//
// - Every table but the root has an entry in use: a table that becomes empty is unlinked by the unmap that emptied it.
// - How many entries a table has in use, and how many of them are tables, stands in its record (TableMemory).
// - `lock` guards the structure: who holds it may change any table, but leaf tables only after evict().
// - `retained` is the way to the last place that changed, so that what is near it is found without a walk.
// - A leaf table that a stripe's cursor points to may be changed under the stripe's lock alone. Cursors are set under
//   both locks, so that after evict() nobody is in the range's leaf tables until `lock` is released.
// - Readers without locks walk at any time. A table that was unlinked under them shows in `generation`.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cstdint>
#include <utility>

#include "base/biased_lock.h"
#include "base/result.h"
#include "base/table_memory.h"
#include "base/types.h"
#include "pt/facts.h"
#include "pt/format.h"
#include "pt/gather.h"
#include "pt/map_plan.h"
#include "pt/observers.h"
#include "pt/words.h"

namespace softiommu::pt {

constexpr unsigned index_of(Prot prot) {
  return unsigned{prot.read} | unsigned{prot.write} << 1 | unsigned{prot.coherent} << 2 | unsigned{prot.execute} << 3;
}
constexpr Prot prot_of(unsigned i) { return {(i & 1) != 0, (i & 2) != 0, (i & 4) != 0, (i & 8) != 0}; }

template <PageTableFormat F>
struct Tables {
  using Entry = typename F::Entry;
  using Record = TableMemory::Record;
  using Word = Words<F>;
  using X = Facts<F>;

  static constexpr unsigned kPageShift = F::kPageShift, kLeafTableShift = X::span(1);
  static constexpr std::uint64_t kNoKey = ~std::uint64_t{0};
  static constexpr unsigned kStripesLg2 = 3;
  // What is above a level-1 table in an address, and the granule of the arena that the table begins at.
  static constexpr bool kHints = X::kLevels > 2;
  static constexpr unsigned kHintGranuleBits = X::kLevels > 2 ? std::min(X::span(2), 34u) : 34;
  static constexpr std::uint64_t kNoHint = ~std::uint64_t{0};

  struct Root {
    Entry* table;
    unsigned level;
  };
  // What a walk came to. `word`: of the leaf, or of an entry that is not in use; its `level`.
  struct Found {
    Entry word = 0;
    unsigned level = 0;
    bool mapped = false;
    unsigned lg2 = 0;  // of the page, or of the hole around the address
  };
  // The tables from the root down to one of level `lowest`.
  struct Path {
    std::array<Entry*, kMaxLevels> table{};
    unsigned lowest = 0;
    explicit Path(Root root) : lowest(root.level) { table[root.level] = root.table; }
  };
  // The way to the table of level `lowest` that holds `iova`; kMaxLevels: none is known.
  struct Retained {
    std::uint64_t iova = 0;
    unsigned lowest = kMaxLevels;
    std::array<Entry*, kMaxLevels> table{};
  };
  // The last leaf table that was used, of those that fall on this stripe. Its key is in `keys`.
  struct alignas(64) Stripe {
    BiasedLock lock;
    Entry* table GUARDED_BY(lock) = nullptr;
    Record* record GUARDED_BY(lock) = nullptr;
  };

  Tables() = default;
  Tables(Tables&& other) noexcept { take_from(other); }
  Tables(TableMemory& arena, const typename F::Config& configuration, const Shape& shape, Observers who)
      : memory(&arena),
        base(shape.upper_half ? ~below(shape.input_bits) : shape.window),
        input_last(below(shape.input_bits)),
        output_first(shape.output_first),
        output_span(below(shape.output_bits) - shape.output_first),
        page_sizes(shape.page_sizes & below(X::span(std::max(shape.top_level, shape.most_top_level) + 1))),
        dirty(shape.dirty),
        observers(who),
        stripe_mask(shape.top_level == 0 ? 0 : (1u << kStripesLg2) - 1),
        root_entries(shape.root_entries != 0 ? shape.root_entries : X::entries(shape.top_level)),
        config(configuration) {
    for (unsigned i = 0; i < attributes.size(); ++i) attributes[i] = F::attributes(config, prot_of(i)).value_or(0);
  }
  void take_from(Tables& other) {
    memory = std::exchange(other.memory, nullptr);
    root_word.store(other.root_word.load(std::memory_order_relaxed), std::memory_order_relaxed);
    base = other.base;
    input_last = other.input_last;
    output_first = other.output_first;
    output_span = other.output_span;
    page_sizes = other.page_sizes;
    dirty = other.dirty;
    observers = other.observers;
    stripe_mask = other.stripe_mask;
    root_entries = other.root_entries;
    attributes = other.attributes;
    config = other.config;
  }

  // Before it holds another's tables: nobody else uses it now.
  void forget_all() SOFTIOMMU_TS(no_thread_safety_analysis) {
    hint.store(kNoHint, std::memory_order_relaxed);
    for (auto& key : keys) key.store(kNoKey, std::memory_order_relaxed);
    retained = {};
  }

  // ---- tables ----

  // Table and level change together, so they are one word: tables are aligned to far more than a level takes.
  Root root() const {
    const std::uintptr_t word = root_word.load(std::memory_order_acquire);
    return {reinterpret_cast<Entry*>(word & ~kLevelMask), static_cast<unsigned>(word & kLevelMask)};
  }
  void set_root(Root root) {
    root_word.store(reinterpret_cast<std::uintptr_t>(root.table) | root.level, std::memory_order_release);
  }
  // A short root still is as aligned as hardware may ask of a table.
  TableSize root_size(unsigned level) const {
    if (level_is_full(level)) return X::table_size(level);
    const unsigned least = std::min(X::table_size(level).lg2, softiommu::kPageShift);
    return {std::max(least, static_cast<unsigned>(std::bit_width(root_entries - 1)) + X::kEntryLg2)};
  }
  bool level_is_full(unsigned level) const { return root_entries == X::entries(level); }
  // The last address that a root of `level` reaches.
  std::uint64_t reach(unsigned level) const {
    if constexpr (X::kGrows) return std::min(input_last, below(X::span(level + 1)));
    return input_last;
  }

  Record& record(const Entry* table, unsigned level) const {
    return memory->record(memory->address(table), X::table_size(level));
  }
  Entry* table_of(Entry word, unsigned level) const { return memory->as<Entry>(F::table_address(word, level)); }
  static bool in_use(Entry word, unsigned level) { return Word::in_use(word, level); }
  static bool is_table(Entry word, unsigned level) {
    return level > 0 && in_use(word, level) && F::is_table(word, level);
  }
  // The root's entries are counted from the aperture's start, so that there is nothing to mask there.
  static unsigned index(std::uint64_t iova, unsigned level, unsigned top_level) {
    const std::uint64_t i = block(iova, X::span(level));
    return static_cast<unsigned>(level == top_level ? i : i & (X::entries(level) - 1));
  }
  unsigned entries_of(unsigned level, unsigned top_level) const {
    return level == top_level && !X::kGrows ? root_entries : X::entries(level);
  }
  // Entries of a page of 2^lg2 bytes in a table of `level`.
  static constexpr unsigned set_lg2(unsigned lg2, unsigned level) { return X::kSets ? lg2 - X::span(level) : 0; }
  static unsigned page_lg2_of(Entry leaf, unsigned level) {
    if constexpr (X::kSets) return F::page_lg2(leaf, level);
    return X::span(level);
  }

  // Of a table fresh from the arena: all entries are empty.
  void make_empty(Entry* table, unsigned level, std::size_t count) const {
    if constexpr (!X::kZeroIsEmpty) Word::fill(table, count, empty_entry<F>(level), 0);
  }
  void wrote(const Entry* first, std::uint64_t bytes) const {
    if (observers.writes != nullptr) [[unlikely]]
      observers.writes->wrote(memory->address(first), bytes);
  }
  void wrote_entries(const Entry* first, std::uint64_t count) const { wrote(first, count * sizeof(Entry)); }

  // A new pair of leaves: entries of `pages` neighbouring pages of 2^lg2 bytes, from table[i] on.
  static void write_leaves(Entry* first, std::uint64_t pages, std::uint64_t word, PhysAddr pa, unsigned level,
                           unsigned lg2) {
    if constexpr (X::kSets) {
      if (lg2 != X::span(level)) {
        for (; pages > 0; --pages, first += std::size_t{1} << set_lg2(lg2, level), pa += std::uint64_t{1} << lg2)
          write_set(first, word, pa, level, lg2);
        return;
      }
    }
    const unsigned linear = X::kLinear[level];
    const Entry leaf = F::leaf(word, pa, level, lg2);
    if (pages == 1) return Word::store(*first, leaf);
    const std::uint64_t step = F::leaf(word, pa + (std::uint64_t{1} << lg2), level, lg2) - leaf;
    if (block(pa.value ^ (pa.value + (pages << lg2) - 1), linear) == 0) [[likely]]
      return Word::fill(first, pages, leaf, step);
    write_scattered(first, pages, word, pa, level);
  }

  // ---- cursors ----

  unsigned stripe_of(std::uint64_t key) const {
    constexpr std::uint64_t kGoldenRatio = 0x9e37'79b9'7f4a'7c15;
    return static_cast<unsigned>(key * kGoldenRatio >> (64 - kStripesLg2)) & stripe_mask;
  }
  // Does the stripe's cursor point to the leaf table of that key? To be asked again under its lock.
  bool points_to(unsigned stripe, std::uint64_t key) const {
    return keys[stripe].load(std::memory_order_relaxed) == key;
  }
  // A table that is root and leaf table at once is changed under `lock` alone.
  [[gnu::noinline]] void aim(std::uint64_t iova, Entry* leaf_table) REQUIRES(lock) {
    if (root().level == 0) return;
    const std::uint64_t key = block(iova, kLeafTableShift);
    const unsigned i = stripe_of(key);
    Stripe& stripe = stripes[i];
    const BiasedGuard guard(stripe.lock);
    keys[i].store(key, std::memory_order_relaxed);
    stripe.table = leaf_table;
    stripe.record = &record(leaf_table, 0);
  }
  [[gnu::always_inline]] void evict(std::uint64_t iova) REQUIRES(lock) {
    const std::uint64_t key = block(iova, kLeafTableShift);
    if (const unsigned stripe = stripe_of(key); points_to(stripe, key)) evict_if(stripe, key, 0);
  }
  void evict(std::uint64_t first, std::uint64_t last) REQUIRES(lock) {
    const std::uint64_t from = block(first, kLeafTableShift), to = block(last, kLeafTableShift);
    for (unsigned i = 0; i < stripes.size(); ++i) evict_if(i, from, to - from);
  }

  // The table of `level` (of 1 and up) that holds `iova`; nullptr: there is none.
  [[gnu::always_inline]] Entry* table_at(std::uint64_t iova, unsigned level) REQUIRES(lock) {
    if (level >= retained.lowest && block(iova ^ retained.iova, X::span(level + 1)) == 0) [[likely]]
      return retained.table[level];
    return descend_to(iova, level);
  }
  // Tables were unlinked, or the root is another one: readers start anew, and so does the next change.
  void forget_tables() REQUIRES(lock) { forget_below(kMaxLevels); }
  // Only tables below `level` on the retained way.
  void forget_below(unsigned level) REQUIRES(lock) {
    retained.lowest = level;
    hint.store(kNoHint, std::memory_order_relaxed);
    readers_walk_again();
  }
  void readers_walk_again() REQUIRES(lock) {
    generation.store(generation.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

  // Readers may begin at this level-1 table. It and its place stand in one word, so that they are read together.
  void give_hint(std::uint64_t iova, const Entry* table) REQUIRES(lock) {
    if constexpr (kHints) {
      const std::uint64_t granule = (memory->address(table).value - memory->view().first) >> TableSize::kLeastLg2;
      if (granule >> kHintGranuleBits == 0)
        hint.store(block(iova, X::span(2)) << kHintGranuleBits | granule, std::memory_order_release);
    }
  }

  // ---- look-up, without locks ----

  Found find(std::uint64_t iova) const { return walk_to<AsFound>(iova); }
  // kNowhere: nothing is mapped there.
  static constexpr std::uint64_t kNowhere = ~std::uint64_t{0};
  [[gnu::always_inline]] std::uint64_t find_address(std::uint64_t iova) const { return walk_to<AsAddress>(iova); }

  BiasedLock lock;
  TableMemory* memory = nullptr;  // nullptr: moved from
  std::atomic<std::uintptr_t> root_word{0};
  std::uint64_t base = 0;        // first address of the aperture
  std::uint64_t input_last = 0;  // last address, counted from there
  std::uint64_t output_first = 0, output_span = 0;
  std::uint64_t page_sizes = 0;
  DirtyRule dirty;
  Observers observers;
  unsigned stripe_mask = 0;
  unsigned root_entries = 0;
  std::atomic<std::uint64_t> hint{kNoHint};
  std::atomic<std::uint64_t> generation{0};    // changes when tables were unlinked
  std::array<std::uint64_t, 16> attributes{};  // by index_of(prot); 0: refused
  typename F::Config config{};
  Retained retained GUARDED_BY(lock);
  // Of the leaf tables that cursors point to; written under both locks. In one line, to be looked through.
  alignas(64) std::array<std::atomic<std::uint64_t>, 1u << kStripesLg2> keys = no_keys();
  std::array<Stripe, 1u << kStripesLg2> stripes;

 private:
  static constexpr std::array<std::atomic<std::uint64_t>, 1u << kStripesLg2> no_keys() {
    return {kNoKey, kNoKey, kNoKey, kNoKey, kNoKey, kNoKey, kNoKey, kNoKey};
  }
  static_assert(kStripesLg2 == 3);

  static constexpr std::uintptr_t kLevelMask = 7;
  static_assert(kMaxLevels <= kLevelMask + 1);

  [[gnu::noinline]] Entry* descend_to(std::uint64_t iova, unsigned level) REQUIRES(lock) {
    const Root top = root();
    if (level > top.level || iova > reach(top.level)) return nullptr;
    // From where the way to the last place parts from ours.
    unsigned from = std::max(level, retained.lowest);
    while (from < top.level && block(iova ^ retained.iova, X::span(from + 1)) != 0) ++from;
    if (from >= top.level) {
      from = top.level;
      retained.table[from] = top.table;
    }
    retained.iova = iova;
    retained.lowest = from;
    Entry* table = retained.table[from];
    while (retained.lowest > level) {
      const Entry word = Word::load(table[index(iova, retained.lowest, top.level)]);
      if (!is_table(word, retained.lowest)) return nullptr;
      table = table_of(word, retained.lowest);
      retained.table[--retained.lowest] = table;
    }
    if (level == 1 && top.level > 1) give_hint(iova, table);
    return table;
  }

  [[gnu::noinline]] void evict_if(unsigned stripe, std::uint64_t first, std::uint64_t span) REQUIRES(lock) {
    // Nobody else can set it while we hold `lock`.
    if (keys[stripe].load(std::memory_order_relaxed) - first > span) return;
    const BiasedGuard guard(stripes[stripe].lock);
    keys[stripe].store(kNoKey, std::memory_order_relaxed);
  }

  static void write_set(Entry* first, std::uint64_t word, PhysAddr pa, unsigned level, unsigned lg2) {
    const std::size_t count = std::size_t{1} << set_lg2(lg2, level);
    if constexpr (repeats<F>()) {
      Word::fill(first, count, F::leaf(word, pa, level, lg2), 0);
    } else {
      for (std::size_t i = 0; i < count; ++i, pa += X::span_bytes(level))
        Word::store(first[i], F::leaf(word, pa, level, lg2));
    }
  }
  // Address bits that are not in one piece, or a carry between pieces.
  [[gnu::noinline]] static void write_scattered(Entry* first, std::uint64_t pages, std::uint64_t word, PhysAddr pa,
                                                unsigned level) {
    for (; pages > 0; --pages, ++first, pa += X::span_bytes(level))
      Word::store(*first, F::leaf(word, pa, level, X::span(level)));
  }

  // What a walk makes of the entry that it ended at.
  struct AsFound {
    using Answer = Found;
    static Found nothing() { return {.lg2 = 64}; }
    template <unsigned kLevel>
    static Found end(Entry word, std::uint64_t /*iova*/) {
      const bool mapped = in_use(word, kLevel);
      return {word, kLevel, mapped, mapped ? page_lg2_of(word, kLevel) : X::span(kLevel)};
    }
  };
  struct AsAddress {
    using Answer = std::uint64_t;
    static std::uint64_t nothing() { return kNowhere; }
    template <unsigned kLevel>
    [[gnu::always_inline]] static std::uint64_t end(Entry word, std::uint64_t iova) {
      if (!in_use(word, kLevel)) return kNowhere;
      const std::uint64_t offset = below(page_lg2_of(word, kLevel));
      return (F::page_address(word, kLevel).value & ~offset) | (iova & offset);
    }
  };

  // A table that is unlinked while we walk may be recycled: then the generation has changed, and we walk again.
  template <class As>
  [[gnu::always_inline]] typename As::Answer walk_to(std::uint64_t iova) const {
    if (iova > input_last) [[unlikely]]
      return As::nothing();
    const TableMemory::View view = memory->view();
    for (;;) {
      const std::uint64_t before = generation.load(std::memory_order_acquire);
      const auto answer = walk_from_hint<As>(view, iova);
      std::atomic_thread_fence(std::memory_order_acquire);
      if (generation.load(std::memory_order_relaxed) == before) [[likely]]
        return answer;
    }
  }
  template <class As>
  [[gnu::always_inline]] typename As::Answer walk_from_hint(const TableMemory::View& view, std::uint64_t iova) const {
    if constexpr (kHints) {
      const std::uint64_t word = hint.load(std::memory_order_acquire);
      if (word >> kHintGranuleBits == block(iova, X::span(2)) && word != kNoHint) {
        const std::uint64_t offset = (word & below(kHintGranuleBits)) << TableSize::kLeastLg2;
        const Entry* const table = view.words<Entry>(PhysAddr{view.first + offset});
        return step<As, 1>(view, Word::load(table[index(iova, 1, kMaxLevels)]), iova);
      }
    }
    return walk_from<As, X::kLevels - 1>(root(), view, iova);
  }
  // The compiler spells out every level, with constant shifts.
  template <class As, unsigned kLevel>
  [[gnu::always_inline]] typename As::Answer walk_from(Root root, const TableMemory::View& view,
                                                       std::uint64_t iova) const {
    if (root.level == kLevel) {
      if (X::kGrows && iova > reach(kLevel)) return As::nothing();
      return step<As, kLevel>(view, Word::load(root.table[block(iova, X::span(kLevel))]), iova);
    }
    if constexpr (kLevel > 0) return walk_from<As, kLevel - 1>(root, view, iova);
    return As::nothing();
  }
  // An address outside the arena comes out of a recycled table, or of an empty entry whose word is 0. (The arena's
  // first page is never handed out.)
  template <class As, unsigned kLevel>
  [[gnu::always_inline]] static typename As::Answer step(const TableMemory::View& view, Entry word,
                                                         std::uint64_t iova) {
    if constexpr (kLevel > 0) {
      if ((X::kZeroIsEmpty || in_use(word, kLevel)) && F::is_table(word, kLevel)) [[likely]] {
        const PhysAddr address = F::table_address(word, kLevel);
        if (view.contains(address, X::table_size(kLevel - 1))) [[likely]] {
          const Entry* const table = view.words<Entry>(address);
          return step<As, kLevel - 1>(view, Word::load(table[index(iova, kLevel - 1, kMaxLevels)]), iova);
        }
        return As::template end<kLevel>(empty_entry<F>(kLevel), iova);
      }
    }
    return As::template end<kLevel>(word, iova);
  }
};

}  // namespace softiommu::pt
