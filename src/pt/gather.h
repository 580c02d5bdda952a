// SPDX-License-Identifier: BSD-3-Clause
// What an unmap leaves for the driver: the range to invalidate, and tables that hardware may still be reading.
//
// A driver unmaps (once or many times) into a Gather, invalidates range() on every unit (non-leaf entries too if
// tables_freed()), waits for that, and then calls release(). Tables are linked through their records: nothing is
// allocated. One Gather serves tables of one format.
#pragma once

#include <algorithm>
#include <cassert>
#include <utility>

#include "base/table_memory.h"
#include "base/types.h"

namespace softiommu::pt {

class Gather {
 public:
  // Tables below a root have one or two sizes.
  static constexpr unsigned kClasses = 2;

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
  bool tables_freed() const { return tables_freed_; }
  // Gives the tables back and starts anew. After the invalidation has completed.
  void release(TableMemory& memory) {
    if (tables_freed_) {
      for (Tables& of_size : tables_) {
        if (!of_size.zeroed.empty()) memory.free_chain(of_size.zeroed, of_size.size, TableContents::zeroed);
        if (!of_size.stale.empty()) memory.free_chain(of_size.stale, of_size.size, TableContents::undefined);
        of_size = {};
      }
      tables_freed_ = false;
    }
    first_ = ~std::uint64_t{0};
    last_ = 0;
  }

  // For PageTable: [first, last] no longer translates as it did.
  void add(std::uint64_t first, std::uint64_t last) {
    first_ = std::min(first_, first);
    last_ = std::max(last_, last);
  }
  // For PageTable: a table that is no longer reachable. All tables of a class have one size.
  void add_table(const TableMemory& memory, PhysAddr table, unsigned table_class, TableSize size,
                 TableContents contents) {
    Tables& of_size = tables_[table_class];
    assert((of_size.zeroed.empty() && of_size.stale.empty()) || of_size.size == size);
    of_size.size = size;
    tables_freed_ = true;
    memory.push(contents == TableContents::zeroed ? of_size.zeroed : of_size.stale, table, size);
  }

 private:
  struct Tables {
    TableMemory::Chain zeroed, stale;
    TableSize size{0};
  };
  void swap(Gather& other) noexcept {
    std::swap(first_, other.first_);
    std::swap(last_, other.last_);
    std::swap(tables_, other.tables_);
    std::swap(tables_freed_, other.tables_freed_);
  }

  std::uint64_t first_ = ~std::uint64_t{0}, last_ = 0;
  bool tables_freed_ = false;
  Tables tables_[kClasses];
};

// Unmaps, has `invalidate(gather)` tell every unit and wait, and only then gives the tables back. The bytes unmapped.
template <class Table, class Invalidate>
std::uint64_t unmap_and(Table& table, TableMemory& memory, Iova iova, std::uint64_t bytes, Invalidate&& invalidate) {
  Gather gather;
  const std::uint64_t unmapped = table.unmap(iova, bytes, gather);
  if (gather.empty()) return unmapped;
  invalidate(std::as_const(gather));
  gather.release(memory);
  return unmapped;
}

}  // namespace softiommu::pt
