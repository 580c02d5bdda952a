// SPDX-License-Identifier: BSD-3-Clause
// Which sockets are handles: a page that all processes of a run share, so that one that gets a handle by exec or over a
// socket knows it for what it is.
//
// A socket's inode is unique on the host. Entries are written when a handle may leave its process, and taken out when
// the file is closed; one whose owner was killed stays, and means nothing. Plain C++ without a library: the shim
// reads it too.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace softiommu::launch {

struct HandleTable {
  static constexpr uint32_t kSlots = 8192, kProbes = 64;
  static constexpr uint64_t kFree = 0, kLeft = 1;  // no socket has these inodes

  // False: there is no room near its place (then other processes do not know the handle).
  bool add(uint64_t inode) {
    if (contains(inode)) return true;
    for (uint32_t probe = 0; probe < kProbes; ++probe) {
      uint64_t* slot = place(inode, probe);
      uint64_t seen = __atomic_load_n(slot, __ATOMIC_RELAXED);
      if (seen != kFree && seen != kLeft) continue;
      if (__atomic_compare_exchange_n(slot, &seen, inode, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) return true;
    }
    return false;
  }
  void remove(uint64_t inode) {
    for (uint32_t probe = 0; probe < kProbes; ++probe) {
      uint64_t* slot = place(inode, probe);
      if (__atomic_load_n(slot, __ATOMIC_RELAXED) == inode) __atomic_store_n(slot, kLeft, __ATOMIC_RELEASE);
    }
  }
  bool contains(uint64_t inode) const {
    for (uint32_t probe = 0; probe < kProbes; ++probe) {
      const uint64_t seen = __atomic_load_n(const_cast<HandleTable*>(this)->place(inode, probe), __ATOMIC_ACQUIRE);
      if (seen == inode) return true;
      if (seen == kFree) return false;
    }
    return false;
  }

  uint64_t slots[kSlots];

 private:
  uint64_t* place(uint64_t inode, uint32_t probe) {
    static constexpr uint64_t kSpread = 0x9e3779b97f4a7c15;  // Fibonacci hashing
    return &slots[((inode * kSpread >> 40) + probe) % kSlots];
  }
};

}  // namespace softiommu::launch
