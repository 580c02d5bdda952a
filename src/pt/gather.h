// SPDX-License-Identifier: BSD-3-Clause
// What an unmap leaves for the driver: the range to invalidate, and tables that hardware may still be reading.
//
// A driver unmaps (once or many times) into a Gather, invalidates range() on every unit (non-leaf entries too if
// tables_freed()), waits for that, and then calls release(). Tables are linked through their records: nothing is
// allocated.
#pragma once

#include <algorithm>
#include <cassert>
#include <utility>

#include "base/table_memory.h"
#include "base/types.h"

namespace softiommu::pt {

class Gather {
 public:
  Gather() = default;
  Gather(Gather&& other) noexcept { swap(other); }
  Gather& operator=(Gather&& other) noexcept {
    swap(other);
    return *this;
  }
  // Tables must have been released: nobody else knows them.
  ~Gather() { assert(!tables_freed()); }

  // Nothing to invalidate.
  bool empty() const { return first_ > last_ && !tables_freed(); }
  // The union of what was unmapped. Only when not empty.
  IovaRange range() const { return {Iova{first_}, Iova{last_}}; }
  // Entries that point to tables went away as well: invalidate cached walks too.
  bool tables_freed() const { return !zeroed_.empty() || !stale_.empty(); }
  // Gives the tables back and starts anew. After the invalidation has completed.
  void release(TableMemory& memory) {
    if (tables_freed()) {
      memory.free_chain(zeroed_, pages_, TableContents::zeroed);
      memory.free_chain(stale_, pages_, TableContents::undefined);
      zeroed_ = stale_ = {};
    }
    first_ = ~std::uint64_t{0};
    last_ = 0;
  }

  // For PageTable: [first, last] no longer translates as it did.
  void add(std::uint64_t first, std::uint64_t last) {
    first_ = std::min(first_, first);
    last_ = std::max(last_, last);
  }
  // For PageTable: a table of `pages` pages that is no longer reachable.
  void add_table(const TableMemory& memory, PhysAddr table, unsigned pages, TableContents contents) {
    assert(!tables_freed() || pages_ == pages);
    pages_ = pages;
    memory.push(contents == TableContents::zeroed ? zeroed_ : stale_, table);
  }

 private:
  void swap(Gather& other) noexcept {
    std::swap(first_, other.first_);
    std::swap(last_, other.last_);
    std::swap(zeroed_, other.zeroed_);
    std::swap(stale_, other.stale_);
    std::swap(pages_, other.pages_);
  }

  std::uint64_t first_ = ~std::uint64_t{0}, last_ = 0;
  TableMemory::Chain zeroed_, stale_;
  unsigned pages_ = 1;
};

}  // namespace softiommu::pt
