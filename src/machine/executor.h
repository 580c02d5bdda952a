// SPDX-License-Identifier: BSD-3-Clause
// Devices are asynchronous and own no thread: a model is a step function with a next-due time, and one executor
// runs all of them: in real time on a thread of its own, or by hand with virtual time for library tests.
//
// The thread blocks every signal but those of its own faults (a guarded copy needs them). wake() may be called from a
// fault handler: it stores and makes one futex call.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"

namespace softiommu {

// A device model, as the executor sees it.
class Steppable {
 public:
  static constexpr std::uint64_t kIdle = ~std::uint64_t{0};
  virtual ~Steppable() = default;
  // Does what is due at `now_ns` and returns when to be called next (kIdle: after a wake only). Runs DMA; never
  // called with a lock held.
  virtual std::uint64_t step(std::uint64_t now_ns) = 0;

  // Set by wake(), cleared by the executor before step().
  std::atomic<bool> woken{false};
  // When wake() was called last.
  std::atomic<std::uint64_t> woken_at{0};
  // The thread that called wake() last, and the processor time that it had used then (real time only).
  std::atomic<int> waker{0};
  std::atomic<std::uint64_t> waker_cpu_ns{0};
};

class Executor {
 public:
  enum class Time : std::uint8_t { real, virtual_time };
  static Result<std::unique_ptr<Executor>> create(Time time);
  virtual ~Executor() = default;

  virtual void add(Steppable& model) = 0;
  virtual void remove(Steppable& model) = 0;  // returns when no step of it is running
  // Something happened (a doorbell): step it soon, after the settable latency.
  virtual void wake(Steppable& model) = 0;
  virtual void set_latency(std::uint64_t ns) = 0;

  // Real time: starts the thread on the first call (lazily, so that an idle machine has none).
  virtual void start() = 0;
  // Real time: the thread ends after its present step, until start() is called again.
  virtual void stop() = 0;
  // Virtual time: runs everything that is due or woken until all are idle or `until_ns` is reached; returns now, which
  // is `until_ns` if one was given. Real time: only says what the time is.
  virtual std::uint64_t run(std::uint64_t until_ns = ~std::uint64_t{0}) = 0;
  virtual std::uint64_t now_ns() const = 0;
  // After fork in the child: forget the thread (only the owner's process runs devices).
  virtual void forget_thread() = 0;
};

}  // namespace softiommu
