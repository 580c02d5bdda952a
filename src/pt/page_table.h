// SPDX-License-Identifier: BSD-3-Clause
// The page-table engine: map, unmap, look up and dirty state, written once for all formats.
//
// - A mapping checks and reserves everything first and then cannot fail, so nothing is ever undone.
// - A table that becomes empty is unlinked by the unmap that emptied it, so a mapping never replaces a table and never
//   needs an invalidation of its own, and every table but the root has an entry in use.
// - A leaf of one page size is found through a retained cursor: pages next to each other cost no walk.
// - How many entries a table has in use, and how many of them are tables, stands in its side record (TableMemory), so
//   whole tables are dropped without looking into them.
//
// Thread-safe: map, unmap and read_dirty take a spin lock; iova_to_phys and walk take none and may run beside
// everything. Unlinked tables go to the caller's Gather; hardware may still read them until it has invalidated.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/result.h"
#include "base/spin_lock.h"
#include "base/table_memory.h"
#include "base/types.h"
#include "pt/entries.h"
#include "pt/format.h"
#include "pt/gather.h"
#include "pt/map_plan.h"

namespace softiommu::pt {

// A run of IOVAs that one entry maps.
struct Leaf {
  Iova iova;  // of the whole page
  PhysAddr pa;
  std::uint64_t bytes = 0;
  Prot prot;
  std::uint64_t entry = 0;  // the raw word
};

template <PageTableFormat Format>
class PageTable {
 public:
  using Config = typename Format::Config;

  // EINVAL: no such configuration; ENOMEM: no memory for the root.
  static Result<PageTable> create(TableMemory& memory, const Config& config) {
    const Shape shape = TRY(Format::shape(config));
    const PhysAddr root = TRY(memory.allocate(shape.root_tables * kTablePages));
    return PageTable(memory, config, shape, root);
  }
  PageTable(PageTable&& other) noexcept { take_from(other); }
  PageTable& operator=(PageTable&& other) noexcept {
    if (this != &other) {
      destroy();
      take_from(other);
    }
    return *this;
  }
  // Frees all tables at once: no hardware translates through them any more.
  ~PageTable() { destroy(); }

  PhysAddr root() const { return memory_->address(root_); }
  unsigned top_level() const { return top_; }
  unsigned root_tables() const { return root_tables_; }
  IovaRange aperture() const { return {Iova{0}, Iova{input_last_}}; }
  std::uint64_t page_sizes() const { return page_sizes_; }
  const Config& config() const { return config_; }

  // Maps [iova, iova + bytes) to [pa, pa + bytes), all multiples of the smallest page, with the largest pages that fit.
  //   EINVAL  misaligned, empty, outside the aperture or the output size, or rights that the format cannot express
  //   EEXIST  a page of the range is mapped already
  //   ENOMEM  no table memory
  // On failure the table and its memory are as they were.
  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) {
    const std::uint64_t attributes = attributes_[index_of(prot)];
    if (!fits(iova.value, pa.value, bytes) || attributes == 0) [[unlikely]]
      return refuse(iova, pa, bytes, prot);
    SpinGuard guard(lock_);
    if (in_one_leaf_table(iova.value, bytes)) {
      if (std::uint64_t* const table = leaf_table(iova.value))
        return map_in_leaf_table(table, iova, pa, bytes, attributes);
    }
    return map_range({iova.value, pa.value, bytes, attributes});
  }

  // Unmaps what is mapped in [iova, iova + bytes) and says how many bytes that was; holes are skipped. A large page
  // that reaches out of the range is unmapped whole. Addresses outside the aperture are never mapped.
  std::uint64_t unmap(Iova iova, std::uint64_t bytes, Gather& gather) {
    if (bytes == 0 || iova.value > input_last_) return 0;
    const std::uint64_t first = iova.value & ~below(kPageShift);
    const std::uint64_t last = (iova.value + std::min(bytes - 1, input_last_ - iova.value)) | below(kPageShift);
    SpinGuard guard(lock_);
    if (first >> kLeafTableShift == last >> kLeafTableShift && leaf_table(first) != nullptr) {
      if (const auto done = unmap_in_leaf_table(first, last, gather)) return *done;
    }
    return unmap_range(first, last, gather);
  }

