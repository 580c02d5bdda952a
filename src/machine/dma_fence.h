// SPDX-License-Identifier: BSD-3-Clause
// The odd/even protocol between copies and those who take something away from them (a translation, a page).
//
// A port publishes an odd counter before it looks up where to copy and an even one when the copy has ended.
// Whoever takes something away changes the tables, bumps the generation that ports compare, and waits here until
// every port that was odd has moved on.
//
// The rule that must hold: a port that has read the old generation is seen odd by the wait. Each side stores, then
// loads what the other has stored; so each needs its store to be visible before its load. On the waiting side the
// bump is a locked operation. On the port's side that would cost a copy of 4 KiB a fifth of its time, since a locked
// store waits for all stores of the copy before it. So the port's fence is asymmetric, and depends on its *bias*:
//   cold  begin() stores the counter with seq_cst. The wait is a few loads: bias, counter.
//   hot   begin() stores plainly, then looks at its bias again. The wait makes every thread of the process execute a
//         full barrier (the membarrier system call), which is the port's half of the bargain paid by the other side.
// A port turns hot by itself after kHotAfter copies without an invalidation between them; a wait that finds it hot
// makes it cold. So the system call is paid at most once for that many copies, and never for a device that does little.
//
// Why no odd port is missed. `bias` only grows: 4n is cold, 4n+1 hot, 4n+2 cooling; only the port makes 4n+1, only
// waiting threads make the others, by compare-and-exchange. Let W be a wait, and P a begin() that reads the
// generation from before W's bump.
//   W reads 4n (cold). P's bias is 4n or newer: an older hot one was ended by a barrier that W knows of (whoever stored
//     4n had it behind him), and P, if it stored its counter before that barrier, is visible to W; if after, it
//     saw the bias changed and stored again with seq_cst. With bias 4n both stores and loads are seq_cst, and
//     W's bump, W's load of the counter, P's store and P's load of the generation are in one order: if P read the old
//     generation, its store is before W's load. With bias 4n+1, which W did not see: P made it with seq_cst after W's
//     load, hence after W's bump, so that P's thread sees the new generation from then on.
//   W reads 4n+1 or 4n+2: it makes that 4n+2 and then the barrier. P's store of the counter is before the
//     barrier in P's program: visible, W waits. Or it is after it: then P's loads of bias and generation are too, and
//     see the bump.
// Without membarrier (an old kernel, a seccomp filter) ports stay cold. ThreadSanitizer does not know membarrier, so
// that builds with it stay cold too. If the call is refused later, when a port is hot already, the wait gives
// the port's store a millisecond to leave the processor's buffer (they hold stores for less than a microsecond), and no
// port turns hot any more. After fork the call may have to be registered again: barrier() does.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/futex_lock.h"

namespace softiommu {

// What one port publishes; a cache line of its own, written by the port's thread.
class alignas(64) DmaActivity {
 public:
  // Odd while a copy is under way.
  std::uint64_t count() const { return count_.load(std::memory_order_relaxed); }

  // The next copy costs no locked store, the next wait a system call.
  bool is_hot() const { return bias_.load(std::memory_order_relaxed) % kBiases == kHot; }

  // For the port. What it loads after begin() is as new as the last invalidation, or that one waits for it.
  void begin() {
    const std::uint64_t odd = count() + 1;
    count_.store(odd, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (bias_.load(std::memory_order_relaxed) % kBiases != kHot) [[unlikely]]
      begin_cold(odd);
  }
  void end() { count_.store(count() + 1, std::memory_order_release); }
  // An invalidation came between two copies: the count that leads to the hot state starts again.
  void invalidated() { cold_copies_ = 0; }
  // In the child after fork, whose copy of the DMA thread is gone.
  void reset() { count_.store(0, std::memory_order_relaxed); }

  static constexpr unsigned kHotAfter = 64;

 private:
  friend class DmaFence;
  friend class DmaPause;
  static constexpr std::uint64_t kBiases = 4, kCold = 0, kHot = 1, kCooling = 2;

  void begin_cold(std::uint64_t odd);
  void cool();

  std::atomic<std::uint64_t> count_{0}, bias_{kCold};
  unsigned cold_copies_ = 0;  // the port's alone
};

// The ports that one unit, or the memory, has to wait for. Waiting takes no lock and touches one line a port; what a
// port has published stays readable as long as the fence that made it, so that a wait may run beside remove().
class DmaFence {
 public:
  DmaFence() = default;
  ~DmaFence();
  DmaFence(const DmaFence&) = delete;
  DmaFence& operator=(const DmaFence&) = delete;

  // A place for a new port, which is waited for from now on; taken back by discard().
  DmaActivity& create();
  void discard(DmaActivity& activity);
  // Ports of another fence, which outlives this one.
  void add(DmaActivity& activity);
  void remove(DmaActivity& activity);

  // Returns when every copy that was under way has ended. A copy waits for no lock, so that the caller may hold
  // any; from inside an interrupt handler that runs on a DMA thread it is safe too (see DmaPause).
  void wait() const;

  // Can ports of this process turn hot?
  static bool has_system_call();
  // No port of the process turns hot from now on: for programs whose system calls are about to be restricted.
  static void use_no_system_call();

 private:
  struct Chunk {
    std::array<std::atomic<DmaActivity*>, 14> ports{};  // nullptr: free
    std::atomic<std::uint32_t> used{0};                 // the first ones; what is behind was never used
    std::atomic<Chunk*> next{nullptr};
  };
  template <typename Visit>
  void each(Visit visit) const;

  Chunk first_;
  FutexLock mutex_;  // of changes
  std::vector<std::unique_ptr<DmaActivity>> made_ GUARDED_BY(mutex_);
  std::vector<DmaActivity*> unused_ GUARDED_BY(mutex_);
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
