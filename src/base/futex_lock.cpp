// SPDX-License-Identifier: BSD-3-Clause
#include "base/futex_lock.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace softiommu {

namespace {

// A lock is taken in signal handlers too: errno stays as it was.
void futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) {
  const int saved = errno;
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), operation, value, nullptr);
  errno = saved;
}

}  // namespace

void FutexLock::lock_contended() noexcept {
  while (state_.exchange(kContended, std::memory_order_acquire) != kFree) futex(state_, FUTEX_WAIT_PRIVATE, kContended);
}

void FutexLock::wake_one() noexcept { futex(state_, FUTEX_WAKE_PRIVATE, 1); }

}  // namespace softiommu
