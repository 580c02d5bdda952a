// SPDX-License-Identifier: BSD-3-Clause
// A lock for a few nanoseconds of work that nearly always the same thread does: for this thread, its owner, it costs
// two plain stores and no locked instruction.
//
// The owner says that it is in, and then looks whether it still is the owner. Another thread that wants the lock takes
// the ownership away, makes every thread of the process pass a memory barrier (membarrier(2), a microsecond or so), and
// waits until the owner is out: either it sees that the owner is in, or the owner sees that it no longer is the owner.
// After a few changes of owner the lock is an ordinary spin lock for good, as it is where there is no such system call.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/spin_lock.h"
#include "base/thread_safety.h"

namespace softiommu {

class SOFTIOMMU_TS(capability("mutex")) BiasedLock {
 public:
  BiasedLock() = default;
  BiasedLock(const BiasedLock&) = delete;
  BiasedLock& operator=(const BiasedLock&) = delete;

 private:
  friend class BiasedGuard;
  using Presence = std::atomic<bool>;
  static constexpr unsigned kOwners = 4;  // in the course of time
  static constexpr std::uintptr_t kNobody = 0, kShared = 1;

  // Returns where to say that the owner is out again; nullptr for who is not the owner.
  Presence* lock() {
    const std::uintptr_t self = this_thread(), owner = owner_.load(std::memory_order_relaxed);
    if ((owner & ~std::uintptr_t{kOwners - 1}) == self) [[likely]] {
      Presence& is_in = owner_is_in_[owner & (kOwners - 1)];
      is_in.store(true, std::memory_order_relaxed);
      std::atomic_signal_fence(std::memory_order_seq_cst);  // who takes the ownership away makes it a barrier of all
      if (owner_.load(std::memory_order_relaxed) == owner) [[likely]]
        return &is_in;
      is_in.store(false, std::memory_order_release);
    }
    lock_shared(self);
    return nullptr;
  }
  void unlock(Presence* is_in) {
    if (is_in != nullptr) [[likely]] {
      is_in->store(false, std::memory_order_release);
    } else {
      unlock_shared();
    }
  }

  // Unique among the threads that live. A later thread with the same pointer began after the earlier one had ended.
  static std::uintptr_t this_thread() {
#if defined(__x86_64__)
    std::uintptr_t self;
    asm("mov %%fs:0, %0" : "=r"(self));
    return self;
#else
    return kShared;  // never an owner
#endif
  }
  void lock_shared(std::uintptr_t self) SOFTIOMMU_TS(no_thread_safety_analysis);
  void unlock_shared() SOFTIOMMU_TS(no_thread_safety_analysis);

  // The thread pointer of the owner, and in its low bits the how manieth owner it is. Each has a presence of its own,
  // as one that has lost the ownership may still be about to take back that it is in.
  std::atomic<std::uintptr_t> owner_{kNobody};
  Presence owner_is_in_[kOwners]{};
  std::uint8_t owners_ = 0;  // so far; under shared_
  SpinLock shared_;          // everybody but the owner takes it
};

class SOFTIOMMU_TS(scoped_lockable) BiasedGuard {
 public:
  explicit BiasedGuard(BiasedLock& lock) SOFTIOMMU_TS(acquire_capability(lock)) SOFTIOMMU_TS(no_thread_safety_analysis)
      : lock_(lock), is_in_(lock_.lock()) {}
  ~BiasedGuard() SOFTIOMMU_TS(release_capability()) SOFTIOMMU_TS(no_thread_safety_analysis) { lock_.unlock(is_in_); }
  BiasedGuard(const BiasedGuard&) = delete;
  BiasedGuard& operator=(const BiasedGuard&) = delete;

 private:
  BiasedLock& lock_;
  BiasedLock::Presence* const is_in_;
};

}  // namespace softiommu
