// SPDX-License-Identifier: BSD-3-Clause
#include "machine/dma_fence.h"

#include <sched.h>

#include <algorithm>
#include <utility>

namespace softiommu {

namespace {

thread_local DmaActivity* walking = nullptr;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

void DmaFence::add(DmaActivity& activity) {
  const FutexGuard lock(mutex_);
  activities_.push_back(&activity);
}

void DmaFence::remove(DmaActivity& activity) {
  const FutexGuard lock(mutex_);
  std::erase(activities_, &activity);
}

void DmaFence::wait() {
  // A copy of 4 KiB takes some hundred pauses at most; beyond that its thread is not running.
  constexpr unsigned kSpins = 1000;
  const FutexGuard lock(mutex_);
  for (const DmaActivity* activity : activities_) {
    const std::uint64_t seen = activity->load(std::memory_order_seq_cst);
    if (seen % 2 == 0) continue;
    for (unsigned spin = 0; activity->load(std::memory_order_acquire) == seen; ++spin) {
      if (spin < kSpins) {
        relax();
      } else {
        sched_yield();
      }
    }
  }
}

DmaWalk::DmaWalk(DmaActivity& activity) : outer_(std::exchange(walking, &activity)) {}
DmaWalk::~DmaWalk() { walking = outer_; }

DmaPause::DmaPause() : paused_(std::exchange(walking, nullptr)) {
  if (paused_ != nullptr) paused_->fetch_add(1, std::memory_order_release);
}
DmaPause::~DmaPause() {
  if (paused_ != nullptr) paused_->fetch_add(1, std::memory_order_seq_cst);
  walking = paused_;
}

}  // namespace softiommu
