// SPDX-License-Identifier: BSD-3-Clause
// Large pages into small ones and back. What is translated stays the same at every moment: hardware sees the old entry
// or the new one, and an entry that hardware has just made dirty is not overwritten.
#pragma once

#include "pt/tables.h"

namespace softiommu::pt {

// Replaces the pages larger than the smallest that overlap a range.
template <PageTableFormat F>
class Cutter {
  using T = Tables<F>;
  using X = Facts<F>;
  using Entry = typename F::Entry;
  using Root = typename T::Root;
  using Word = Words<F>;
  using Chain = TableMemory::Chain;

 public:
  Cutter(T& tables, Gather& gather) : t_(tables), gather_(gather) {}

  Result<> cut(std::uint64_t first, std::uint64_t last) {
    const BiasedGuard guard(t_.lock);
    const Root root = t_.root();
    if (first > t_.reach(root.level)) return {};
    last = std::min(last, t_.reach(root.level));
    t_.evict(first, last);
    std::array<std::uint64_t, X::kClasses> needed{};
    for_each_large(root, first, last, [&](const Page& page) {
      std::uint64_t tables = std::uint64_t{1} << T::set_lg2(page.lg2, page.level);
      for (unsigned level = page.level; level-- > 0; tables *= X::entries(level)) needed[X::class_of(level)] += tables;
    });
    TRY(reserve(needed));
    for_each_large(root, first, last, [&](const Page& page) REQUIRES(t_.lock) { cut_page(page); });
    return {};
  }

 private:
  struct Page {
    Entry* entries;  // all that it stands in
    Entry* table;
    unsigned level, lg2;
    std::uint64_t iova;
    Entry word;
  };

  // In a visitor, pages may be replaced.
  template <class Visitor>
  void for_each_large(Root root, std::uint64_t first, std::uint64_t last, Visitor&& visit) const REQUIRES(t_.lock) {
    for (std::uint64_t at = first;;) {
      Entry* table = root.table;
      unsigned level = root.level, i = T::index(at, level, root.level);
      Entry word = Word::load(table[i]);
      while (T::is_table(word, level)) {
        table = t_.table_of(word, level);
        i = T::index(at, --level, kMaxLevels);
        word = Word::load(table[i]);
      }
      unsigned lg2 = level == 0 && !X::kSets ? X::span(1) : X::span(level);  // small pages need no visit
      if (T::in_use(word, level)) {
        const unsigned size = T::page_lg2_of(word, level);
        if (size > X::kPageShift) {
          lg2 = size;
          Entry* const entries = table + (i & ~((1u << T::set_lg2(size, level)) - 1));
          visit(Page{entries, table, level, size, at & ~below(size), word});
        }
      }
      if ((at | below(lg2)) >= last) return;
      at = (at | below(lg2)) + 1;
    }
  }

  Result<> reserve(const std::array<std::uint64_t, X::kClasses>& needed) {
    for (unsigned c = 0; c < X::kClasses; ++c) {
      if (needed[c] == 0) continue;
      auto chain = needed[c] >> 32 == 0 ? t_.memory->allocate_chain(static_cast<std::uint32_t>(needed[c]),
                                                                    X::class_size(c), TableContents::undefined)
                                        : fail(ENOMEM, "more tables than any arena holds");
      if (!chain) {
        for (unsigned k = 0; k < c; ++k) t_.memory->free_chain(supply_[k], X::class_size(k));
        return std::unexpected(chain.error());
      }
      supply_[c] = *chain;
    }
    return {};
  }

  void cut_page(const Page& page) REQUIRES(t_.lock) {
    const unsigned count = 1u << T::set_lg2(page.lg2, page.level);
    const std::uint64_t attributes = t_.attributes[index_of(F::prot(t_.config, page.word, page.level))];
    const PhysAddr pa{F::page_address(page.word, page.level).value & ~below(page.lg2)};
    bool dirty = false;
    for (unsigned i = 0; i < count; ++i) dirty |= t_.dirty.is_dirty(Word::load(page.entries[i]));
    bool turned = false;  // hardware has made one dirty meanwhile
    for (unsigned i = 0; i < count; ++i) {
      const PhysAddr own = pa + (std::uint64_t{i} << X::span(page.level));
      const Entry smaller = page.level == 0 ? marked(F::leaf(attributes, own, 0, X::kPageShift), dirty)
                                            : F::table(build(page.level - 1, own, attributes, dirty), page.level);
      Entry old = Word::load(page.entries[i]);
      while (!Word::replace(page.entries[i], old, smaller)) {
      }
      turned |= !dirty && t_.dirty.is_dirty(old);
      t_.wrote_entries(page.entries + i, 1);
    }
    if (page.level > 0) t_.record(page.table, page.level).children += count;
    if (turned)
      for (unsigned i = 0; i < count; ++i) mark(page.entries + i, page.level);
    gather_.add(t_.base + page.iova, t_.base + page.iova + below(page.lg2));
  }
  Entry marked(Entry leaf, bool dirty) const {
    return dirty && !t_.dirty.is_dirty(leaf) ? static_cast<Entry>(leaf ^ t_.dirty.flip) : leaf;
  }

  // A table of `level`, and all below it, that maps what begins at `pa` in the smallest pages. As deep as levels go.
  PhysAddr build(unsigned level, PhysAddr pa, std::uint64_t attributes, bool dirty) REQUIRES(t_.lock) {
    const unsigned c = X::class_of(level), count = X::entries(level);
    const PhysAddr address = t_.memory->pop(supply_[c], X::class_size(c));
    Entry* const table = t_.memory->template as<Entry>(address);
    if (level == 0) {
      T::write_leaves(table, count, attributes, pa, 0, X::kPageShift);
      if (dirty)
        for (unsigned i = 0; i < count; ++i) Word::store(table[i], marked(Word::load(table[i]), true));
    } else {
      for (unsigned i = 0; i < count; ++i, pa += X::span_bytes(level))
        Word::store(table[i], F::table(build(level - 1, pa, attributes, dirty), level));
    }
    t_.record(table, level) = {.live = count, .children = level == 0 ? 0 : count};
    t_.wrote(table, X::table_size(level).bytes());
    return address;
  }

