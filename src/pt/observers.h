// SPDX-License-Identifier: BSD-3-Clause
// Who wants to know what a page table does to its memory. Both are called under the table's lock: they may not call the
// table, but for root() and top_level().
#pragma once

#include <cstdint>

#include "base/types.h"

namespace softiommu::pt {

// For walks that do not snoop the caches, and for tables that hardware has a copy of.
class WriteObserver {
 public:
  // These bytes of table memory were written, a moment ago. A new table is told of whole, before the entry that links
  // it is written; bytes that are not told of are as they were, but for what hardware writes.
  virtual void wrote(PhysAddr first, std::uint64_t bytes) = 0;

 protected:
  ~WriteObserver() = default;
};

// For tables that grow at the root.
class RootObserver {
 public:
  // The root is now another table, which translates all that the old one did. On return hardware has been told, and
  // reads the old root only through the new one.
  virtual void root_changed(PhysAddr root, unsigned top_level) = 0;

 protected:
  ~RootObserver() = default;
};

struct Observers {
  WriteObserver* writes = nullptr;
  RootObserver* root = nullptr;
};

}  // namespace softiommu::pt
