// SPDX-License-Identifier: BSD-3-Clause
// Dirty state: read, and cleared, a stretch of one table at a time, under the lock for that long only.
//
// Hardware sets dirty bits with locked operations of its own beside all this, but leaves an entry alone that is dirty.
// A page that stands in several entries is dirty when one of them is, as hardware marks any.
#pragma once

#include "pt/tables.h"

namespace softiommu::pt {

// Dirty entries of a stretch of one table.
template <PageTableFormat F>
struct DirtyChunk {
  static constexpr unsigned kEntries = 512;  // no page stands in more, and stretches begin at multiples
  std::array<std::uint64_t, kEntries / 64> bits;
  std::uint64_t base = 0;  // where the entry of bit 0 begins
  std::uint64_t end = 0;   // last address that the stretch speaks for
  unsigned count = 0, lg2 = 0;

  // Calls run(first, last) for each run of dirty entries, in order.
  template <class Run>
  void for_each(Run&& run) const {
    for (unsigned word = 0; word * 64 < count; ++word) {
      for (std::uint64_t rest = bits[word]; rest != 0;) {
        const auto start = static_cast<unsigned>(std::countr_zero(rest));
        const auto length = static_cast<unsigned>(std::countr_one(rest >> start));
        const std::uint64_t first = base + (std::uint64_t{word * 64 + start} << lg2);
        run(first, first + ((std::uint64_t{length} << lg2) - 1));
        rest &= start + length == 64 ? 0 : ~std::uint64_t{0} << (start + length);
      }
    }
  }
};

// Joins neighbouring runs before the visitor sees them.
template <class Visitor>
class DirtyRuns {
 public:
  DirtyRuns(Visitor& visitor, std::uint64_t base) : visitor_(visitor), base_(base) {}
  void add(std::uint64_t first, std::uint64_t last) {
    if (any_ && last_ + 1 == first) {
      last_ = last;
      return;
    }
    finish();
    first_ = first;
    last_ = last;
    any_ = true;
  }
  void finish() {
    if (any_) visitor_(Iova{base_ + first_}, last_ - first_ + 1);
    any_ = false;
  }

 private:
  Visitor& visitor_;
  std::uint64_t base_, first_ = 0, last_ = 0;
  bool any_ = false;
};

template <PageTableFormat F>
class DirtyReader {
  using T = Tables<F>;
  using X = Facts<F>;
  using Entry = typename F::Entry;
  using Word = Words<F>;
  using Chunk = DirtyChunk<F>;

 public:
  explicit DirtyReader(T& tables) : t_(tables) {}

  // Entries from the one that holds `at` on. Those of pages that lie in [first, last] whole become clean with `clear`;
  // the others stay dirty, as what lies outside would otherwise be forgotten.
  void read(std::uint64_t at, std::uint64_t first, std::uint64_t last, bool clear, Chunk& chunk) {
    const std::uint64_t key = block(at, T::kLeafTableShift);
    const unsigned n = t_.stripe_of(key);
    if (t_.points_to(n, key)) {
      typename T::Stripe& stripe = t_.stripes[n];
      const BiasedGuard guard(stripe.lock);
      if (t_.points_to(n, key)) {
        const unsigned i = static_cast<unsigned>(block(at, X::kPageShift)) & (X::entries(0) - 1);
        return read_entries(stripe.table, 0, i, X::entries(0), {at, first, last}, clear, chunk);
      }
    }
    const BiasedGuard guard(t_.lock);
    t_.evict(at);
    walk(at, first, last, clear, chunk);
  }

 private:
  struct Bounds {
    std::uint64_t at, first, last;
  };

  void walk(std::uint64_t at, std::uint64_t first, std::uint64_t last, bool clear, Chunk& chunk) REQUIRES(t_.lock) {
    const typename T::Root root = t_.root();
    chunk.count = 0;
    chunk.end = ~std::uint64_t{0};
    if (at > t_.reach(root.level)) return;
    Entry* table = root.table;
    unsigned level = root.level, i = T::index(at, level, root.level);
    Entry word = Word::load(table[i]);
    while (T::is_table(word, level)) {
      table = t_.table_of(word, level);
      i = T::index(at, --level, kMaxLevels);
      word = Word::load(table[i]);
    }
    if (!T::in_use(word, level) && level > 0) {
      chunk.end = at | below(X::span(level));
      return;
    }
    const bool leaves_only = t_.record(table, level).children == 0;
    if (!leaves_only) {
      read_page(table, level, i, word, {at, first, last}, clear, chunk);
    } else {
      read_entries(table, level, i, t_.entries_of(level, root.level), {at, first, last}, clear, chunk);
    }
  }

  // One page of a table that has tables among its entries.
  void read_page(Entry* table, unsigned level, unsigned i, Entry word, Bounds bounds, bool clear, Chunk& chunk) {
    const unsigned lg2 = T::page_lg2_of(word, level), count = 1u << T::set_lg2(lg2, level);
    const std::uint64_t page = bounds.at & ~below(lg2);
    chunk.base = page;
    chunk.end = page | below(lg2);
    chunk.lg2 = lg2;
    chunk.count = 1;
    Entry* const entries = table + (i & ~(count - 1));
    chunk.bits[0] = any_dirty(entries, count);
    if (chunk.bits[0] != 0 && clear && page >= bounds.first && chunk.end <= bounds.last) make_clean(entries, count);
  }

