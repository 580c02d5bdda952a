// SPDX-License-Identifier: BSD-3-Clause
// The page-table engine: map, unmap, look up and dirty state, written once for all formats.
//
// - A mapping checks and reserves everything first and then cannot fail, so nothing is ever undone (mapper.h).
// - A table that becomes empty is unlinked by the unmap that emptied it, so a mapping never replaces a table and never
//   needs an invalidation of its own (unmapper.h).
// - Calls within one leaf table find it through a retained cursor and take one lock; other calls take the table's lock
//   (tables.h).
//
// Thread-safe: calls on disjoint ranges run at once, but for the structure above leaf tables, which one at a time may
// change; iova_to_phys and walk take no lock and may run beside everything. Unlinked tables go to the caller's Gather;
// hardware may still read them until it has invalidated.
#pragma once

#include <optional>

#include "pt/cut.h"
#include "pt/dirty.h"
#include "pt/mapper.h"
#include "pt/tables.h"
#include "pt/unmapper.h"

namespace softiommu::pt {

// A page that is mapped.
struct Leaf {
  Iova iova;  // of the whole page
  PhysAddr pa;
  std::uint64_t bytes = 0;
  Prot prot;
  std::uint64_t entry = 0;  // the word of its entry, or of the one that was asked for if it stands in several
};

template <PageTableFormat F>
class PageTable {
  using T = Tables<F>;
  using X = Facts<F>;
  using Word = Words<F>;
  using Stripe = typename T::Stripe;

 public:
  using Config = typename F::Config;
  using Entry = typename F::Entry;

  // The observers, if any, must live as long as the table.
  //   EINVAL  no such configuration
  //   ENOMEM  no memory for the root, or the arena reaches beyond the table addresses that entries can hold
  static Result<PageTable> create(TableMemory& memory, const Config& config, Observers observers = {}) {
    const Shape shape = TRY(F::shape(config));
    const TableMemory::View view = memory.view();
    if (view.first + (view.bytes - 1) > below(shape.table_bits))
      return fail(ENOMEM, "the table arena reaches beyond what entries can point to");
    PageTable table(memory, config, shape, observers);
    TRY(table.make_root(shape.top_level));
    return table;
  }
  PageTable(PageTable&& other) noexcept : t_(std::move(other.t_)) {}
  PageTable& operator=(PageTable&& other) noexcept {
    if (this != &other) {
      destroy();
      t_.forget_all();
      t_.take_from(other.t_);
    }
    return *this;
  }
  // Frees all tables at once: no hardware translates through them any more.
  ~PageTable() { destroy(); }

  PhysAddr root() const { return t_.memory->address(t_.root().table); }
  unsigned top_level() const { return t_.root().level; }
  std::uint64_t root_bytes() const { return t_.root_size(t_.root().level).bytes(); }
  IovaRange aperture() const { return {Iova{t_.base}, Iova{t_.base + t_.input_last}}; }
  std::uint64_t page_sizes() const { return t_.page_sizes; }
  const Config& config() const { return t_.config; }

  // Maps [iova, iova + bytes) to [pa, pa + bytes), all multiples of the smallest page, with the largest pages that fit.
  //   EINVAL  misaligned, empty, outside the aperture or the output size, or rights that the format cannot express
  //   EEXIST  a page of the range is mapped already
  //   ENOMEM  no table memory
  // On failure the table and its memory are as they were.
  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) {
    const MapRequest request{iova.value - t_.base, pa.value, bytes, t_.attributes[index_of(prot)]};
    if (!fits(request) || request.attributes == 0) [[unlikely]]
      return refuse(request, prot);
    const std::uint64_t key = block(request.iova, T::kLeafTableShift);
    // Larger pages would be possible in a cursor's table only where pages stand in several entries.
    if (!X::kSets || bytes == kPageBytes) {
      const unsigned n = t_.stripe_of(key);
      if (t_.points_to(n, key) && block(request.last(), T::kLeafTableShift) == key) {
        Stripe& stripe = t_.stripes[n];
        const BiasedGuard guard(stripe.lock);
        if (t_.points_to(n, key)) return map_in_leaf_table(stripe, request);
      }
    }
    return Mapper<F>(t_).map(request);
  }

  // Unmaps what is mapped in [iova, iova + bytes) and says how many bytes that was; holes are skipped. A large page
  // that reaches out of the range is unmapped whole. Addresses outside the aperture are never mapped.
  std::uint64_t unmap(Iova iova, std::uint64_t bytes, Gather& gather) {
    const auto range = within(iova.value, bytes);
    if (!range) return 0;
    const std::uint64_t first = range->first & ~below(kPageShift), last = range->last | below(kPageShift);
    const std::uint64_t key = block(first, T::kLeafTableShift);
    const unsigned n = t_.stripe_of(key);
    if (t_.points_to(n, key) && block(last, T::kLeafTableShift) == key) {
      Stripe& stripe = t_.stripes[n];
      const BiasedGuard guard(stripe.lock);
      if (t_.points_to(n, key))
        if (const auto done = unmap_in_leaf_table(stripe, first, last, gather)) return *done;
    }
    return Unmapper<F>(t_, gather).unmap(first, last);
  }