  // Lock-free beside everything. While the IOVA is being mapped or unmapped the answer is one of the two.
  std::optional<PhysAddr> iova_to_phys(Iova iova) const {
    const Found found = find(iova.value);
    if (found.entry == 0) return std::nullopt;
    const std::uint64_t offset = below(found.shift);
    return PhysAddr{(Format::address(found.entry).value & ~offset) | (iova.value & offset)};
  }
  // The entry that maps `iova`. Lock-free.
  std::optional<Leaf> lookup(Iova iova) const {
    const Found found = find(iova.value);
    if (found.entry == 0) return std::nullopt;
    return leaf_at(iova.value, found);
  }

  // Calls leaf(const Leaf&) for every page that overlaps the range, in order. Takes no lock: beside map and unmap it
  // sees each page as it was at some moment.
  template <class Visitor>
  void walk(IovaRange range, Visitor&& leaf) const {
    std::uint64_t at = range.first.value;
    for (const std::uint64_t last = std::min(range.last.value, input_last_); at <= last;) {
      const Found found = find(at);
      if (found.entry != 0) leaf(leaf_at(at, found));
      at = (at | below(found.shift)) + 1;
    }
  }

  // Calls dirty(Iova first, std::uint64_t bytes) for each run of dirty pages, cut to the range, without any lock.
  // With `clear` they become clean, and what `gather` (if given) then holds must be invalidated before a device's
  // next write is sure to be noticed. A large page that reaches out of the range is reported and stays dirty, as
  // the rest of it would otherwise be forgotten.
  template <class Visitor>
  void read_dirty(IovaRange range, bool clear, Visitor&& dirty, Gather* gather = nullptr) {
    if (dirty_.mask == 0 || range.first.value > input_last_) return;
    const std::uint64_t last = std::min(range.last.value, input_last_);
    DirtyRuns<Visitor> runs(dirty);
    for (std::uint64_t at = range.first.value; at <= last;) {
      const DirtyChunk chunk = read_dirty_chunk(at, last, clear);
      chunk.for_each([&](std::uint64_t first, std::uint64_t run_last) {
        runs.add(std::max(first, range.first.value), std::min(run_last, last));
        if (clear && gather != nullptr) gather->add(first, run_last);
      });
      at = chunk.next;
    }
    runs.finish();
  }

 private:
  static constexpr unsigned kPageShift = Format::kPageShift, kIndexBits = kPageShift - 3;
  static constexpr unsigned kEntries = 1u << kIndexBits, kLeafTableShift = kPageShift + kIndexBits;
  static constexpr unsigned kTablePages = 1u << (kPageShift - softiommu::kPageShift);
  static constexpr std::uint64_t kNoCursor = ~std::uint64_t{0};

  using Record = TableMemory::Record;
  struct Found {
    std::uint64_t entry = 0;  // 0: nothing is mapped in the 2^shift bytes around the address
    unsigned shift = 0;
  };
  struct Request {
    std::uint64_t iova, pa, bytes, attributes;
    std::uint64_t last() const { return iova + (bytes - 1); }
  };
  // Tables reserved for a mapping.
  struct Supply {
    TableMemory::Chain zeroed, undefined;
  };
  // The tables from the root down to one of level `lowest`.
  struct Path {
    std::array<std::uint64_t*, kMaxLevels> table{};
    unsigned lowest = 0;
  };
  // Dirty entries of at most 64 neighbours in one table.
  struct DirtyChunk {
    std::uint64_t base = 0, bits = 0, next = 0;  // bit n: the page at base + (n << shift)
    unsigned shift = kPageShift;
    template <class Run>
    void for_each(Run&& run) const;
  };
  // Joins neighbouring runs before the visitor sees them.
  template <class Visitor>
  class DirtyRuns {
   public:
    explicit DirtyRuns(Visitor& visitor) : visitor_(visitor) {}
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
      if (any_) visitor_(Iova{first_}, last_ - first_ + 1);
      any_ = false;
    }

