// SPDX-License-Identifier: BSD-3-Clause
// Unmapping: entries are cleared, tables that become empty are unlinked, whole tables are dropped by their counts
// without a look into them. Unlinked tables go to the caller's Gather, as hardware may still read them.
#pragma once

#include <optional>

#include "pt/tables.h"

namespace softiommu::pt {

template <PageTableFormat F>
class Unmapper {
  using T = Tables<F>;
  using X = Facts<F>;
  using Entry = typename F::Entry;
  using Root = typename T::Root;
  using Path = typename T::Path;
  using Record = typename T::Record;
  using Word = Words<F>;

 public:
  Unmapper(T& tables, Gather& gather) : t_(tables), gather_(gather) {}

  // [first, last]: whole pages within the aperture. Returns the bytes that were mapped there.
  std::uint64_t unmap(std::uint64_t first, std::uint64_t last) {
    const BiasedGuard guard(t_.lock);
    if (const auto done = unmap_near(first, last)) return *done;
    return unmap_far(first, last);
  }

  // All that the table maps, without a lock: nobody uses it any more. The root stays.
  void drop_all(Root root) {
    if (t_.record(root.table, root.level).children != 0) drop(root.table, root.level, root.level);
  }

 private:
  // Where the range lies in one entry of a table above the leaf tables: a page, or what is in one leaf table. nullopt:
  // it does not.
  [[gnu::always_inline]] std::optional<std::uint64_t> unmap_near(std::uint64_t first, std::uint64_t last)
      REQUIRES(t_.lock) {
    const auto size_lg2 = static_cast<unsigned>(std::bit_width(last - first));
    const unsigned level = size_lg2 <= X::span(1) ? 1 : X::level_of(size_lg2), span = X::span(level);
    if (block(first ^ last, span) != 0) return std::nullopt;
    Entry* const table = t_.table_at(first, level);
    if (table == nullptr) return std::nullopt;
    Entry& entry = table[T::index(first, level, t_.root().level)];
    const Entry word = Word::load(entry);
    if (!T::in_use(word, level)) return 0;
    if (F::is_table(word, level)) {
      if (last - first == below(span)) return drop_below(entry, level, first, last);
      if (level > 1) return std::nullopt;
      return unmap_in_leaf_table(table, entry, word, first, last);
    }
    if (X::kSets && F::page_lg2(word, level) != span) return std::nullopt;
    Word::store(entry, empty_entry<F>(level));
    t_.wrote_entries(&entry, 1);
    const std::uint64_t base = t_.base + (first & ~below(span));
    gather_.add(base, base + below(span));
    if (--t_.record(table, level).live == 0) unlink_empty(first, level);
    return std::uint64_t{1} << span;
  }

  [[gnu::always_inline]] std::optional<std::uint64_t> unmap_in_leaf_table(Entry* parent, Entry& entry, Entry word,
                                                                          std::uint64_t first, std::uint64_t last)
      REQUIRES(t_.lock) {
    Entry* const leaves = t_.table_of(word, 1);
    Record& counts = t_.record(leaves, 0);
    t_.evict(first);
    const unsigned i = T::index(first, 0, kMaxLevels);
    std::uint64_t bytes = std::uint64_t{1} << X::kPageShift;
    const Entry leaf = Word::load(leaves[i]);
    if (block(first ^ last, X::kPageShift) == 0 && entries_of_leaf(leaf, 0) == 1) {
      if (!T::in_use(leaf, 0)) return 0;
      Word::store(leaves[i], empty_entry<F>(0));
      t_.wrote_entries(leaves + i, 1);
      --counts.live;
      gather_.add(t_.base + first, t_.base + last);
    } else {
      Reach reach{first, last};
      bytes = clear_leaves(leaves, 0, first & ~below(X::kPageShift), i, T::index(last, 0, kMaxLevels), reach).bytes;
      if (bytes == 0) return 0;
      gather_.add(t_.base + reach.first, t_.base + reach.last);
    }
    if (counts.live != 0) {
      t_.aim(first, leaves);
      return bytes;
    }
    unlink(entry, leaves, parent, 1);
    if (t_.record(parent, 1).live == 0) {
      unlink_empty(first, 1);
    } else {
      t_.readers_walk_again();  // but the way to the parent is as it was
    }
    return bytes;
  }

