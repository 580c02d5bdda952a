// SPDX-License-Identifier: BSD-3-Clause
// What each process of a run has pinned and locked: a page that all of them share, so that /proc/PID/status can say it.
//
// An owner writes one entry for each process that it counts for; those of one process add up. Plain C++ without a
// library: the shim reads it.
#pragma once

#include <stdint.h>

namespace softiommu::launch {

struct AccountTable {
  static constexpr unsigned kEntries = 1024;

  struct Entry {
    int32_t process;  // 0: free
    uint32_t reserved;
    uint64_t locked, pinned;  // pages; written as std::atomic (base/memlock.h)
  };
  Entry entries[kEntries];

  struct Sum {
    uint64_t locked = 0, pinned = 0;
  };
  Sum of(int32_t process) const {
    Sum sum;
    for (const Entry& entry : entries) {
      if (__atomic_load_n(&entry.process, __ATOMIC_ACQUIRE) != process) continue;
      sum.locked += __atomic_load_n(&entry.locked, __ATOMIC_RELAXED);
      sum.pinned += __atomic_load_n(&entry.pinned, __ATOMIC_RELAXED);
    }
    return sum;
  }
};

}  // namespace softiommu::launch
