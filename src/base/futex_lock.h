// SPDX-License-Identifier: BSD-3-Clause
// A lock for paths where each instruction counts: a dozen instructions for an uncontended lock and unlock,
// and a contended caller sleeps in the kernel. reset() is for the child after fork, whose other threads are gone.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/thread_safety.h"

namespace softiommu {

class SOFTIOMMU_TS(capability("mutex")) FutexLock {
 public:
  void lock() SOFTIOMMU_TS(acquire_capability()) {
    std::uint32_t expected = kFree;
    if (!state_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire)) [[unlikely]] {
      lock_contended();
    }
  }
  bool try_lock() SOFTIOMMU_TS(try_acquire_capability(true)) {
    std::uint32_t expected = kFree;
    return state_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire);
  }
  void unlock() SOFTIOMMU_TS(release_capability()) {
    if (state_.exchange(kFree, std::memory_order_release) == kContended) [[unlikely]]
      wake_one();
  }
  void reset() { state_.store(kFree, std::memory_order_relaxed); }

 private:
  static constexpr std::uint32_t kFree = 0, kHeld = 1, kContended = 2;

  void lock_contended() noexcept;
  void wake_one() noexcept;

  std::atomic<std::uint32_t> state_{kFree};
};

class SOFTIOMMU_TS(scoped_lockable) FutexGuard {
 public:
  explicit FutexGuard(FutexLock& lock) SOFTIOMMU_TS(acquire_capability(lock)) : lock_(lock) { lock_.lock(); }
  ~FutexGuard() SOFTIOMMU_TS(release_capability()) { lock_.unlock(); }
  FutexGuard(const FutexGuard&) = delete;
  FutexGuard& operator=(const FutexGuard&) = delete;

 private:
  FutexLock& lock_;
};

}  // namespace softiommu