  // The table that `entry`, one of the retained table of `level`, points to: [first, last] is all that it maps.
  [[gnu::noinline]] std::uint64_t drop_below(Entry& entry, unsigned level, std::uint64_t first, std::uint64_t last)
      REQUIRES(t_.lock) {
    t_.evict(first, last);
    Entry* const dropped = t_.table_of(Word::load(entry), level);
    Word::store(entry, empty_entry<F>(level));
    t_.wrote_entries(&entry, 1);
    Record& counts = t_.record(t_.retained.table[level], level);
    --counts.live;
    --counts.children;
    const std::uint64_t bytes = drop(dropped, level - 1, t_.root().level);
    gather_.add(t_.base + first, t_.base + last);
    if (counts.live == 0) {
      unlink_empty(first, level);
    } else {
      t_.forget_below(level);
    }
    return bytes;
  }

  // A table that has become empty, and those above it that become so.
  [[gnu::noinline]] void unlink_empty(std::uint64_t iova, unsigned level) REQUIRES(t_.lock) {
    const unsigned top = t_.root().level;
    for (; level < top; ++level) {
      Entry *const table = t_.retained.table[level], *const parent = t_.retained.table[level + 1];
      unlink(parent[T::index(iova, level + 1, top)], table, parent, level + 1);
      if (t_.record(parent, level + 1).live != 0) return t_.forget_below(level + 1);
    }
    t_.forget_tables();
  }
  // `table`, which is empty, from `entry` of its parent, a table of `level`.
  void unlink(Entry& entry, const Entry* table, const Entry* parent, unsigned level) REQUIRES(t_.lock) {
    Word::store(entry, empty_entry<F>(level));
    t_.wrote_entries(&entry, 1);
    Record& counts = t_.record(parent, level);
    --counts.live;
    --counts.children;
    gather(table, level - 1, X::kZeroIsEmpty ? TableContents::zeroed : TableContents::undefined);
  }

  // What is invalidated: the range that was asked for, and what large pages reach beyond it.
  struct Reach {
    std::uint64_t first, last;
    void add(std::uint64_t from, std::uint64_t to) {
      first = std::min(first, from);
      last = std::max(last, to);
    }
  };
  struct Cleared {
    std::uint64_t end, bytes;  // up to and including `end`
  };

  [[gnu::noinline]] std::uint64_t unmap_far(std::uint64_t first, std::uint64_t last) REQUIRES(t_.lock) {
    const Root root = t_.root();
    Reach reach{first, last};
    if constexpr (X::kGrows) {
      if (first > t_.reach(root.level)) return 0;
      last = std::min(last, t_.reach(root.level));
    }
    t_.evict(first, last);
    Path path(root);
    std::uint64_t bytes = 0;
    bool unlinked = false;
    for (std::uint64_t at = first;;) {
      if (descend(root, path, at, first, last)) continue;
      const Cleared done = clear_here(root, path, at, last, reach, unlinked);
      bytes += done.bytes;
      unlinked |= leave_tables(root, path, at, done.end, last);
      if (done.end >= last) break;
      at = done.end + 1;
    }
    if (unlinked) t_.forget_tables();
    if (bytes != 0) gather_.add(t_.base + reach.first, t_.base + reach.last);
    return bytes;
  }

  // Goes one level down if a table is there that is not covered whole.
  bool descend(Root root, Path& path, std::uint64_t at, std::uint64_t first, std::uint64_t last) const {
    const unsigned level = path.lowest;
    if (level == 0) return false;
    const Entry word = Word::load(path.table[level][T::index(at, level, root.level)]);
    if (!T::is_table(word, level)) return false;
    const std::uint64_t base = at & ~below(X::span(level));
    if (base >= first && (base | below(X::span(level))) <= last) return false;
    path.table[level - 1] = t_.table_of(word, level);
    path.lowest = level - 1;
    return true;
  }

  // From `at` on in the lowest table: a run of leaves, one leaf, one table that is covered whole, or a hole.
  Cleared clear_here(Root root, const Path& path, std::uint64_t at, std::uint64_t last, Reach& reach, bool& unlinked)
      REQUIRES(t_.lock) {
    const unsigned level = path.lowest, i = T::index(at, level, root.level), span = X::span(level);
    Entry* const table = path.table[level];
    Record& counts = t_.record(table, level);
    const std::uint64_t base = at & ~below(span);
    if (counts.children == 0) {
      const std::uint64_t table_last = level == root.level ? t_.input_last : base | below(X::span(level + 1));
      const unsigned j = T::index(std::min(last, table_last), level, root.level);
      return clear_leaves(table, level, base, i, j, reach);
    }
    const Entry word = Word::load(table[i]);
    if (T::is_table(word, level)) {
      Word::store(table[i], empty_entry<F>(level));
      t_.wrote_entries(table + i, 1);
      --counts.live;
      --counts.children;
      unlinked = true;
      return {base | below(span), drop(t_.table_of(word, level), level - 1, root.level)};
    }
    if (!T::in_use(word, level)) return {base | below(span), 0};
    return clear_leaves(table, level, base, i, i, reach);
  }

