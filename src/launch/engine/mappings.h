// SPDX-License-Identifier: BSD-3-Clause
// A cached view of the process's mappings: which addresses are readable and writable, without a system call.
//
// The view is rebuilt from /proc/self/maps when an address is not found in it, and marked stale when the program
// unmaps, maps over or protects something. Memory that libc maps on its own is found by the rebuild.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"

namespace softiommu::launch {

// A line of /proc/PID/maps.
struct Mapping {
  std::uintptr_t first, last;  // closed
  bool read, write, shared, anonymous;
  int prot;
  std::uint64_t offset;  // in the object that these two name
  dev_t device;
  ino_t inode;
  std::string path;
};
// Those that overlap [first, last], in order. Lines that are not understood are left out.
std::vector<Mapping> parse_mappings(const std::string& text, std::uintptr_t first = 0,
                                    std::uintptr_t last = ~std::uintptr_t{0});
// This process's.
std::string own_maps();

class Mappings {
 public:
  // EFAULT: part of [first, first + bytes) is not mapped, not readable, or not writable though `write`.
  Result<> check(std::uintptr_t first, std::size_t bytes, bool write) {
    const std::uintptr_t last = first + (bytes - 1);
    {
      const MutexLock lock(mutex_);
      if (latest_ < list_.size() && first <= last && bytes != 0) [[likely]] {
        const Mapping& latest = list_[latest_];
        if (latest.first <= first && last <= latest.last && latest.read && (latest.write || !write)) [[likely]]
          return {};
      }
    }
    return check_elsewhere(first, bytes, write);
  }
  void invalidate();
  // After fork: a thread that is not here may have been in the middle of a change, so that the old list is only left.
  void become_child() {
    mutex_.reset();
    const MutexLock lock(mutex_);
    new (&list_) std::vector<Mapping>;
  }
  // The mapping around `address`, read anew.
  bool find(std::uintptr_t address, Mapping& out);

 private:
  Result<> check_elsewhere(std::uintptr_t first, std::size_t bytes, bool write);
  bool covers_locked(std::uintptr_t first, std::uintptr_t last, bool write) REQUIRES(mutex_);
  void refresh_locked() REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::vector<Mapping> list_ GUARDED_BY(mutex_);
  std::size_t latest_ GUARDED_BY(mutex_) = 0;  // where the last range was found: programs map out of few places
};

}  // namespace softiommu::launch
