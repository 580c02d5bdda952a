// SPDX-License-Identifier: BSD-3-Clause
#include "base/biased_lock.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

namespace softiommu {

namespace {

// A lock is taken in signal handlers too: errno stays as it was.
bool membarrier(int command) {
  const int saved = errno;
  const bool done = ::syscall(SYS_membarrier, command, 0, 0) == 0;
  errno = saved;
  return done;
}

// Whether threads can be made to pass a barrier. The race detector does not understand that, so it sees spin locks.
bool can_be_biased() {
#if defined(__SANITIZE_THREAD__)
  return false;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
  return false;
#endif
#endif
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  static const bool registered = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
  return registered;
#else
  return false;
#endif
}

// Every thread of the process passes a memory barrier before this returns.
void barrier_everywhere() {
  if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) return;
  // A filter that came after the registration, or a new process image that has to register anew.
  membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
  if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) || membarrier(MEMBARRIER_CMD_GLOBAL)) return;
  // No processor holds a store back for anything like a millisecond.
  const timespec long_enough{.tv_sec = 0, .tv_nsec = 1'000'000};
  ::nanosleep(&long_enough, nullptr);
}

}  // namespace

void BiasedLock::lock_shared(std::uintptr_t self) {
  shared_.lock();
  const std::uintptr_t owner = owner_.load(std::memory_order_relaxed);
  if (owner == kShared) return;
  if (owner != kNobody) {
    owner_.store(kShared, std::memory_order_relaxed);
    barrier_everywhere();
    while (owner_is_in_[owner & (kOwners - 1)].load(std::memory_order_acquire)) SpinLock::relax();
  }
  owner_.store(owners_ < kOwners && can_be_biased() ? self | owners_++ : kShared, std::memory_order_relaxed);
}

void BiasedLock::unlock_shared() { shared_.unlock(); }

}  // namespace softiommu
