// SPDX-License-Identifier: BSD-3-Clause
// Mapping: everything is checked and reserved first, then nothing can fail, so nothing is ever undone.
//
// A mapping never replaces a table and never needs an invalidation of its own. One that lies beyond what the root
// reaches builds the higher root aside and publishes it when all is written.
#pragma once

#include "pt/tables.h"

namespace softiommu::pt {

struct MapRequest {
  std::uint64_t iova, pa, bytes, attributes;
  std::uint64_t last() const { return iova + (bytes - 1); }
};

template <PageTableFormat F>
class Mapper {
  using T = Tables<F>;
  using X = Facts<F>;
  using Entry = typename F::Entry;
  using Root = typename T::Root;
  using Path = typename T::Path;
  using Record = typename T::Record;
  using Word = Words<F>;

 public:
  explicit Mapper(T& tables) : t_(tables) {}

  // A request that PageTable has checked.
  Result<> map(const MapRequest& request) {
    const BiasedGuard guard(t_.lock);
    const std::uint64_t usable = usable_sizes(t_.page_sizes, request.iova, request.pa);
    if (const unsigned lg2 = page_lg2(usable, request.iova, request.bytes); std::uint64_t{1} << lg2 == request.bytes)
      if (Entry* const table = t_.table_at(request.iova, std::max(X::level_of(lg2), 1u)))
        return map_page(table, request, lg2);
    return map_far(request, usable);
  }

 private:
  using Chain = TableMemory::Chain;
  using Counts = std::array<std::uint64_t, X::kClasses>;
  // Tables reserved for a mapping, by class of size.
  struct Supply {
    std::array<Chain, X::kClasses> zeroed{}, undefined{};
  };

  [[gnu::noinline]] Result<> map_far(const MapRequest& request, std::uint64_t usable) REQUIRES(t_.lock) {
    const Root root = t_.root();
    t_.evict(request.iova, request.last());
    if constexpr (X::kGrows) {
      unsigned level = root.level;
      const unsigned page_level = X::level_of(page_lg2(usable, request.iova, request.bytes));
      while (request.last() > t_.reach(level) || page_level > level) ++level;
      if (level != root.level) return map_grown(root, level, request, usable);
    }
    return map_under(root, request, usable);
  }

  // One page in `table`, of its level, or in a leaf table below it.
  Result<> map_page(Entry* table, const MapRequest& request, unsigned lg2) REQUIRES(t_.lock) {
    const unsigned level = std::max(X::level_of(lg2), 1u);
    Entry* const entry = table + T::index(request.iova, level, t_.root().level);
    if (X::level_of(lg2) == 0) return map_in_leaf_table(table, entry, request, lg2);
    const unsigned count = 1u << T::set_lg2(lg2, level);
    if (count == 1 ? T::in_use(Word::load(*entry), level) : Word::any_in_use(entry, count, level))
      return fail(EEXIST, "the page is mapped already");
    T::write_leaves(entry, 1, request.attributes, PhysAddr{request.pa}, level, lg2);
    t_.wrote_entries(entry, count);
    t_.record(table, level).live += count;
    return {};
  }
  Result<> map_in_leaf_table(Entry* parent, Entry* entry, const MapRequest& request, unsigned lg2) REQUIRES(t_.lock) {
    const unsigned i = T::index(request.iova, 0, kMaxLevels), count = 1u << T::set_lg2(lg2, 0);
    const Entry word = Word::load(*entry);
    if (T::in_use(word, 1)) {
      if (!F::is_table(word, 1)) return fail(EEXIST, "a large page is mapped there already");
      Entry* const leaves = t_.table_of(word, 1);
      t_.evict(request.iova);
      if (Word::any_in_use(leaves + i, count, 0)) return fail(EEXIST, "the page is mapped already");
      T::write_leaves(leaves + i, 1, request.attributes, PhysAddr{request.pa}, 0, lg2);
      t_.wrote_entries(leaves + i, count);
      t_.record(leaves, 0).live += count;
      t_.aim(request.iova, leaves);
      return {};
    }
    const PhysAddr made = TRY(t_.memory->allocate(X::table_size(0)));
    Entry* const leaves = t_.memory->template as<Entry>(made);
    t_.make_empty(leaves, 0, X::entries(0));
    T::write_leaves(leaves + i, 1, request.attributes, PhysAddr{request.pa}, 0, lg2);
    t_.memory->record(made, X::table_size(0)).live = count;
    link_at(entry, leaves, 1);
    Record& counts = t_.record(parent, 1);
    ++counts.live;
    ++counts.children;
    return {};
  }