   private:
    Visitor& visitor_;
    std::uint64_t first_ = 0, last_ = 0;
    bool any_ = false;
  };

  PageTable(TableMemory& memory, const Config& config, const Shape& shape, PhysAddr root)
      : memory_(&memory),
        root_(memory.words(root)),
        top_(shape.top_level),
        root_tables_(shape.root_tables),
        input_last_(below(shape.input_bits)),
        output_last_(below(shape.output_bits)),
        page_sizes_(shape.page_sizes),
        dirty_(shape.dirty),
        config_(config) {
    assert(top_ > 0 && top_ < kMaxLevels && page_sizes_ >> shift_of(top_) <= 1);
    for (unsigned i = 0; i < attributes_.size(); ++i)
      attributes_[i] = Format::attributes(config, prot_of(i)).value_or(0);
  }

  // ---- small facts ----

  static constexpr unsigned index_of(Prot prot) {
    return unsigned{prot.read} | unsigned{prot.write} << 1 | unsigned{prot.coherent} << 2 | unsigned{prot.execute} << 3;
  }
  static constexpr Prot prot_of(unsigned i) { return {(i & 1) != 0, (i & 2) != 0, (i & 4) != 0, (i & 8) != 0}; }
  static constexpr unsigned shift_of(unsigned level) { return kPageShift + kIndexBits * level; }
  // Entries of a table: a concatenated root has more.
  unsigned entries_of(unsigned level) const { return level == top_ ? root_tables_ * kEntries : kEntries; }
  unsigned index(std::uint64_t iova, unsigned level) const {
    return static_cast<unsigned>(iova >> shift_of(level)) & (entries_of(level) - 1);
  }
  Record& record(const std::uint64_t* table) const { return memory_->record(memory_->address(table)); }
  std::uint64_t* table_of(std::uint64_t entry) const { return memory_->words(Format::address(entry)); }
  static bool is_table(std::uint64_t entry, unsigned level) {
    return entry != 0 && level > 0 && Format::is_table(entry, level);
  }
  static constexpr bool in_one_leaf_table(std::uint64_t iova, std::uint64_t bytes) {
    return bytes < (std::uint64_t{1} << kLeafTableShift) &&
           iova >> kLeafTableShift == (iova + (bytes - 1)) >> kLeafTableShift;
  }
  bool fits(std::uint64_t iova, std::uint64_t pa, std::uint64_t bytes) const {
    // bytes == 0 wraps to the largest number, which fits nowhere.
    return ((iova | pa | bytes) & below(kPageShift)) == 0 && iova <= input_last_ && bytes - 1 <= input_last_ - iova &&
           pa <= output_last_ && bytes - 1 <= output_last_ - pa;
  }
  [[gnu::cold]] Result<> refuse(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) const {
    if (const auto attributes = Format::attributes(config_, prot); !attributes)
      return std::unexpected(attributes.error());
    if (bytes == 0 || ((iova.value | pa.value | bytes) & below(kPageShift)) != 0)
      return fail(EINVAL, "a mapping is made of whole pages");
    if (iova.value > input_last_ || bytes - 1 > input_last_ - iova.value)
      return fail(EINVAL, "the range leaves the table's aperture");
    return fail(EINVAL, "the physical range is larger than the entries can express");
  }

  void set_cursor(std::uint64_t iova, std::uint64_t* table) REQUIRES(lock_) {
    cursor_key_ = iova >> kLeafTableShift;
    cursor_ = table;
    cursor_record_ = &record(table);
  }

  // ---- lookup ----

  // A table that is unlinked while we walk may be recycled: then the generation has changed, and we walk again.
  Found find(std::uint64_t iova) const {
    if (iova > input_last_) return {0, shift_of(top_)};
    const TableMemory::View memory = memory_->view();
    for (;;) {
      const std::uint64_t generation = generation_.load(std::memory_order_acquire);
      const Found found = find_from_root(memory, iova);
      std::atomic_thread_fence(std::memory_order_acquire);
      if (generation_.load(std::memory_order_relaxed) == generation) [[likely]]
        return found;
    }
  }

  // Every level is spelled out by the compiler, with constant shifts.
  Found find_from_root(const TableMemory::View& memory, std::uint64_t iova) const {
    switch (top_) {
      case 4:
        return step<4>(memory, load_entry(root_[iova >> shift_of(4)]), iova);
      case 3:
        return step<3>(memory, load_entry(root_[iova >> shift_of(3)]), iova);
      case 2:
        return step<2>(memory, load_entry(root_[iova >> shift_of(2)]), iova);
      default:
        return step<1>(memory, load_entry(root_[iova >> shift_of(1)]), iova);
    }
  }
  template <unsigned kLevel>
  [[gnu::always_inline]] static Found step(const TableMemory::View& memory, std::uint64_t entry, std::uint64_t iova) {
    if constexpr (kLevel > 0) {
      // An address outside the arena comes out of a recycled page only.
      if (entry != 0 && Format::is_table(entry, kLevel) && memory.contains(Format::address(entry))) [[likely]] {
        const std::uint64_t* const table = memory.words(Format::address(entry));
        return step<kLevel - 1>(memory, load_entry(table[(iova >> shift_of(kLevel - 1)) & (kEntries - 1)]), iova);
      }
    }
    return {entry, shift_of(kLevel)};
  }

  Leaf leaf_at(std::uint64_t iova, const Found& found) const {
    const std::uint64_t offset = below(found.shift);
    return {Iova{iova & ~offset}, PhysAddr{Format::address(found.entry).value & ~offset}, offset + 1,
            Format::prot(config_, found.entry), found.entry};
  }

  // The level-0 table for `iova`, or nullptr: there is none, or a large page is there.
  std::uint64_t* leaf_table(std::uint64_t iova) REQUIRES(lock_) {
    if (iova >> kLeafTableShift == cursor_key_) [[likely]]
      return cursor_;
    std::uint64_t* table = root_;
    for (unsigned level = top_; level > 0; --level) {
      const std::uint64_t entry = load_entry(table[index(iova, level)]);
      if (!is_table(entry, level)) return nullptr;
      table = table_of(entry);
    }
    set_cursor(iova, table);
    return table;
  }

  // ---- map ----

  Result<> map_in_leaf_table(std::uint64_t* table, Iova iova, PhysAddr pa, std::uint64_t bytes,
                             std::uint64_t attributes) REQUIRES(lock_) {
    std::uint64_t* const entry = table + (iova.value >> kPageShift & (kEntries - 1));
    const std::uint64_t first = Format::leaf(attributes, pa, 0), count = bytes >> kPageShift;
    if (count == 1) {
      if (load_entry(*entry) != 0) return fail(EEXIST, "the page is mapped already");
      store_entry(*entry, first);
    } else {
      if (entries::any_in_use(entry, count)) return fail(EEXIST, "a page of the range is mapped already");
      entries::fill(entry, count, first, std::uint64_t{1} << kPageShift);
    }
    cursor_record_->live = static_cast<std::uint16_t>(cursor_record_->live + count);
    return {};
  }

  Result<> map_range(const Request& request) REQUIRES(lock_) {
    const std::uint64_t usable = usable_sizes(page_sizes_, request.iova, request.pa);
    const unsigned lg2 = page_lg2(usable, request.iova, request.bytes), level = (lg2 - kPageShift) / kIndexBits;
    const unsigned table_lg2 = shift_of(level) + kIndexBits;
    if ((request.bytes & below(lg2)) == 0 && request.bytes >> table_lg2 == 0 &&
        request.iova >> table_lg2 == request.last() >> table_lg2)
      return map_run(request, lg2, level);
    if (occupied(request.iova, request.last())) return fail(EEXIST, "a page of the range is mapped already");
    Supply supply = TRY(reserve(request, usable));
    fill(request, usable, supply);
    assert(supply.zeroed.empty() && supply.undefined.empty());
    return {};
  }

  // Pages of one size in a part of one table: nearly every call, so it walks only once.
  Result<> map_run(const Request& request, unsigned lg2, unsigned level) REQUIRES(lock_) {
    Path path{.lowest = top_};
    path.table[top_] = root_;
    while (path.lowest > level) {
      const std::uint64_t entry = load_entry(path.table[path.lowest][index(request.iova, path.lowest)]);
      if (entry == 0) break;
      if (!is_table(entry, path.lowest)) return fail(EEXIST, "a large page is mapped there already");
      path.table[--path.lowest] = table_of(entry);
    }
    Supply supply;
    if (path.lowest == level) {
      if (entries::any_in_use(path.table[level] + index(request.iova, level), request.bytes >> lg2))
        return fail(EEXIST, "a page of the range is mapped already");
    } else if (path.lowest == level + 1) {
      memory_->append(supply.zeroed, TRY(memory_->allocate(kTablePages)));
    } else {
      supply.zeroed = TRY(memory_->allocate_chain(path.lowest - level, kTablePages));
    }
    write_run(path, request, lg2, supply);
    return {};
  }

  // Is any page of the range mapped? Tables are never empty, so only the two edges need a descent.
  bool occupied(std::uint64_t first, std::uint64_t last) const REQUIRES(lock_) {
    const std::uint64_t* table = root_;
    for (unsigned level = top_;; --level) {
      const unsigned i = index(first, level), j = index(last, level);
      if (level == 0) return entries::any_in_use(table + i, j - i + 1);
      if (i != j) {
        return (j - i > 1 && entries::any_in_use(table + i + 1, j - i - 1)) ||
               edge_occupied(load_entry(table[i]), level, first, first | below(shift_of(level))) ||
               edge_occupied(load_entry(table[j]), level, last & ~below(shift_of(level)), last);
      }
      const std::uint64_t entry = load_entry(table[i]);
      if (entry == 0) return false;
      if (!is_table(entry, level)) return true;
      table = table_of(entry);
    }
  }

  // The same for a range within `entry` that reaches one of its ends.
  bool edge_occupied(std::uint64_t entry, unsigned level, std::uint64_t first, std::uint64_t last) const
      REQUIRES(lock_) {
    for (;; --level) {
      if (entry == 0) return false;
      if (!is_table(entry, level)) return true;
      if (last - first == below(shift_of(level))) return true;
      const std::uint64_t* const table = table_of(entry);
      const unsigned i = index(first, level - 1), j = index(last, level - 1);
      if (level == 1) return entries::any_in_use(table + i, j - i + 1);
      const bool from_start = (first & below(shift_of(level))) == 0;
      const std::uint64_t span = below(shift_of(level - 1));
      if (from_start) {
        if (j > 0 && entries::any_in_use(table, j)) return true;
        entry = load_entry(table[j]);
        first = last & ~span;
      } else {
        if (i + 1 < kEntries && entries::any_in_use(table + i + 1, kEntries - i - 1)) return true;
        entry = load_entry(table[i]);
        last = first | span;
      }
    }
  }

  // Tables below the root on the way to `iova`, not counting levels from `stop` up.
  unsigned depth(std::uint64_t iova, unsigned stop) const REQUIRES(lock_) {
    unsigned found = 0;
    const std::uint64_t* table = root_;
    for (unsigned level = top_; level > 0; --level) {
      const std::uint64_t entry = load_entry(table[index(iova, level)]);
      if (!is_table(entry, level)) break;
      table = table_of(entry);
      found += level - 1 < stop;
    }
    return found;
  }

  // The tables that the mapping needs and that do not exist. As the range is free, those that exist hold an end of it.
  Result<Supply> reserve(const Request& request, std::uint64_t usable) REQUIRES(lock_) {
    TableCount needed;
    unsigned shared = 0;  // levels from here up have both ends in one table
    for (unsigned level = 0; level < top_; ++level) {
      const unsigned table_lg2 = shift_of(level + 1);
      needed.add(tables_needed(request.iova, request.last() + 1, usable, shift_of(level), table_lg2));
      if (request.iova >> table_lg2 != request.last() >> table_lg2) shared = level + 1;
    }
    const unsigned existing = depth(request.iova, top_) + (shared > 0 ? depth(request.last(), shared) : 0);
    const auto whole = static_cast<std::uint32_t>(needed.whole);
    const auto partial = static_cast<std::uint32_t>(needed.all - needed.whole - existing);
    Supply supply;
    if (whole != 0) supply.undefined = TRY(memory_->allocate_chain(whole, kTablePages, TableContents::undefined));
    if (partial != 0) {
      auto zeroed = memory_->allocate_chain(partial, kTablePages, TableContents::zeroed);
      if (!zeroed) {
        memory_->free_chain(supply.undefined, kTablePages);
        return std::unexpected(zeroed.error());
      }
      supply.zeroed = *zeroed;
    }
    return supply;
  }

  // Writes the entries of a checked request, one run in one table after the other.
  void fill(Request rest, std::uint64_t usable, Supply& supply) REQUIRES(lock_) {
    Path path{.lowest = top_};
    path.table[top_] = root_;
    while (rest.bytes > 0) {
      const std::uint64_t done = write_run(path, rest, page_lg2(usable, rest.iova, rest.bytes), supply);
      rest.iova += done;
      rest.pa += done;
      rest.bytes -= done;
      while (path.lowest < top_ && (rest.iova & below(shift_of(path.lowest + 1))) == 0) ++path.lowest;
    }
  }

  // As many pages of 2^lg2 bytes as fit into one table; makes the tables on the way. Returns the bytes.
  std::uint64_t write_run(Path& path, const Request& request, unsigned lg2, Supply& supply) REQUIRES(lock_) {
    const std::uint64_t iova = request.iova;
    const unsigned level = (lg2 - kPageShift) / kIndexBits, i = index(iova, level);
    const std::uint64_t count = std::min<std::uint64_t>(entries_of(level) - i, request.bytes >> lg2);
    while (path.lowest > level + 1) step_down(path, iova, supply);
    std::uint64_t* unlinked = nullptr;
    if (path.lowest == level + 1) unlinked = open_table(path, iova, count == kEntries, supply);
    std::uint64_t* const table = path.table[level];
    entries::fill(table + i, count, Format::leaf(request.attributes, PhysAddr{request.pa}, level),
                  std::uint64_t{1} << lg2);
    Record& counts = record(table);
    counts.live = static_cast<std::uint16_t>(counts.live + count);
    if (unlinked != nullptr) link(path, level + 1, iova, unlinked);  // hardware sees it only now that it is written
    if (level == 0) set_cursor(iova, table);
    path.lowest = level;
    return count << lg2;
  }

  // Goes to the next lower table for `iova` and makes it if it is missing.
  void step_down(Path& path, std::uint64_t iova, Supply& supply) REQUIRES(lock_) {
    if (std::uint64_t* const unlinked = open_table(path, iova, false, supply))
      link(path, path.lowest + 1, iova, unlinked);
  }

  // The same, but leaves the linking of a new table (the result) to the caller.
  std::uint64_t* open_table(Path& path, std::uint64_t iova, bool whole, Supply& supply) REQUIRES(lock_) {
    const unsigned level = path.lowest--;
    const std::uint64_t entry = load_entry(path.table[level][index(iova, level)]);
    if (entry != 0) {
      path.table[level - 1] = table_of(entry);
      return nullptr;
    }
    std::uint64_t* const made = memory_->words(memory_->pop(whole ? supply.undefined : supply.zeroed));
    path.table[level - 1] = made;
    return made;
  }

  void link(const Path& path, unsigned level, std::uint64_t iova, std::uint64_t* table) REQUIRES(lock_) {
    std::uint64_t* const parent = path.table[level];
    store_entry(parent[index(iova, level)], Format::table(memory_->address(table)));
    Record& counts = record(parent);
    ++counts.live;
    ++counts.children;
  }

  // ---- unmap ----

  // The range lies in the cursor's table. nullopt: that would empty the table, so it takes a walk from the root.
  std::optional<std::uint64_t> unmap_in_leaf_table(std::uint64_t first, std::uint64_t last, Gather& gather)
      REQUIRES(lock_) {
    std::uint64_t* const entry = cursor_ + (first >> kPageShift & (kEntries - 1));
    const std::uint64_t count = (last >> kPageShift) - (first >> kPageShift) + 1;
    std::uint64_t cleared = 1;
    if (count == 1) {
      if (load_entry(*entry) == 0) return 0;
      if (cursor_record_->live == 1) return std::nullopt;
      store_entry(*entry, 0);
    } else {
      if (cursor_record_->live <= count) return std::nullopt;
      cleared = entries::clear(entry, count);
      if (cleared == 0) return 0;
    }
    cursor_record_->live = static_cast<std::uint16_t>(cursor_record_->live - cleared);
    gather.add(first, last);
    return cleared << kPageShift;
  }

  std::uint64_t unmap_range(std::uint64_t first, std::uint64_t last, Gather& gather) REQUIRES(lock_) {
    Path path{.lowest = top_};
    path.table[top_] = root_;
    const std::uint64_t wanted_first = first, wanted_last = last;
    std::uint64_t reach_first = ~std::uint64_t{0}, reach_last = 0, bytes = 0, at = first;
    bool unlinked = false;
    while (at <= last) {
      const unsigned level = path.lowest, shift = shift_of(level), i = index(at, level);
      std::uint64_t* const table = path.table[level];
      Record& counts = record(table);
      const std::uint64_t base = at & ~below(shift), entry = load_entry(table[i]);
      std::uint64_t next = base + below(shift) + 1;
      if (counts.children == 0) {
        const std::uint64_t table_last = level == top_ ? input_last_ : base | below(shift_of(level + 1));
        const unsigned j = index(std::min(last, table_last), level);
        const std::uint64_t tail = load_entry(table[j]);
        const std::size_t cleared = entries::clear(table + i, j - i + 1);
        counts.live = static_cast<std::uint16_t>(counts.live - cleared);
        bytes += std::uint64_t{cleared} << shift;
        next = base + (std::uint64_t{j - i + 1} << shift);
        if (entry != 0) reach_first = std::min(reach_first, base);
        if (tail != 0) reach_last = std::max(reach_last, next - 1);
      } else if (is_table(entry, level)) {
        if (base < first || next - 1 > last) {
          path.table[level - 1] = table_of(entry);
          path.lowest = level - 1;
          continue;
        }
        store_entry(table[i], 0);
        --counts.live;
        --counts.children;
        bytes += drop(table_of(entry), level - 1, gather);
        unlinked = true;
      } else if (entry != 0) {
        store_entry(table[i], 0);
        --counts.live;
        bytes += below(shift) + 1;
        reach_first = std::min(reach_first, base);
        reach_last = std::max(reach_last, next - 1);
      }
      unlinked |= leave_tables(path, at, next, last, gather);
      at = next;
    }
    if (unlinked) {
      cursor_key_ = kNoCursor;
      generation_.store(generation_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
    if (bytes != 0) gather.add(std::min(reach_first, wanted_first), std::max(reach_last, wanted_last));
    return bytes;
  }

  // Having gone from `at` to `next`: goes up out of the tables that end there (all of them, past `last`) and
  // unlinks those that are empty. True if there was one.
  bool leave_tables(Path& path, std::uint64_t at, std::uint64_t next, std::uint64_t last, Gather& gather)
      REQUIRES(lock_) {
    bool unlinked = false;
    while (path.lowest < top_ && (next > last || (next & below(shift_of(path.lowest + 1))) == 0)) {
      const std::uint64_t* const left = path.table[path.lowest++];
      if (record(left).live != 0) continue;
      std::uint64_t* const parent = path.table[path.lowest];
      store_entry(parent[index(at, path.lowest)], 0);
      Record& counts = record(parent);
      --counts.live;
      --counts.children;
      gather.add_table(*memory_, memory_->address(left), kTablePages, TableContents::zeroed);
      unlinked = true;
    }
    return unlinked;
  }

  // Gathers an unlinked table with all below it and says how many bytes they mapped.
  std::uint64_t drop(std::uint64_t* top_table, unsigned top_level, Gather& gather) const {
    Path path{.lowest = top_level};
    std::array<unsigned, kMaxLevels> at{}, left{};
    path.table[top_level] = top_table;
    left[top_level] = record(top_table).live;
    std::uint64_t bytes = 0;
    for (;;) {
      const unsigned level = path.lowest;
      std::uint64_t* const table = path.table[level];
      if (record(table).children == 0) {
        bytes += std::uint64_t{left[level]} << shift_of(level);
      } else if (level == 1) {
        bytes += drop_leaf_tables(table, left[level], gather);
      } else if (left[level] > 0) {
        const std::uint64_t entry = load_entry(table[at[level]++]);
        if (entry == 0) continue;
        --left[level];
        if (!is_table(entry, level)) {
          bytes += std::uint64_t{1} << shift_of(level);
          continue;
        }
        path.table[level - 1] = table_of(entry);
        path.lowest = level - 1;
        at[level - 1] = 0;
        left[level - 1] = record(table_of(entry)).live;
        continue;
      }
      if (table != root_) gather.add_table(*memory_, memory_->address(table), kTablePages, TableContents::undefined);
      if (level == top_level) return bytes;
      ++path.lowest;
    }
  }

  // The same for what stands in a level-1 table: the loop that large unmaps spend their time in.
  std::uint64_t drop_leaf_tables(const std::uint64_t* table, unsigned left, Gather& gather) const {
    std::uint64_t bytes = 0;
    for (unsigned i = 0; left > 0; ++i) {
      const std::uint64_t entry = load_entry(table[i]);
      if (entry == 0) continue;
      --left;
      if (is_table(entry, 1)) {
        bytes += std::uint64_t{memory_->record(Format::address(entry)).live} << kPageShift;
        gather.add_table(*memory_, Format::address(entry), kTablePages, TableContents::undefined);
      } else {
        bytes += std::uint64_t{1} << kLeafTableShift;
      }
    }
    return bytes;
  }

  // ---- dirty state ----

  // Up to 64 entries from the one that holds `at`, in one table, under the lock for that long only.
  DirtyChunk read_dirty_chunk(std::uint64_t at, std::uint64_t last, bool clear) EXCLUDES(lock_) {
    SpinGuard guard(lock_);
    std::uint64_t* table = root_;
    unsigned level = top_;
    if (at >> kLeafTableShift == cursor_key_) {
      table = cursor_;
      level = 0;
    }
    std::uint64_t entry = load_entry(table[index(at, level)]);
    while (is_table(entry, level)) {
      table = table_of(entry);
      entry = load_entry(table[index(at, --level)]);
    }
    DirtyChunk chunk{.shift = shift_of(level)};
    if (level != 0) {
      // A large page or a hole: one entry.
      chunk.base = at & ~below(chunk.shift);
      chunk.next = chunk.base + below(chunk.shift) + 1;
      chunk.bits = dirty_.is_dirty(entry);
      if (chunk.bits != 0 && clear && chunk.base >= at && chunk.next - 1 <= last) make_clean(table[index(at, level)]);
      return chunk;
    }
    set_cursor(at, table);
    const unsigned i = index(at, 0) & ~63u;
    chunk.base = (at & ~below(kLeafTableShift)) + (std::uint64_t{i} << kPageShift);
    chunk.next = chunk.base + (std::uint64_t{64} << kPageShift);
    chunk.bits = entries::match64(table + i, dirty_.mask, dirty_.dirty);
    chunk.bits &= ~below(index(at, 0) - i);
    if (chunk.next - 1 > last) chunk.bits &= ~std::uint64_t{0} >> (63 - ((last - chunk.base) >> kPageShift));
    if (clear)
      for (std::uint64_t bits = chunk.bits; bits != 0; bits &= bits - 1)
        make_clean(table[i + static_cast<unsigned>(std::countr_zero(bits))]);
    return chunk;
  }

  // Hardware sets dirty bits with locked operations of its own; it leaves a dirty entry alone.
  void make_clean(std::uint64_t& entry) const {
    std::atomic_ref(entry).fetch_xor(dirty_.flip, std::memory_order_relaxed);
  }

  // ---- life ----

  void destroy() {
    if (memory_ == nullptr) return;
    const bool empty = record(root_).live == 0;
    if (!empty) {
      Gather gather;
      drop(root_, top_, gather);
      gather.release(*memory_);
    }
    memory_->free(root(), root_tables_ * kTablePages, empty ? TableContents::zeroed : TableContents::undefined);
    memory_ = nullptr;
  }

  void take_from(PageTable& other) {
    memory_ = std::exchange(other.memory_, nullptr);
    root_ = other.root_;
    top_ = other.top_;
    root_tables_ = other.root_tables_;
    input_last_ = other.input_last_;
    output_last_ = other.output_last_;
    page_sizes_ = other.page_sizes_;
    dirty_ = other.dirty_;
    config_ = other.config_;
    attributes_ = other.attributes_;
    SpinGuard guard(lock_);
    cursor_key_ = kNoCursor;
  }

  SpinLock lock_;
  std::uint64_t cursor_key_ GUARDED_BY(lock_) = kNoCursor;  // iova >> kLeafTableShift of cursor_
  std::uint64_t* cursor_ GUARDED_BY(lock_) = nullptr;
  Record* cursor_record_ GUARDED_BY(lock_) = nullptr;
  std::atomic<std::uint64_t> generation_{0};  // changes when tables were unlinked
  TableMemory* memory_ = nullptr;             // nullptr: moved from
  std::uint64_t* root_ = nullptr;
  unsigned top_ = 0, root_tables_ = 1;
  std::uint64_t input_last_ = 0, output_last_ = 0, page_sizes_ = 0;
  std::array<std::uint64_t, 16> attributes_{};  // by index_of(prot); 0: refused
  DirtyRule dirty_;
  Config config_{};
};

template <PageTableFormat Format>
template <class Run>
void PageTable<Format>::DirtyChunk::for_each(Run&& run) const {
  for (std::uint64_t rest = bits; rest != 0;) {
    const auto start = static_cast<unsigned>(std::countr_zero(rest));
    const auto length = static_cast<unsigned>(std::countr_one(rest >> start));
    run(base + (std::uint64_t{start} << shift), base + ((std::uint64_t{start} + length) << shift) - 1);
    rest = length == 64 ? 0 : rest & ~(below(length) << start);
  }
}

}  // namespace softiommu::pt
