// SPDX-License-Identifier: BSD-3-Clause
// The odd/even protocol between copies and those who take something away from them (a translation, a page).
//
// A port publishes an odd counter before it looks up where to copy and an even one when the copy has ended.
// Whoever takes something away changes the tables, bumps the generation that ports compare, and waits here until
// every port that was odd has moved on. Ordering is argued in dma_port.cpp.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "base/futex_lock.h"

namespace softiommu {

using DmaActivity = std::atomic<std::uint64_t>;  // odd: a copy is under way

// The ports that one unit, or the memory, has to wait for.
class DmaFence {
 public:
  void add(DmaActivity& activity);
  void remove(DmaActivity& activity);
  // Returns when every copy that was under way has ended. A copy waits for no lock, so that the caller may hold
  // any; from inside an interrupt handler that runs on a DMA thread it is safe too (see DmaPause).
  void wait();

 private:
  FutexLock mutex_;
  std::vector<DmaActivity*> activities_ GUARDED_BY(mutex_);
};

// A port that asks its unit for a translation names itself for that time, so that what the unit calls meanwhile can
// step out of the odd section.
class DmaWalk {
 public:
  explicit DmaWalk(DmaActivity& activity);
  ~DmaWalk();
  DmaWalk(const DmaWalk&) = delete;
  DmaWalk& operator=(const DmaWalk&) = delete;

 private:
  DmaActivity* outer_;
};

// The calling thread, if inside a DmaWalk, is even as long as this lives: a fault interrupt's handler may take the
// driver's locks and wait for DMA without waiting for itself. The port sees that its counter has changed and
// discards what it has looked up.
class DmaPause {
 public:
  DmaPause();
  ~DmaPause();
  DmaPause(const DmaPause&) = delete;
  DmaPause& operator=(const DmaPause&) = delete;

 private:
  DmaActivity* paused_;
};

}  // namespace softiommu
