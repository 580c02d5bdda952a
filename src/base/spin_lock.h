// SPDX-License-Identifier: BSD-3-Clause
// A lock for a few nanoseconds of work: one locked instruction when nobody else wants it, never a system call.
//
// Never held while program memory is touched or anything is waited for.
#pragma once

#include <atomic>

#include "base/mutex.h"

namespace softiommu {

class SOFTIOMMU_TS(capability("mutex")) SpinLock {
 public:
  void lock() SOFTIOMMU_TS(acquire_capability()) {
    if (taken_.test_and_set(std::memory_order_acquire)) [[unlikely]]
      wait();
  }
  void unlock() SOFTIOMMU_TS(release_capability()) { taken_.clear(std::memory_order_release); }

  // What to do while waiting for another thread that is about to be done.
  static void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

 private:
  // Looks less and less often: who has the lock works undisturbed, and may take it again at once.
  [[gnu::cold, gnu::noinline]] void wait() {
    constexpr unsigned kMost = 64;
    for (unsigned pauses = 1; taken_.test_and_set(std::memory_order_acquire);) {
      do {
        for (unsigned i = 0; i < pauses; ++i) relax();
        pauses = pauses < kMost ? pauses * 2 : kMost;
      } while (taken_.test(std::memory_order_relaxed));
    }
  }

  std::atomic_flag taken_;
};

class SOFTIOMMU_TS(scoped_lockable) SpinGuard {
 public:
  explicit SpinGuard(SpinLock& lock) SOFTIOMMU_TS(acquire_capability(lock)) : lock_(lock) { lock_.lock(); }
  ~SpinGuard() SOFTIOMMU_TS(release_capability()) { lock_.unlock(); }
  SpinGuard(const SpinGuard&) = delete;
  SpinGuard& operator=(const SpinGuard&) = delete;

 private:
  SpinLock& lock_;
};

}  // namespace softiommu