  // Entries i..j of a table; whole pages, even if they begin before or end after. `base` is where entry i begins.
  Cleared clear_leaves(Entry* table, unsigned level, std::uint64_t base, unsigned i, unsigned j, Reach& reach)
      REQUIRES(t_.lock) {
    const unsigned span = X::span(level);
    const Entry head = Word::load(table[i]), tail = Word::load(table[j]);
    const unsigned head_set = entries_of_leaf(head, level), tail_set = entries_of_leaf(tail, level);
    const unsigned from = i & ~(head_set - 1), to = j | (tail_set - 1);
    const std::uint64_t first = base - (std::uint64_t{i - from} << span),
                        end = (base | below(span)) + (std::uint64_t{to - i} << span);
    const auto cleared = static_cast<std::uint32_t>(Word::clear(table + from, to - from + 1, level));
    if (cleared == 0) return {end, 0};
    t_.wrote_entries(table + from, to - from + 1);
    t_.record(table, level).live -= cleared;
    reach.add(T::in_use(head, level) ? first : reach.first, T::in_use(tail, level) ? end : reach.last);
    return {end, std::uint64_t{cleared} << span};
  }
  static unsigned entries_of_leaf(Entry word, unsigned level) {
    if constexpr (!X::kSets) return 1;
    return T::in_use(word, level) ? 1u << T::set_lg2(F::page_lg2(word, level), level) : 1;
  }

  // Having cleared [at, end]: goes up out of the tables that end there (all of them, at `last`) and unlinks those that
  // are empty. True if there was one.
  bool leave_tables(Root root, Path& path, std::uint64_t at, std::uint64_t end, std::uint64_t last) REQUIRES(t_.lock) {
    bool unlinked = false;
    while (path.lowest < root.level && (end >= last || ((end + 1) & below(X::span(path.lowest + 1))) == 0)) {
      const unsigned left_level = path.lowest++, level = path.lowest;
      const Entry* const left = path.table[left_level];
      if (t_.record(left, left_level).live != 0) continue;
      Entry* const parent = path.table[level];
      unlink(parent[T::index(at, level, root.level)], left, parent, level);
      unlinked = true;
    }
    return unlinked;
  }

  void gather(const Entry* table, unsigned level, TableContents contents) const {
    gather_.add_table(*t_.memory, t_.memory->address(table), X::class_of(level), X::table_size(level), contents);
  }

  // Gathers an unlinked table with all below it and says how many bytes they mapped. The root is only emptied of them.
  std::uint64_t drop(Entry* top_table, unsigned top_level, unsigned root_level) const {
    Path path({top_table, top_level});
    std::array<unsigned, kMaxLevels> at{}, left{};
    left[top_level] = t_.record(top_table, top_level).live;
    std::uint64_t bytes = 0;
    for (;;) {
      const unsigned level = path.lowest;
      Entry* const table = path.table[level];
      if (t_.record(table, level).children == 0) {
        bytes += std::uint64_t{left[level]} << X::span(level);
      } else if (level == 1) {
        bytes += drop_leaf_tables(table, left[level]);
      } else if (left[level] > 0) {
        const Entry word = Word::load(table[at[level]++]);
        if (!T::in_use(word, level)) continue;
        --left[level];
        if (!F::is_table(word, level)) {
          bytes += X::span_bytes(level);
          continue;
        }
        path.table[level - 1] = t_.table_of(word, level);
        path.lowest = level - 1;
        at[level - 1] = 0;
        left[level - 1] = t_.record(path.table[level - 1], level - 1).live;
        continue;
      }
      if (level != root_level) gather(table, level, TableContents::undefined);
      if (level == top_level) return bytes;
      ++path.lowest;
    }
  }

  // The same for what stands in a level-1 table: the loop that large unmaps spend their time in.
  std::uint64_t drop_leaf_tables(const Entry* table, unsigned left) const {
    std::uint64_t bytes = 0;
    for (unsigned i = 0; left > 0; ++i) {
      const Entry word = Word::load(table[i]);
      if (!T::in_use(word, 1)) continue;
      --left;
      if (F::is_table(word, 1)) {
        const PhysAddr leaves = F::table_address(word, 1);
        bytes += std::uint64_t{t_.memory->record(leaves, X::table_size(0)).live} << X::kPageShift;
        gather_.add_table(*t_.memory, leaves, X::class_of(0), X::table_size(0), TableContents::undefined);
      } else {
        bytes += X::span_bytes(1);
      }
    }
    return bytes;
  }

  T& t_;
  Gather& gather_;
};

}  // namespace softiommu::pt