  // Lock-free beside everything. While the IOVA is being mapped or unmapped the answer is one of the two.
  // Inlined, as g++ passes an optional through memory in a way that stalls the caller's load.
  [[gnu::always_inline]] std::optional<PhysAddr> iova_to_phys(Iova iova) const {
    const std::uint64_t address = t_.find_address(iova.value - t_.base);
    if (address == T::kNowhere) return std::nullopt;
    return PhysAddr{address};
  }
  // The page that maps `iova`. Lock-free.
  std::optional<Leaf> lookup(Iova iova) const {
    const auto found = t_.find(iova.value - t_.base);
    if (!found.mapped) return std::nullopt;
    return leaf_at(iova.value, found);
  }

  // Calls leaf(const Leaf&) for every page that overlaps the range, in order. Takes no lock: beside map and unmap it
  // sees each page as it was at some moment.
  template <class Visitor>
  void walk(IovaRange range, Visitor&& leaf) const {
    const auto within_it = within(range);
    if (!within_it) return;
    for (std::uint64_t at = within_it->first;;) {
      const auto found = t_.find(at);
      if (found.mapped) leaf(leaf_at(t_.base + at, found));
      const std::uint64_t end = at | below(found.lg2);
      if (end >= within_it->last) return;
      at = end + 1;
    }
  }

  // Calls dirty(Iova first, std::uint64_t bytes) for each run of dirty pages, cut to the range, without any lock.
  // With `clear` they become clean, and what `gather` (if given) then holds must be invalidated before a device's
  // next write is sure to be noticed. A large page that reaches out of the range is reported and stays dirty, as
  // the rest of it would otherwise be forgotten.
  template <class Visitor>
  void read_dirty(IovaRange range, bool clear, Visitor&& dirty, Gather* gather = nullptr) {
    const auto bounds = within(range);
    if (t_.dirty.mask == 0 || !bounds) return;
    DirtyRuns<Visitor> runs(dirty, t_.base);
    DirtyReader<F> reader(t_);
    DirtyChunk<F> chunk;
    for (std::uint64_t at = bounds->first;;) {
      reader.read(at, bounds->first, bounds->last, clear, chunk);
      chunk.for_each([&](std::uint64_t first, std::uint64_t last) {
        if (first > bounds->last || last < bounds->first) return;  // the rest of a page that reaches out
        runs.add(std::max(first, bounds->first), std::min(last, bounds->last));
        if (clear && gather != nullptr) gather->add(t_.base + first, t_.base + last);
      });
      if (chunk.end >= bounds->last) break;
      at = chunk.end + 1;
    }
    runs.finish();
  }

  // Replaces the large pages that overlap the range, whole, by the smallest, with equal rights; the smaller pages of
  // one that is dirty are dirty. Translations stay as they are at every moment; `gather` must be invalidated before
  // dirty state is kept for the smaller pages.
  //   ENOMEM  no table memory: nothing was changed
  Result<> cut(IovaRange range, Gather& gather) {
    const auto bounds = within(range);
    return bounds ? Cutter<F>(t_, gather).cut(bounds->first, bounds->last) : Result<>{};
  }

  // The opposite: full tables, of those that the range covers, whose pages are one piece of memory with equal rights
  // become one page each (where there are pages of that size). It is dirty if one of them was; dirty state that
  // hardware keeps through old entries until `gather` is invalidated may be lost. Returns the number of tables saved.
  std::uint64_t promote(IovaRange range, Gather& gather) {
    const auto bounds = within(range);
    return bounds ? Promoter<F>(t_, gather).promote(bounds->first, bounds->last) : 0;
  }

 private:
  static constexpr unsigned kPageShift = F::kPageShift, kEntries = X::entries(0);
  static constexpr std::uint64_t kPageBytes = std::uint64_t{1} << kPageShift;
  struct Bounds {
    std::uint64_t first, last;  // counted from the aperture's start
  };

  PageTable(TableMemory& memory, const Config& config, const Shape& shape, Observers observers)
      : t_(memory, config, shape, observers) {
    assert(X::kSets || (t_.page_sizes & ~X::kOneEntrySizes) == 0);
    assert(X::kGrows || shape.most_top_level <= shape.top_level);
  }

  Result<> make_root(unsigned level) {
    const TableSize size = t_.root_size(level);
    auto root = t_.memory->allocate(size);
    if (!root) {
      t_.memory = nullptr;
      return std::unexpected(root.error());
    }
    auto* const table = t_.memory->template as<Entry>(*root);
    t_.record(table, level) = {};
    t_.make_empty(table, level, size.bytes() / sizeof(Entry));
    t_.set_root({table, level});
    t_.wrote(table, size.bytes());
    return {};
  }

  // ---- checks ----

