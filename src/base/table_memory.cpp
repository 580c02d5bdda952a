// SPDX-License-Identifier: BSD-3-Clause
#include "base/table_memory.h"

#include <bit>
#include <cassert>

namespace softiommu {

namespace {

unsigned order_of(unsigned pages) {
  assert(std::has_single_bit(pages));
  return static_cast<unsigned>(std::countr_zero(pages));
}

}  // namespace

std::uint32_t TableMemory::take_any(unsigned order, TableContents wanted, bool& stale) {
  Pool& pool = pools_[order];
  stale = pool.stale != 0 && (wanted == TableContents::undefined || pool.zeroed == 0);
  if (stale) return take(pool.stale);
  if (pool.zeroed != 0) return take(pool.zeroed);
  const std::uint64_t pages = std::uint64_t{1} << order;
  const std::uint64_t aligned = (unused_ + pages - 1) & ~(pages - 1);
  if ((aligned + pages) << kPageShift > bytes_) return 0;
  unused_ = static_cast<std::uint32_t>(aligned + pages);
  return static_cast<std::uint32_t>(aligned);
}

// A reader without a lock may still look at a page that was recycled under it (and will throw away what it saw),
// so the race detector needs to know that these stores are meant.
void TableMemory::zero(std::uint32_t table, unsigned pages) const {
  std::uint64_t* const entries = words(page(table));
  const std::size_t bytes = std::size_t{pages} << kPageShift;
#if defined(__SANITIZE_THREAD__)
  constexpr bool kRacesAreChecked = true;
#elif defined(__has_feature)
  constexpr bool kRacesAreChecked = __has_feature(thread_sanitizer);
#else
  constexpr bool kRacesAreChecked = false;
#endif
  if constexpr (kRacesAreChecked) {
    for (std::size_t i = 0; i < bytes / sizeof(std::uint64_t); ++i)
      std::atomic_ref(entries[i]).store(0, std::memory_order_relaxed);
  } else {
    std::memset(entries, 0, bytes);
  }
}

Result<PhysAddr> TableMemory::allocate(unsigned pages, TableContents contents) {
  const unsigned order = order_of(pages);
  assert(order < kOrders);
  TRY(fault::pass("table_memory.allocate"));
  bool stale = false;
  std::uint32_t taken = 0;
  {
    SpinGuard guard(lock_);
    taken = take_any(order, contents, stale);
    if (taken != 0) count(pages);
  }
  if (taken == 0) return fail(ENOMEM, "the table arena is full");
  if (stale && contents == TableContents::zeroed) zero(taken, pages);
  records_[taken] = Record{};
  return page(taken);
}

void TableMemory::free(PhysAddr table, unsigned pages, TableContents contents) {
  const std::uint32_t freed = index(table);
  free_chain({.head = freed, .tail = freed, .count = 1}, pages, contents);
}

Result<TableMemory::Chain> TableMemory::allocate_chain(std::uint32_t count, unsigned pages, TableContents contents) {
  const unsigned order = order_of(pages);
  assert(order < kOrders);
  for (std::uint32_t i = 0; i < count; ++i) TRY(fault::pass("table_memory.allocate"));
  Chain chain, to_zero;
  {
    SpinGuard guard(lock_);
    while (chain.count + to_zero.count < count) {
      bool stale = false;
      const std::uint32_t taken = take_any(order, contents, stale);
      if (taken == 0) break;
      append(stale && contents == TableContents::zeroed ? to_zero : chain, page(taken));
    }
    this->count(std::uint64_t{chain.count + to_zero.count} * pages);
  }
  if (chain.count + to_zero.count < count) {
    free_chain(chain, pages, contents);
    free_chain(to_zero, pages, TableContents::undefined);
    return fail(ENOMEM, "the table arena is full");
  }
  while (!to_zero.empty()) {
    const PhysAddr table = pop(to_zero);
    zero(index(table), pages);
    append(chain, table);
  }
  return chain;
}

void TableMemory::free_chain(const Chain& chain, unsigned pages, TableContents contents) {
  if (chain.empty()) return;
  Pool* const pool = &pools_[order_of(pages)];
  SpinGuard guard(lock_);
  std::uint32_t& head = contents == TableContents::zeroed ? pool->zeroed : pool->stale;
  records_[chain.tail].next = head;
  head = chain.head;
  count(~(std::uint64_t{chain.count} * pages) + 1);  // subtracts
}

}  // namespace softiommu