  // Makes all leaves under an entry dirty.
  void mark(Entry* entry, unsigned level) REQUIRES(t_.lock) {
    const Entry word = Word::load(*entry);
    if (!T::is_table(word, level)) {
      if (t_.dirty.is_dirty(word)) return;
      Word::flip(*entry, t_.dirty.flip);
      return t_.wrote_entries(entry, 1);
    }
    Entry* const table = t_.table_of(word, level);
    for (unsigned i = 0; i < X::entries(level - 1); ++i) mark(table + i, level - 1);
  }

  T& t_;
  Gather& gather_;
  std::array<Chain, X::kClasses> supply_{};
};

// Replaces full tables whose leaves are one piece of memory with equal rights by one large page.
template <PageTableFormat F>
class Promoter {
  using T = Tables<F>;
  using X = Facts<F>;
  using Entry = typename F::Entry;
  using Root = typename T::Root;
  using Word = Words<F>;

 public:
  Promoter(T& tables, Gather& gather) : t_(tables), gather_(gather) {}

  // Only tables that map nothing outside of [first, last]. Returns how many tables became pages.
  std::uint64_t promote(std::uint64_t first, std::uint64_t last) {
    const BiasedGuard guard(t_.lock);
    const Root root = t_.root();
    if (first > t_.reach(root.level)) return 0;
    t_.evict(first, last);
    joined_ = 0;
    promote_in(root.table, root.level, root.level, 0, {first, std::min(last, t_.reach(root.level))});
    if (joined_ != 0) t_.forget_tables();
    return joined_;
  }

 private:
  struct Bounds {
    std::uint64_t first, last;
  };

  // From the leaves up, as deep as levels go. `base` is where the table begins.
  void promote_in(Entry* table, unsigned level, unsigned top, std::uint64_t base, Bounds bounds) REQUIRES(t_.lock) {
    if (level == 0 || t_.record(table, level).children == 0) return;
    const unsigned span = X::span(level);
    const std::uint64_t end = level == top ? t_.reach(top) : base | below(X::span(level + 1));
    const unsigned from = T::index(std::max(bounds.first, base), level, top),
                   to = T::index(std::min(bounds.last, end), level, top);
    for (unsigned i = from; i <= to; ++i) {
      const Entry word = Word::load(table[i]);
      if (!T::is_table(word, level)) continue;
      const std::uint64_t iova = base + (std::uint64_t{i} << span);
      Entry* const smaller = t_.table_of(word, level);
      promote_in(smaller, level - 1, top, iova, bounds);
      if (iova >= bounds.first && (iova | below(span)) <= bounds.last) join(table, i, level, smaller, iova);
    }
  }

  void join(Entry* table, unsigned i, unsigned level, Entry* smaller, std::uint64_t iova) REQUIRES(t_.lock) {
    const unsigned lower = level - 1, span = X::span(level);
    const auto counts = t_.record(smaller, lower);
    if ((t_.page_sizes >> span & 1) == 0 || counts.children != 0 || counts.live != X::entries(lower)) return;
    const Entry head = Word::load(smaller[0]);
    const PhysAddr pa = own_address(head, lower, 0);
    const Prot prot = F::prot(t_.config, head, lower);
    if ((pa.value & below(span)) != 0 || !is_uniform(smaller, lower, pa, prot)) return;
    Entry leaf = F::leaf(t_.attributes[index_of(prot)], pa, level, span);
    if (any_dirty(smaller, lower) && !t_.dirty.is_dirty(leaf)) leaf = static_cast<Entry>(leaf ^ t_.dirty.flip);
    Word::store(table[i], leaf);
    // What hardware marked after we looked, through the entries that it still knew.
    if (any_dirty(smaller, lower) && !t_.dirty.is_dirty(Word::load(table[i]))) Word::flip(table[i], t_.dirty.flip);
    t_.wrote_entries(table + i, 1);
    --t_.record(table, level).children;
    gather_.add_table(*t_.memory, t_.memory->address(smaller), X::class_of(lower), X::table_size(lower),
                      TableContents::undefined);
    gather_.add(t_.base + iova, t_.base + iova + below(span));
    ++joined_;
  }
  // What entry i's own span maps.
  static PhysAddr own_address(Entry leaf, unsigned level, unsigned i) {
    const std::uint64_t offset = below(T::page_lg2_of(leaf, level));
    return PhysAddr{(F::page_address(leaf, level).value & ~offset) | ((std::uint64_t{i} << X::span(level)) & offset)};
  }
  bool is_uniform(const Entry* table, unsigned level, PhysAddr pa, Prot prot) const {
    for (unsigned i = 0; i < X::entries(level); ++i, pa += X::span_bytes(level)) {
      const Entry word = Word::load(table[i]);
      if (own_address(word, level, i) != pa || F::prot(t_.config, word, level) != prot) return false;
    }
    return true;
  }
  bool any_dirty(const Entry* table, unsigned level) const {
    if (t_.dirty.mask == 0) return false;
    for (unsigned i = 0; i < X::entries(level); ++i)
      if (t_.dirty.is_dirty(Word::load(table[i]))) return true;
    return false;
  }

  T& t_;
  Gather& gather_;
  std::uint64_t joined_ = 0;
};

}  // namespace softiommu::pt
