// SPDX-License-Identifier: BSD-3-Clause
// Memory that page tables and other hardware structures live in: one arena, physical to host is one addition.
//
// machine/ owns the one of a machine; pt/ and drivers/ allocate here. Tables have a power-of-two size from 1 KiB to
// 4 MiB and are aligned to it. Each has a record in a side array (live entry count, child tables), so that counts never
// touch the table itself: one array by 4 KiB page, and one by 1 KiB granule for tables smaller than that.
// Freed tables are recycled last in, first out, on two lists a size: zeroed ones and stale ones (old entries still in
// them: zeroed when handed out, unless the caller will overwrite the whole table). A larger table may be cut into
// smaller ones; free halves are joined again when nothing else is left. A bulk operation takes or gives a whole chain
// of tables (linked through their records) under one lock. Thread-safe: allocate and free take a lock; everything else
// takes none.
#pragma once

#include <atomic>
#include <bit>
#include <cassert>
#include <cstdint>
#include <cstring>

#include "base/biased_lock.h"
#include "base/fault.h"
#include "base/result.h"
#include "base/types.h"

namespace softiommu {

enum class TableContents : std::uint8_t {
  zeroed,     // every word is 0
  undefined,  // the caller writes all of it before the hardware can see it
};

// 2^lg2 bytes.
struct TableSize {
  static constexpr unsigned kLeastLg2 = 10, kMostLg2 = 22;
  unsigned lg2 = kPageShift;

  // `count` is a power of two.
  static constexpr TableSize pages(unsigned count) {
    assert(std::has_single_bit(count));
    return {kPageShift + static_cast<unsigned>(std::countr_zero(count))};
  }
  constexpr std::uint64_t bytes() const { return std::uint64_t{1} << lg2; }
  constexpr bool is_small() const { return lg2 < kPageShift; }
  friend constexpr bool operator==(TableSize, TableSize) = default;
};

class TableMemory {
 public:
  // Of a table in use; on a free or gather list `live` holds the index of the next table instead (0 ends the list).
  struct Record {
    std::uint32_t live = 0;      // entries in use
    std::uint32_t children = 0;  // of those, how many are tables
  };

  virtual ~TableMemory() = default;
  TableMemory(const TableMemory&) = delete;
  TableMemory& operator=(const TableMemory&) = delete;

  // 64-bit words of the structure at `table` (8-byte aligned). Only for addresses from allocate().
  std::uint64_t* words(PhysAddr table) const { return as<std::uint64_t>(table); }
  template <typename T>
  T* as(PhysAddr table) const {
    return reinterpret_cast<T*>(host_ + (table.value - first_));
  }
  PhysAddr address(const void* host) const {
    return PhysAddr{first_ + static_cast<std::uint64_t>(static_cast<const std::byte*>(host) - host_)};
  }
  // Where the arena is, by value: a loop over tables keeps it in registers.
  struct View {
    std::uintptr_t bias;  // host address minus physical address
    std::uint64_t first, bytes;
    // Does a table of that size at `a` lie in the arena? (It is aligned, and so is the arena's end, to 4 KiB.)
    bool contains(PhysAddr a, TableSize size = {}) const {
      const std::uint64_t beyond = size.lg2 > kPageShift ? size.bytes() - kPageSize : 0;
      return a.value - first < bytes - beyond;
    }
    template <typename T = std::uint64_t>
    T* words(PhysAddr a) const {
      return reinterpret_cast<T*>(bias + a.value);
    }
  };
  View view() const { return {reinterpret_cast<std::uintptr_t>(host_) - first_, first_, bytes_}; }
  Record& record(PhysAddr table, TableSize size = {}) const { return records(size)[index(table, size)]; }
  bool contains(PhysAddr a) const { return a.value - first_ < bytes_; }

  // Physically contiguous memory, aligned to its size. The record is reset.
  // ENOMEM: the arena is full, or a fault was injected.
  Result<PhysAddr> allocate(TableSize size, TableContents contents = TableContents::zeroed);
  Result<PhysAddr> allocate(unsigned pages = 1, TableContents contents = TableContents::zeroed) {
    return allocate(TableSize::pages(pages), contents);
  }
  // Returns what allocate() gave. `contents`: zeroed if the caller knows that every word is 0.
  void free(PhysAddr table, TableSize size, TableContents contents = TableContents::undefined);
  void free(PhysAddr table, unsigned pages = 1, TableContents contents = TableContents::undefined) {
    free(table, TableSize::pages(pages), contents);
  }

