// SPDX-License-Identifier: BSD-3-Clause
#include "base/table_memory.h"

#include <algorithm>
#include <utility>

namespace softiommu {

void TableMemory::put(std::uint64_t offset, TableSize size, bool stale) {
  std::uint32_t& head = stale ? pool(size).stale : pool(size).zeroed;
  const auto added = static_cast<std::uint32_t>(offset >> unit_lg2(size));
  next(added, size) = head;
  head = added;
}

TableMemory::Taken TableMemory::take(TableSize size, TableContents wanted) {
  Pool& lists = pool(size);
  const bool stale = lists.stale != 0 && (wanted == TableContents::undefined || lists.zeroed == 0);
  std::uint32_t& head = stale ? lists.stale : lists.zeroed;
  if (head == 0) [[unlikely]]
    return take_new(size);
  const std::uint32_t taken = head;
  head = next(taken, size);
  return {std::uint64_t{taken} << unit_lg2(size), stale};
}

// From the untouched rest of the arena, or a piece of a larger table.
TableMemory::Taken TableMemory::take_new(TableSize size) {
  if (!size.is_small()) {
    const std::uint64_t aligned = (unused_ + size.bytes() - 1) & ~(size.bytes() - 1);
    if (aligned + size.bytes() <= bytes_) {
      // What alignment skips is not lost.
      while (unused_ < aligned) {
        const TableSize gap{std::min(TableSize::kMostLg2, static_cast<unsigned>(std::countr_zero(unused_)))};
        put(unused_, gap, false);
        unused_ += gap.bytes();
      }
      unused_ = aligned + size.bytes();
      return {aligned, false};
    }
  }
  if (size.lg2 < TableSize::kMostLg2) {
    const Taken whole = take(TableSize{size.lg2 + 1}, TableContents::zeroed);  // as many times as there are sizes
    if (whole.offset == 0) return {};
    put(whole.offset + size.bytes(), size, whole.stale);
    return whole;
  }
  return {};
}

TableMemory::Taken TableMemory::take_or_join(TableSize size, TableContents wanted) {
  const Taken taken = take(size, wanted);
  if (taken.offset != 0) [[likely]]
    return taken;
  for (TableSize smaller{TableSize::kLeastLg2}; smaller.lg2 < size.lg2; ++smaller.lg2) join(smaller);
  return take(size, wanted);
}

// Halves that are both free become whole again. Free tables are marked in their records meanwhile: a table in use has
// no such number of children.
void TableMemory::join(TableSize size) {
  constexpr std::uint32_t kFree = ~std::uint32_t{0};
  Record* const of_size = records(size);
  const std::uint32_t half = 1u << (size.lg2 - unit_lg2(size));
  const Pool old = std::exchange(pool(size), Pool{});
  for (const std::uint32_t head : {old.zeroed, old.stale})
    for (std::uint32_t i = head; i != 0; i = next(i, size)) of_size[i].children = kFree;
  std::uint32_t pairs = 0;  // lower halves
  for (const bool stale : {false, true}) {
    for (std::uint32_t i = stale ? old.stale : old.zeroed, following = 0; i != 0; i = following) {
      following = next(i, size);
      if (of_size[i ^ half].children != kFree) {
        put(std::uint64_t{i} << unit_lg2(size), size, stale);
      } else if ((i & half) == 0) {
        next(i, size) = pairs;
        pairs = i;
      }
    }
  }
  for (const std::uint32_t head : {pool(size).zeroed, pool(size).stale})
    for (std::uint32_t i = head; i != 0; i = next(i, size)) of_size[i].children = 0;
  for (std::uint32_t i = pairs, following = 0; i != 0; i = following) {
    following = next(i, size);
    of_size[i].children = of_size[i ^ half].children = 0;
    // One half may have been zeroed and the other not.
    put(std::uint64_t{i} << unit_lg2(size), TableSize{size.lg2 + 1}, true);
  }
}

// A reader without a lock may still look at a table that was recycled under it (and will throw away what it saw),
// so the race detector needs to know that these stores are meant.
void TableMemory::zero(PhysAddr table, TableSize size) const {
#if defined(__SANITIZE_THREAD__)
  constexpr bool kRacesAreChecked = true;
#elif defined(__has_feature)
  constexpr bool kRacesAreChecked = __has_feature(thread_sanitizer);
#else
  constexpr bool kRacesAreChecked = false;
#endif
  if constexpr (kRacesAreChecked) {
    auto* const entries = as<std::uint32_t>(table);  // the smallest entries that a reader may load
    for (std::size_t i = 0; i < size.bytes() / sizeof(std::uint32_t); ++i)
      std::atomic_ref(entries[i]).store(0, std::memory_order_relaxed);
  } else {
    std::memset(words(table), 0, size.bytes());
  }
}

Result<PhysAddr> TableMemory::allocate(TableSize size, TableContents contents) {
  assert(size.lg2 >= TableSize::kLeastLg2 && size.lg2 <= TableSize::kMostLg2);
  TRY(fault::pass("memory.table"));
  Taken taken;
  {
    const BiasedGuard guard(lock_);
    taken = take_or_join(size, contents);
    if (taken.offset != 0) count(size.bytes());
  }
  if (taken.offset == 0) return fail(ENOMEM, "the table arena is full");
  const PhysAddr table{first_ + taken.offset};
  if (taken.stale && contents == TableContents::zeroed) zero(table, size);
  record(table, size) = Record{};
  return table;
}

void TableMemory::free(PhysAddr table, TableSize size, TableContents contents) {
  const std::uint32_t freed = index(table, size);
  free_chain({.head = freed, .tail = freed, .count = 1}, size, contents);
}

Result<TableMemory::Chain> TableMemory::allocate_chain(std::uint32_t count, TableSize size, TableContents contents) {
  assert(size.lg2 >= TableSize::kLeastLg2 && size.lg2 <= TableSize::kMostLg2);
  for (std::uint32_t i = 0; i < count; ++i) TRY(fault::pass("memory.table"));
  Chain chain, to_zero;
  {
    const BiasedGuard guard(lock_);
    while (chain.count + to_zero.count < count) {
      const Taken taken = take_or_join(size, contents);
      if (taken.offset == 0) break;
      append(taken.stale && contents == TableContents::zeroed ? to_zero : chain, PhysAddr{first_ + taken.offset}, size);
    }
    this->count((std::uint64_t{chain.count} + to_zero.count) << size.lg2);
  }
  if (chain.count + to_zero.count < count) {
    free_chain(chain, size, contents);
    free_chain(to_zero, size, TableContents::undefined);
    return fail(ENOMEM, "the table arena is full");
  }
  while (!to_zero.empty()) {
    const PhysAddr table = pop(to_zero, size);
    zero(table, size);
    append(chain, table, size);
  }
  return chain;
}

void TableMemory::free_chain(const Chain& chain, TableSize size, TableContents contents) {
  if (chain.empty()) return;
  const BiasedGuard guard(lock_);
  std::uint32_t& head = contents == TableContents::zeroed ? pool(size).zeroed : pool(size).stale;
  next(chain.tail, size) = head;
  head = chain.head;
  count(~(std::uint64_t{chain.count} << size.lg2) + 1);  // subtracts
}

}  // namespace softiommu