  bool fits(const MapRequest& r) const {
    // An address below the first wraps to a large number, which fits nowhere.
    const std::uint64_t pa = r.pa - t_.output_first;
    return r.bytes != 0 && ((r.iova | r.pa | r.bytes) & below(kPageShift)) == 0 && r.iova <= t_.input_last &&
           r.bytes - 1 <= t_.input_last - r.iova && pa <= t_.output_span && r.bytes - 1 <= t_.output_span - pa;
  }
  [[gnu::cold]] Result<> refuse(const MapRequest& r, Prot prot) const {
    if (const auto attributes = F::attributes(t_.config, prot); !attributes) return std::unexpected(attributes.error());
    if (r.bytes == 0 || ((r.iova | r.pa | r.bytes) & below(kPageShift)) != 0)
      return fail(EINVAL, "a mapping is made of whole pages");
    if (r.iova > t_.input_last || r.bytes - 1 > t_.input_last - r.iova)
      return fail(EINVAL, "the range leaves the table's aperture");
    return fail(EINVAL, "entries cannot express all of the physical range");
  }
  // What of a range is in the aperture.
  std::optional<Bounds> within(std::uint64_t iova, std::uint64_t bytes) const {
    if (bytes == 0) return std::nullopt;
    if (const std::uint64_t first = iova - t_.base; first <= t_.input_last) [[likely]]
      return Bounds{first, first + std::min(bytes - 1, t_.input_last - first)};
    if (iova >= t_.base || bytes - 1 < t_.base - iova) return std::nullopt;
    return Bounds{0, std::min(bytes - 1 - (t_.base - iova), t_.input_last)};
  }
  std::optional<Bounds> within(IovaRange range) const {
    const IovaRange all = aperture();
    if (!all.overlaps(range)) return std::nullopt;
    return Bounds{std::max(range.first, all.first).value - t_.base, std::min(range.last, all.last).value - t_.base};
  }

  Leaf leaf_at(std::uint64_t iova, const typename T::Found& found) const {
    const std::uint64_t offset = below(found.lg2);
    return {Iova{iova & ~offset}, PhysAddr{F::page_address(found.word, found.level).value & ~offset}, offset + 1,
            F::prot(t_.config, found.word, found.level), found.word};
  }

  // ---- within the leaf table that a cursor points to ----

  Result<> map_in_leaf_table(Stripe& stripe, const MapRequest& request) REQUIRES(stripe.lock) {
    Entry* const entry = stripe.table + (request.iova >> kPageShift & (kEntries - 1));
    const auto count = static_cast<std::uint32_t>(request.bytes >> kPageShift);
    if (count == 1) {
      if (T::in_use(Word::load(*entry), 0)) return fail(EEXIST, "the page is mapped already");
      Word::store(*entry, F::leaf(request.attributes, PhysAddr{request.pa}, 0, kPageShift));
    } else {
      if (Word::any_in_use(entry, count, 0)) return fail(EEXIST, "a page of the range is mapped already");
      T::write_leaves(entry, count, request.attributes, PhysAddr{request.pa}, 0, kPageShift);
    }
    stripe.record->live += count;
    t_.wrote_entries(entry, count);
    return {};
  }

  // nullopt: that would empty the table, or reach out of the range, so it takes the other lock.
  std::optional<std::uint64_t> unmap_in_leaf_table(Stripe& stripe, std::uint64_t first, std::uint64_t last,
                                                   Gather& gather) REQUIRES(stripe.lock) {
    Entry* const entry = stripe.table + (first >> kPageShift & (kEntries - 1));
    const auto count = static_cast<std::uint32_t>((last >> kPageShift) - (first >> kPageShift) + 1);
    if constexpr (X::kSets) {
      if (is_in_set(entry[0]) || is_in_set(entry[count - 1])) return std::nullopt;
    }
    std::uint32_t cleared = 1;
    if (count == 1) {
      if (!T::in_use(Word::load(*entry), 0)) return 0;
      if (stripe.record->live == 1) return std::nullopt;
      Word::store(*entry, empty_entry<F>(0));
    } else {
      if (stripe.record->live <= count) return std::nullopt;
      cleared = static_cast<std::uint32_t>(Word::clear(entry, count, 0));
      if (cleared == 0) return 0;
    }
    stripe.record->live -= cleared;
    t_.wrote_entries(entry, count);
    gather.add(t_.base + first, t_.base + last);
    return std::uint64_t{cleared} << kPageShift;
  }
  static bool is_in_set(const Entry& entry) {
    const Entry word = Word::load(entry);
    return T::in_use(word, 0) && F::page_lg2(word, 0) != kPageShift;
  }

  // ---- life ----

  void destroy() {
    if (t_.memory == nullptr) return;
    const auto root = t_.root();
    const bool empty = t_.record(root.table, root.level).live == 0;
    if (!empty) {
      Gather gather;
      Unmapper<F>(t_, gather).drop_all(root);
      gather.release(*t_.memory);
    }
    t_.memory->free(t_.memory->address(root.table), t_.root_size(root.level),
                    empty && X::kZeroIsEmpty ? TableContents::zeroed : TableContents::undefined);
    t_.memory = nullptr;
  }

  T t_;
};

}  // namespace softiommu::pt