  Result<> map_under(Root root, const MapRequest& request, std::uint64_t usable) REQUIRES(t_.lock) {
    const unsigned lg2 = page_lg2(usable, request.iova, request.bytes), level = X::level_of(lg2);
    const std::uint64_t pages = run_pages(root, request.iova, request.bytes, usable, lg2);
    if (pages << lg2 == request.bytes && request.bytes < below(X::span(level + 1))) return map_run(root, request, lg2);
    if (occupied(root, request.iova, request.last())) return fail(EEXIST, "a page of the range is mapped already");
    Supply supply = TRY(reserve(root, request, usable));
    fill(root, request, usable, supply);
    return {};
  }

  // Pages of 2^lg2 bytes from `iova` on, until their table ends or a larger page becomes possible.
  std::uint64_t run_pages(Root root, std::uint64_t iova, std::uint64_t bytes, std::uint64_t usable,
                          unsigned lg2) const {
    const unsigned level = X::level_of(lg2), i = T::index(iova, level, root.level);
    const std::uint64_t to_end = (t_.entries_of(level, root.level) - i) >> T::set_lg2(lg2, level);
    std::uint64_t pages = std::min<std::uint64_t>(to_end, bytes >> lg2);
    if constexpr (X::kSets) {
      const std::uint64_t larger = usable & ~sizes_up_to(lg2);
      if (larger != 0) {
        const std::uint64_t boundary = below(static_cast<unsigned>(std::countr_zero(larger)));
        pages = std::min(pages, ((boundary - (iova & boundary)) >> lg2) + 1);
      }
    }
    return pages;
  }

  // Pages of one size in a part of one table: nearly every call, so it walks only once.
  Result<> map_run(Root root, const MapRequest& request, unsigned lg2) REQUIRES(t_.lock) {
    const unsigned level = X::level_of(lg2);
    Path path(root);
    while (path.lowest > level) {
      const Entry word = Word::load(path.table[path.lowest][T::index(request.iova, path.lowest, root.level)]);
      if (!T::in_use(word, path.lowest)) break;
      if (!F::is_table(word, path.lowest)) return fail(EEXIST, "a large page is mapped there already");
      path.table[path.lowest - 1] = t_.table_of(word, path.lowest);
      --path.lowest;
    }
    Supply supply;
    const bool there = path.lowest == level;
    if (there) {
      const Entry* const first = path.table[level] + T::index(request.iova, level, root.level);
      if (Word::any_in_use(first, request.bytes >> X::span(level), level))
        return fail(EEXIST, "a page of the range is mapped already");
    } else if (path.lowest == level + 1) {
      const TableSize size = X::table_size(level);
      t_.memory->append(supply.zeroed[X::class_of(level)], TRY(t_.memory->allocate(size)), size);
    } else {
      Counts counts{};
      for (unsigned missing = level; missing < path.lowest; ++missing) ++counts[X::class_of(missing)];
      TRY(allocate(supply.zeroed, counts, TableContents::zeroed));
    }
    write_run(root, path, request, lg2, request.bytes >> lg2, supply);
    if (there && level == 0)  // last: from now on others change the table
      t_.aim(request.iova, leaf_table_of(root, path, request.iova));
    return {};
  }
  // A flat root counts as leaf tables side by side.
  static Entry* leaf_table_of(Root root, const Path& path, std::uint64_t iova) {
    return root.level == 0 ? root.table + (iova >> T::kLeafTableShift << F::kIndexBits[0]) : path.table[0];
  }

  // ---- checks ----

  // Is any page of the range mapped? Tables are never empty, so only the two edges need a descent.
  bool occupied(Root root, std::uint64_t first, std::uint64_t last) const REQUIRES(t_.lock) {
    const Entry* table = root.table;
    for (unsigned level = root.level;; --level) {
      const unsigned i = T::index(first, level, root.level), j = T::index(last, level, root.level);
      if (level == 0) return Word::any_in_use(table + i, j - i + 1, 0);
      if (i != j) {
        return (j - i > 1 && Word::any_in_use(table + i + 1, j - i - 1, level)) ||
               edge_occupied(Word::load(table[i]), level, first, first | below(X::span(level))) ||
               edge_occupied(Word::load(table[j]), level, last & ~below(X::span(level)), last);
      }
      const Entry word = Word::load(table[i]);
      if (!T::in_use(word, level)) return false;
      if (!F::is_table(word, level)) return true;
      table = t_.table_of(word, level);
    }
  }

