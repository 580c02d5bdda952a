// SPDX-License-Identifier: BSD-3-Clause
#include "machine/dma_fence.h"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <utility>

namespace softiommu {

namespace {

#if defined(__SANITIZE_THREAD__)
#define SOFTIOMMU_SYMMETRIC_FENCE
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SOFTIOMMU_SYMMETRIC_FENCE
#endif
#endif
#if defined(SOFTIOMMU_SYMMETRIC_FENCE)
constexpr bool kCanBeHot = false;
#else
constexpr bool kCanBeHot = true;
#endif

enum class Support : std::uint8_t { unknown, there, missing };
std::atomic<Support> membarrier{kCanBeHot ? Support::unknown : Support::missing};

bool membarrier_call(int command) { return syscall(SYS_membarrier, command, 0, 0) == 0; }

// Where other threads run already, the first registration takes some milliseconds.
bool membarrier_works() {
  Support known = membarrier.load(std::memory_order_acquire);
  if (known != Support::unknown) return known == Support::there;
  const bool works = membarrier_call(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
  const Support found = works ? Support::there : Support::missing;
  return membarrier.compare_exchange_strong(known, found) ? works : known == Support::there;
}

// Every thread of the process executes a full barrier before this returns.
void barrier() {
  if (membarrier.load(std::memory_order_acquire) == Support::there) {
    if (membarrier_call(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) return;
    const bool registered = membarrier_call(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    if (registered && membarrier_call(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) return;
  }
  membarrier.store(Support::missing, std::memory_order_release);
  constexpr timespec kMillisecond{0, 1'000'000};
  nanosleep(&kMillisecond, nullptr);
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void wait_while_odd(const std::atomic<std::uint64_t>& count) {
  // A copy of 4 KiB takes some hundred pauses at most; beyond that its thread is not running.
  constexpr unsigned kSpins = 1000;
  const std::uint64_t seen = count.load(std::memory_order_seq_cst);
  if (seen % 2 == 0) return;
  for (unsigned spin = 0; count.load(std::memory_order_acquire) == seen; ++spin) {
    if (spin < kSpins) {
      relax();
    } else {
      sched_yield();
    }
  }
}

thread_local DmaActivity* walking = nullptr;

}  // namespace

// ---- what a port publishes

void DmaActivity::begin_cold(std::uint64_t odd) {
  if (kCanBeHot && ++cold_copies_ >= kHotAfter) {
    cold_copies_ = 0;
    count_.store(odd - 1, std::memory_order_release);  // the first question takes time: nobody shall wait for it
    std::uint64_t cold = bias_.load(std::memory_order_relaxed);
    if (cold % kBiases == kCold && membarrier_works())
      bias_.compare_exchange_strong(cold, cold + kHot, std::memory_order_seq_cst);
  }
  count_.store(odd, std::memory_order_seq_cst);
}

// ---- who is waited for

DmaFence::~DmaFence() {
  Chunk* next = first_.next.load(std::memory_order_relaxed);
  while (next != nullptr) delete std::exchange(next, next->next.load(std::memory_order_relaxed));
}

DmaActivity& DmaFence::create() {
  DmaActivity* place = nullptr;
  {
    const FutexGuard lock(mutex_);
    if (unused_.empty()) {
      made_.push_back(std::make_unique<DmaActivity>());
      unused_.reserve(made_.size());  // discard() cannot fail
      unused_.push_back(made_.back().get());
    }
    place = unused_.back();
    unused_.pop_back();
  }
  add(*place);
  return *place;
}

void DmaFence::discard(DmaActivity& activity) {
  remove(activity);
  const FutexGuard lock(mutex_);
  unused_.push_back(&activity);
}

// A port's first begin() is cold: a wait that does not see the new entry has bumped the generation before.
void DmaFence::add(DmaActivity& activity) {
  const FutexGuard lock(mutex_);
  for (Chunk* chunk = &first_;;) {
    const std::uint32_t used = chunk->used.load(std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < chunk->ports.size(); ++i) {
      if (i < used && chunk->ports[i].load(std::memory_order_relaxed) != nullptr) continue;
      chunk->ports[i].store(&activity, std::memory_order_seq_cst);
      if (i == used) chunk->used.store(used + 1, std::memory_order_seq_cst);
      return;
    }
    Chunk* next = chunk->next.load(std::memory_order_relaxed);
    if (next == nullptr) {
      next = new Chunk;
      chunk->next.store(next, std::memory_order_seq_cst);
    }
    chunk = next;
  }
}

void DmaFence::remove(DmaActivity& activity) {
  const FutexGuard lock(mutex_);
  for (Chunk* chunk = &first_; chunk != nullptr; chunk = chunk->next.load(std::memory_order_relaxed)) {
    for (auto& port : chunk->ports) {
      if (port.load(std::memory_order_relaxed) == &activity) port.store(nullptr, std::memory_order_seq_cst);
    }
  }
}

template <typename Visit>
inline void DmaFence::each(Visit visit) const {
  for (const Chunk* chunk = &first_; chunk != nullptr; chunk = chunk->next.load(std::memory_order_seq_cst)) {
    const std::uint32_t used = chunk->used.load(std::memory_order_seq_cst);
    for (std::uint32_t i = 0; i < used; ++i) {
      if (DmaActivity* port = chunk->ports[i].load(std::memory_order_seq_cst)) visit(*port);
    }
  }
}

// ---- waiting

void DmaFence::wait() const {
  each([](DmaActivity& port) {
    if (port.bias_.load(std::memory_order_seq_cst) % DmaActivity::kBiases != DmaActivity::kCold) [[unlikely]]
      port.cool();
    wait_while_odd(port.count_);
  });
}

// Makes a hot port cold. Beside another thread that does the same, each has its own barrier; the exact value that was
// seen before it says whether the state is still the one that it covers.
void DmaActivity::cool() {
  std::uint64_t seen = bias_.load(std::memory_order_seq_cst);
  if (seen % kBiases == kHot && bias_.compare_exchange_strong(seen, seen - kHot + kCooling)) seen += kCooling - kHot;
  if (seen % kBiases != kCooling) return;  // another thread has ended it, or it has begun since: see the header
  barrier();
  bias_.compare_exchange_strong(seen, seen - kCooling + kBiases, std::memory_order_seq_cst);
}

bool DmaFence::has_system_call() { return membarrier_works(); }
void DmaFence::use_no_system_call() { membarrier.store(Support::missing, std::memory_order_release); }

// ---- interrupts in the middle of a copy

DmaWalk::DmaWalk(DmaActivity& activity) : outer_(std::exchange(walking, &activity)) {}
DmaWalk::~DmaWalk() { walking = outer_; }

DmaPause::DmaPause() : paused_(std::exchange(walking, nullptr)) {
  if (paused_ != nullptr) paused_->count_.fetch_add(1, std::memory_order_release);
}
DmaPause::~DmaPause() {
  if (paused_ != nullptr) paused_->count_.fetch_add(1, std::memory_order_seq_cst);
  walking = paused_;
}

}  // namespace softiommu