  // Tables of one size, linked through their records: owned by whoever holds the chain.
  struct Chain {
    std::uint32_t head = 0, tail = 0;  // indices; 0: the chain is empty
    std::uint32_t count = 0;
    bool empty() const { return head == 0; }
  };
  // `count` tables, or none. Records are reset as pop() hands them out.
  // ENOMEM: as allocate(), which each of them counts as for fault injection.
  Result<Chain> allocate_chain(std::uint32_t count, TableSize size = {},
                               TableContents contents = TableContents::zeroed);
  // The order is kept: the head of the chain is handed out first.
  void free_chain(const Chain& chain, TableSize size = {}, TableContents contents = TableContents::undefined);
  // Puts a table at the end; overwrites its record.
  void append(Chain& chain, PhysAddr table, TableSize size = {}) const {
    const std::uint32_t added = index(table, size);
    next(added, size) = 0;
    if (chain.head == 0) {
      chain.head = added;
    } else {
      next(chain.tail, size) = added;
    }
    chain.tail = added;
    ++chain.count;
  }
  // Puts a table in front, so that what was freed last (and is still in the caches) is handed out first.
  void push(Chain& chain, PhysAddr table, TableSize size = {}) const {
    const std::uint32_t added = index(table, size);
    next(added, size) = chain.head;
    if (chain.head == 0) chain.tail = added;
    chain.head = added;
    ++chain.count;
  }
  // The first table of a chain that is not empty, with a fresh record.
  PhysAddr pop(Chain& chain, TableSize size = {}) const {
    const std::uint32_t taken = chain.head;
    chain.head = next(taken, size);
    --chain.count;
    records(size)[taken] = Record{};
    return at(taken, size);
  }

  // Handed out and not freed: "page-table memory is counted once".
  std::uint64_t allocated_bytes() const { return allocated_.load(std::memory_order_relaxed); }
  std::uint64_t allocated_pages() const { return (allocated_bytes() + kPageSize - 1) >> kPageShift; }

 protected:
  TableMemory() = default;
  // Records that an arena of that size needs.
  static constexpr std::uint64_t records_for(std::uint64_t bytes) {
    return (bytes >> kPageShift) + (bytes >> TableSize::kLeastLg2);
  }
  // The whole arena and its records are reserved address space from the start (host pages appear on first touch).
  // `first` is aligned to the largest table, `bytes` is a number of pages.
  void adopt(std::byte* host, PhysAddr first, std::uint64_t bytes, Record* records) {
    assert(is_aligned(first.value, TableSize{TableSize::kMostLg2}.bytes()) && is_aligned(bytes, kPageSize));
    const BiasedGuard guard(lock_);
    host_ = host;
    first_ = first.value;
    bytes_ = bytes;
    page_records_ = records;
    granule_records_ = records + (bytes >> kPageShift);
    unused_ = kPageSize;  // index 0 means "none" on lists, so page 0 of the arena is never handed out
  }

 private:
  static constexpr unsigned kSizes = TableSize::kMostLg2 - TableSize::kLeastLg2 + 1;
  struct Pool {
    std::uint32_t zeroed = 0, stale = 0;  // heads
  };
  // A table off the lists; offset 0: none is left.
  struct Taken {
    std::uint64_t offset = 0;
    bool stale = false;  // it holds old entries
  };

  static constexpr unsigned unit_lg2(TableSize size) { return size.is_small() ? TableSize::kLeastLg2 : kPageShift; }
  Record* records(TableSize size) const { return size.is_small() ? granule_records_ : page_records_; }
  std::uint32_t& next(std::uint32_t index, TableSize size) const { return records(size)[index].live; }
  PhysAddr at(std::uint32_t index, TableSize size) const {
    return PhysAddr{first_ + (std::uint64_t{index} << unit_lg2(size))};
  }
  std::uint32_t index(PhysAddr table, TableSize size) const {
    return static_cast<std::uint32_t>((table.value - first_) >> unit_lg2(size));
  }
  Pool& pool(TableSize size) REQUIRES(lock_) { return pools_[size.lg2 - TableSize::kLeastLg2]; }
  void put(std::uint64_t offset, TableSize size, bool stale) REQUIRES(lock_);
  Taken take(TableSize size, TableContents wanted) REQUIRES(lock_);
  Taken take_new(TableSize size) REQUIRES(lock_);
  Taken take_or_join(TableSize size, TableContents wanted) REQUIRES(lock_);
  void join(TableSize size) REQUIRES(lock_);
  void zero(PhysAddr table, TableSize size) const;
  // Writers hold the lock, so the counter needs no locked operation.
  void count(std::uint64_t bytes) REQUIRES(lock_) {
    allocated_.store(allocated_.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
  }

  std::byte* host_ = nullptr;
  std::uint64_t first_ = 0, bytes_ = 0;
  Record *page_records_ = nullptr, *granule_records_ = nullptr;
  std::uint64_t unused_ GUARDED_BY(lock_) = 0;  // offset of what was never handed out (all zero)
  Pool pools_[kSizes] GUARDED_BY(lock_);
  BiasedLock lock_;
  std::atomic<std::uint64_t> allocated_{0};
};

}  // namespace softiommu