  // The same for a range within `word`, an entry of a table of `level`, that reaches one of its ends.
  bool edge_occupied(Entry word, unsigned level, std::uint64_t first, std::uint64_t last) const REQUIRES(t_.lock) {
    for (;; --level) {
      if (!T::in_use(word, level)) return false;
      if (!T::is_table(word, level)) return true;
      if (last - first == below(X::span(level))) return true;
      const Entry* const table = t_.table_of(word, level);
      const unsigned i = T::index(first, level - 1, kMaxLevels), j = T::index(last, level - 1, kMaxLevels);
      if (level == 1) return Word::any_in_use(table + i, j - i + 1, 0);
      const bool from_start = (first & below(X::span(level))) == 0;
      const std::uint64_t span = below(X::span(level - 1));
      if (from_start) {
        if (j > 0 && Word::any_in_use(table, j, level - 1)) return true;
        word = Word::load(table[j]);
        first = last & ~span;
      } else {
        const unsigned rest = X::entries(level - 1) - i - 1;
        if (rest > 0 && Word::any_in_use(table + i + 1, rest, level - 1)) return true;
        word = Word::load(table[i]);
        last = first | span;
      }
    }
  }

  // ---- reserve ----

  // Counts the tables below the root on the way to `iova`, not those of levels from `stop` up.
  void subtract_existing(Root root, std::uint64_t iova, unsigned stop, Counts& counts) const REQUIRES(t_.lock) {
    const Entry* table = root.table;
    for (unsigned level = root.level; level > 0; --level) {
      const Entry word = Word::load(table[T::index(iova, level, root.level)]);
      if (!T::is_table(word, level)) break;
      table = t_.table_of(word, level);
      counts[X::class_of(level - 1)] -= level - 1 < stop;
    }
  }

  // The tables that the mapping needs and that do not exist. As the range is free, those that exist hold an end of it.
  Result<Supply> reserve(Root root, const MapRequest& request, std::uint64_t usable) REQUIRES(t_.lock) {
    Counts whole{}, partial{};
    unsigned shared = 0;  // levels from here up have both ends in one table
    for (unsigned level = 0; level < root.level; ++level) {
      const unsigned table_lg2 = X::span(level + 1);
      const TableCount needed = tables_needed(request.iova, request.last(), usable, X::span(level), table_lg2);
      whole[X::class_of(level)] += needed.whole;
      partial[X::class_of(level)] += needed.all - needed.whole;
      if (block(request.iova, table_lg2) != block(request.last(), table_lg2)) shared = level + 1;
    }
    subtract_existing(root, request.iova, root.level, partial);
    if (shared > 0) subtract_existing(root, request.last(), shared, partial);
    Supply supply;
    TRY(allocate(supply.undefined, whole, TableContents::undefined));
    if (auto done = allocate(supply.zeroed, partial, TableContents::zeroed); !done) {
      give_back(supply.undefined, TableContents::undefined);
      return std::unexpected(done.error());
    }
    return supply;
  }
  // All or none.
  Result<> allocate(std::array<Chain, X::kClasses>& chains, const Counts& counts, TableContents contents) {
    for (unsigned c = 0; c < X::kClasses; ++c) {
      if (counts[c] == 0) continue;
      auto chain = counts[c] >> 32 == 0
                       ? t_.memory->allocate_chain(static_cast<std::uint32_t>(counts[c]), X::class_size(c), contents)
                       : fail(ENOMEM, "more tables than any arena holds");
      if (!chain) {
        give_back(chains, contents);
        return std::unexpected(chain.error());
      }
      chains[c] = *chain;
    }
    return {};
  }
  void give_back(const std::array<Chain, X::kClasses>& chains, TableContents contents) {
    for (unsigned c = 0; c < X::kClasses; ++c) t_.memory->free_chain(chains[c], X::class_size(c), contents);
  }

  // ---- write ----

  // Writes the entries of a checked request, one run in one table after the other.
  void fill(Root root, MapRequest rest, std::uint64_t usable, Supply& supply) REQUIRES(t_.lock) {
    Path path(root);
    while (rest.bytes > 0) {
      const unsigned lg2 = page_lg2(usable, rest.iova, rest.bytes);
      const std::uint64_t pages = run_pages(root, rest.iova, rest.bytes, usable, lg2), done = pages << lg2;
      write_run(root, path, rest, lg2, pages, supply);
      rest.iova += done;
      rest.pa += done;
      rest.bytes -= done;
      while (path.lowest < root.level && (rest.iova & below(X::span(path.lowest + 1))) == 0) ++path.lowest;
    }
    for (unsigned c = 0; c < X::kClasses; ++c) assert(supply.zeroed[c].empty() && supply.undefined[c].empty());
  }

