// SPDX-License-Identifier: BSD-3-Clause
// Memory that page tables and other hardware structures live in: one arena, physical to host is one addition.
//
// machine/ owns the one of a machine; pt/ and drivers/ allocate here. Each 4 KiB page of the arena has a record in a
// side array (live entry count, child tables, list link), so that counts never touch the table itself.
// Freed pages are recycled last in, first out, on two lists: zeroed ones and stale ones (old entries still in
// them: zeroed when handed out, unless the caller will overwrite the whole page).
// A bulk operation takes or gives a whole chain of pages (linked through their records) under one lock.
// Thread-safe: allocate and free take a spin lock; everything else takes none.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>

#include "base/fault.h"
#include "base/result.h"
#include "base/spin_lock.h"
#include "base/types.h"

namespace softiommu {

enum class TableContents : std::uint8_t {
  zeroed,     // every word is 0
  undefined,  // the caller writes all of it before the hardware can see it
};

class TableMemory {
 public:
  struct Record {
    std::uint32_t next = 0;      // index of the next page on a free or gather list; 0 ends it
    std::uint16_t live = 0;      // entries in use
    std::uint16_t children = 0;  // of those, how many are tables
  };

  virtual ~TableMemory() = default;
  TableMemory(const TableMemory&) = delete;
  TableMemory& operator=(const TableMemory&) = delete;

  // 64-bit words of the structure at `table` (8-byte aligned). Only for addresses from allocate().
  std::uint64_t* words(PhysAddr table) const {
    return reinterpret_cast<std::uint64_t*>(host_ + (table.value - first_));
  }
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
    bool contains(PhysAddr a) const { return a.value - first < bytes; }
    std::uint64_t* words(PhysAddr a) const { return reinterpret_cast<std::uint64_t*>(bias + a.value); }
  };
  View view() const { return {reinterpret_cast<std::uintptr_t>(host_) - first_, first_, bytes_}; }
  Record& record(PhysAddr table) const { return records_[(table.value - first_) >> kPageShift]; }
  bool contains(PhysAddr a) const { return a.value - first_ < bytes_; }

  // `pages` physically contiguous 4 KiB pages, aligned to their power-of-two size (pages is a power of two).
  // The record of the first page is reset. ENOMEM: the arena is full, or a fault was injected.
  Result<PhysAddr> allocate(unsigned pages = 1, TableContents contents = TableContents::zeroed);
  // Returns what allocate(pages) gave. `contents`: zeroed if the caller knows that every word is 0.
  void free(PhysAddr table, unsigned pages = 1, TableContents contents = TableContents::undefined);

  // Tables of one size, linked through Record::next: owned by whoever holds the chain.
  struct Chain {
    std::uint32_t head = 0, tail = 0;  // page indices; 0: the chain is empty
    std::uint32_t count = 0;
    bool empty() const { return head == 0; }
  };
  // `count` tables of `pages` pages each, or none. Records are reset as pop() hands them out.
  // ENOMEM: as allocate(), which each of them counts as for fault injection.
  Result<Chain> allocate_chain(std::uint32_t count, unsigned pages = 1, TableContents contents = TableContents::zeroed);
  // The order is kept: the head of the chain is handed out first.
  void free_chain(const Chain& chain, unsigned pages = 1, TableContents contents = TableContents::undefined);
  // Puts a table at the end; overwrites its record's link only.
  void append(Chain& chain, PhysAddr table) const {
    const std::uint32_t added = index(table);
    records_[added].next = 0;
    if (chain.head == 0) {
      chain.head = added;
    } else {
      records_[chain.tail].next = added;
    }
    chain.tail = added;
    ++chain.count;
  }
  // Puts a table in front, so that what was freed last (and is still in the caches) is handed out first.
  void push(Chain& chain, PhysAddr table) const {
    const std::uint32_t added = index(table);
    records_[added].next = chain.head;
    if (chain.head == 0) chain.tail = added;
    chain.head = added;
    ++chain.count;
  }
  // The first table of a chain that is not empty, with a fresh record.
  PhysAddr pop(Chain& chain) const {
    const std::uint32_t taken = chain.head;
    chain.head = records_[taken].next;
    --chain.count;
    records_[taken] = Record{};
    return page(taken);
  }

  // Pages handed out and not freed: "page-table memory is counted once".
  std::uint64_t allocated_pages() const { return allocated_.load(std::memory_order_relaxed); }

 protected:
  TableMemory() = default;
  // The whole arena is reserved address space from the start (host pages appear on first touch).
  void adopt(std::byte* host, PhysAddr first, std::uint64_t bytes, Record* records) {
    host_ = host;
    first_ = first.value;
    bytes_ = bytes;
    records_ = records;
    unused_ = 1;  // index 0 means "none" on lists, so page 0 of the arena is never handed out
  }

 private:
  struct Pool {
    std::uint32_t zeroed = 0, stale = 0;  // heads
  };
  static constexpr unsigned kOrders = 8;  // 1..128 pages

  PhysAddr page(std::uint32_t index) const { return PhysAddr{first_ + (std::uint64_t{index} << kPageShift)}; }
  std::uint32_t index(PhysAddr table) const { return static_cast<std::uint32_t>((table.value - first_) >> kPageShift); }
  std::uint32_t take(std::uint32_t& head) {
    const std::uint32_t taken = head;
    head = records_[taken].next;
    return taken;
  }
  // One table off the lists or from the untouched rest of the arena; 0: none is left. `stale`: it holds old entries.
  std::uint32_t take_any(unsigned order, TableContents wanted, bool& stale) REQUIRES(lock_);
  void zero(std::uint32_t table, unsigned pages) const;
  // Writers hold the lock, so the counter needs no locked operation.
  void count(std::uint64_t pages) REQUIRES(lock_) {
    allocated_.store(allocated_.load(std::memory_order_relaxed) + pages, std::memory_order_relaxed);
  }

  std::byte* host_ = nullptr;
  std::uint64_t first_ = 0, bytes_ = 0;
  Record* records_ = nullptr;
  std::uint32_t unused_ = 0;  // first page that was never handed out (all zero)
  Pool pools_[kOrders] GUARDED_BY(lock_);
  SpinLock lock_;
  std::atomic<std::uint64_t> allocated_{0};
};

}  // namespace softiommu