  // The stretch of `table`, which holds leaves only, around entry i.
  void read_entries(Entry* table, unsigned level, unsigned i, unsigned entries, Bounds bounds, bool clear,
                    Chunk& chunk) {
    const unsigned span = X::span(level), start = i & ~(Chunk::kEntries - 1);
    const std::uint64_t base = (bounds.at & ~below(span)) - (std::uint64_t{i - start} << span);
    unsigned count = std::min(entries - start, Chunk::kEntries);
    if (block(bounds.last - base, span) < count) count = static_cast<unsigned>(block(bounds.last - base, span)) + 1;
    chunk.base = base;
    chunk.end = base + ((std::uint64_t{count} << span) - 1);
    chunk.lg2 = span;
    if constexpr (X::kSets) count = to_end_of_page(table + start, level, count);
    chunk.count = count;
    // 64 at a time, from the group that holds i; what is before i is cut off.
    const unsigned skipped = i - start;
    for (unsigned word = 0; word * 64 < count; ++word) {
      chunk.bits[word] = 0;
      const unsigned rest = std::min(count - word * 64, 64u);
      if (!X::kSets && word < skipped / 64) continue;
      chunk.bits[word] = Word::match(table + start + word * 64, rest, t_.dirty.mask, t_.dirty.dirty);
    }
    if constexpr (X::kSets) {
      return spread(table + start, level, chunk, bounds, clear);
    }
    chunk.bits[skipped / 64] &= ~below(skipped % 64);
    if (!clear) return;
    for (unsigned word = 0; word * 64 < count; ++word)
      for (std::uint64_t bits = chunk.bits[word]; bits != 0; bits &= bits - 1) {
        const unsigned n = word * 64 + static_cast<unsigned>(std::countr_zero(bits));
        if (level == 0 || whole(base + (std::uint64_t{n} << span), span, bounds)) make_clean(table[start + n]);
      }
  }
  static bool whole(std::uint64_t page, unsigned lg2, const Bounds& bounds) {
    return page >= bounds.first && (page | below(lg2)) <= bounds.last;
  }

  // The end of the page that the stretch's last entry belongs to.
  static unsigned to_end_of_page(const Entry* entries, unsigned level, unsigned count) {
    const Entry word = Word::load(entries[count - 1]);
    return T::in_use(word, level) ? ((count - 1) | below_of(word, level)) + 1 : count;
  }
  static unsigned below_of(Entry word, unsigned level) {
    return (1u << T::set_lg2(F::page_lg2(word, level), level)) - 1;
  }

  // A dirty entry makes its whole page dirty; pages that end before the stretch's `at` are not reported.
  void spread(Entry* entries, unsigned level, Chunk& chunk, Bounds bounds, bool clear) const {
    const unsigned span = X::span(level);
    for (unsigned n = 0; n < chunk.count;) {
      const std::uint64_t dirty = chunk.bits[n / 64] >> n % 64;
      if (dirty == 0) {
        n = (n | 63) + 1;
        continue;
      }
      n += static_cast<unsigned>(std::countr_zero(dirty));
      const unsigned rest = below_of(Word::load(entries[n]), level), from = n & ~rest, to = n | rest;
      const std::uint64_t page = chunk.base + (std::uint64_t{from} << span);
      const unsigned lg2 = span + static_cast<unsigned>(std::bit_width(rest));
      const bool reported = (page | below(lg2)) >= bounds.at;
      if (rest != 0 || !reported) mark(chunk, from, to, reported);
      if (reported && clear && whole(page, lg2, bounds)) make_clean(entries + from, to - from + 1);
      n = to + 1;
    }
  }
  static void mark(Chunk& chunk, unsigned from, unsigned to, bool dirty) {
    for (unsigned k = from; k <= to; ++k) {
      const std::uint64_t bit = std::uint64_t{1} << k % 64;
      chunk.bits[k / 64] = dirty ? chunk.bits[k / 64] | bit : chunk.bits[k / 64] & ~bit;
    }
  }

  bool any_dirty(const Entry* entries, unsigned count) const {
    for (unsigned i = 0; i < count; ++i)
      if (t_.dirty.is_dirty(Word::load(entries[i]))) return true;
    return false;
  }
  void make_clean(Entry* entries, unsigned count) const {
    for (unsigned i = 0; i < count; ++i)
      if (t_.dirty.is_dirty(Word::load(entries[i]))) make_clean(entries[i]);
  }
  // Of a dirty entry: hardware has nothing more to set there, so that nothing is lost by a plain store.
  void make_clean(Entry& entry) const {
    Word::store(entry, static_cast<Entry>(Word::load(entry) ^ t_.dirty.flip));
    t_.wrote_entries(&entry, 1);
  }

  T& t_;
};

}  // namespace softiommu::pt