  // `pages` pages of 2^lg2 bytes at the start of `request`, which stand in one table; makes the tables on the way.
  void write_run(Root root, Path& path, const MapRequest& request, unsigned lg2, std::uint64_t pages, Supply& supply)
      REQUIRES(t_.lock) {
    const std::uint64_t iova = request.iova;
    const unsigned level = X::level_of(lg2), i = T::index(iova, level, root.level);
    const auto count = static_cast<std::uint32_t>(pages << T::set_lg2(lg2, level));
    while (path.lowest > level + 1) step_down(root, path, iova, supply);
    Entry* unlinked = nullptr;
    if (path.lowest == level + 1) unlinked = open_table(root, path, iova, count == X::entries(level), supply);
    Entry* const table = path.table[level];
    T::write_leaves(table + i, pages, request.attributes, PhysAddr{request.pa}, level, lg2);
    t_.record(table, level).live += count;
    if (unlinked != nullptr) {
      link(root, path, level + 1, iova, unlinked);  // hardware sees it only now that it is written
    } else {
      t_.wrote_entries(table + i, count);
    }
    path.lowest = level;
  }

  // Goes to the next lower table for `iova` and makes it if it is missing.
  void step_down(Root root, Path& path, std::uint64_t iova, Supply& supply) REQUIRES(t_.lock) {
    if (Entry* const unlinked = open_table(root, path, iova, false, supply))
      link(root, path, path.lowest + 1, iova, unlinked);
  }

  // The same, but leaves the linking of a new table (the result) to the caller.
  Entry* open_table(Root root, Path& path, std::uint64_t iova, bool whole, Supply& supply) REQUIRES(t_.lock) {
    const unsigned level = path.lowest--, c = X::class_of(level - 1);
    const Entry word = Word::load(path.table[level][T::index(iova, level, root.level)]);
    if (T::in_use(word, level)) {
      path.table[level - 1] = t_.table_of(word, level);
      if (level == 2) t_.give_hint(iova, path.table[1]);
      return nullptr;
    }
    Entry* const made =
        t_.memory->template as<Entry>(t_.memory->pop(whole ? supply.undefined[c] : supply.zeroed[c], X::class_size(c)));
    if (!whole) t_.make_empty(made, level - 1, X::entries(level - 1));
    path.table[level - 1] = made;
    return made;
  }

  void link(Root root, const Path& path, unsigned level, std::uint64_t iova, Entry* table) REQUIRES(t_.lock) {
    Entry* const parent = path.table[level];
    link_at(parent + T::index(iova, level, root.level), table, level);
    Record& counts = t_.record(parent, level);
    ++counts.live;
    ++counts.children;
    if (level == 2) t_.give_hint(iova, table);
  }
  void link_at(Entry* entry, Entry* table, unsigned level) REQUIRES(t_.lock) {
    t_.wrote(table, X::table_size(level - 1).bytes());
    Word::store(*entry, F::table(t_.memory->address(table), level));
    t_.wrote_entries(entry, 1);
  }

  // ---- growth ----

  [[gnu::noinline]] Result<> map_grown(Root old, unsigned level, const MapRequest& request, std::uint64_t usable)
      REQUIRES(t_.lock) {
    assert(t_.level_is_full(old.level));
    const bool was_empty = t_.record(old.table, old.level).live == 0;
    const TableSize size = X::table_size(level);
    Chain made = TRY(t_.memory->allocate_chain(was_empty ? 1 : level - old.level, size));
    Root root{was_empty ? nullptr : old.table, was_empty ? level - 1 : old.level};
    while (root.level < level) {
      Entry* const table = t_.memory->template as<Entry>(t_.memory->pop(made, size));
      ++root.level;
      t_.make_empty(table, root.level, X::entries(root.level));
      if (root.table != nullptr) {
        Word::store(*table, F::table(t_.memory->address(root.table), root.level));
        t_.record(table, root.level) = {.live = 1, .children = 1};
      }
      t_.wrote(table, size.bytes());
      root.table = table;
    }
    if (auto done = map_under(root, request, usable); !done) {
      give_back_roots(root, was_empty ? level - 1 : old.level);
      return done;
    }
    t_.set_root(root);
    if (t_.observers.root != nullptr) t_.observers.root->root_changed(t_.memory->address(root.table), root.level);
    t_.forget_tables();
    if (was_empty) t_.memory->free(t_.memory->address(old.table), X::table_size(old.level));
    return {};
  }
  // Roots above `old_level` that were never published.
  void give_back_roots(Root root, unsigned old_level) REQUIRES(t_.lock) {
    while (root.level > old_level) {
      const Entry below_it = Word::load(*root.table);
      t_.memory->free(t_.memory->address(root.table), X::table_size(root.level));
      root.table = T::in_use(below_it, root.level) ? t_.table_of(below_it, root.level) : nullptr;
      --root.level;
    }
  }

  T& t_;
};

}  // namespace softiommu::pt
