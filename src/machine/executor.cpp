// SPDX-License-Identifier: BSD-3-Clause
// Two executors over one list of models: a thread with real time, and a loop with virtual time.
//
// The thread sleeps in a futex with a time limit. wake() may come from a fault handler: it stores a flag, and makes the
// one futex call only when the thread sleeps or is about to. Both sides are seq_cst: either the thread's last look at
// the flags, made after it announced its sleep, sees the flag, or wake() sees the announcement.
#include "machine/executor.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/fault_signals.h"
#include "base/futex_lock.h"
#include "base/log.h"

namespace softiommu {

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kDefaultLatency = 20'000;
constexpr std::uint64_t kWakerRuns = 20'000;  // of its own time, behind the doorbell
constexpr std::size_t kStackBytes = std::size_t{1} << 20;

// Who is due when. Not thread-safe by itself.
class Schedule {
 public:
  struct Due {
    Steppable* model;
    std::uint64_t at;
    std::uint64_t first_wake;  // since its last step
  };

  void add(Steppable& model) { due_.push_back({&model, Steppable::kIdle, Steppable::kIdle}); }
  void remove(Steppable& model) {
    std::erase_if(due_, [&](const Due& due) { return due.model == &model; });
  }
  // Turns wakes into due times. A model that was idle gets the latency after its *last* wake: a driver that writes a
  // few registers and then the doorbell sees it from the doorbell on. Steady writing delays it to a few latencies at
  // most. It counts from the wake, not from when it is seen here: the time that a thread needs to wake up is in it.
  void collect(std::uint64_t latency) {
    constexpr std::uint64_t kMostLatencies = 4;
    for (Due& due : due_) {
      if (!due.model->woken.load(std::memory_order_seq_cst)) continue;
      due.model->woken.store(false, std::memory_order_seq_cst);
      const std::uint64_t wake = due.model->woken_at.load(std::memory_order_relaxed);
      const bool was_idle = due.at == Steppable::kIdle || due.first_wake != Steppable::kIdle;
      if (due.first_wake == Steppable::kIdle && was_idle) due.first_wake = wake;
      if (was_idle)
        due.at = std::min(wake + latency, due.first_wake + kMostLatencies * latency);
      else
        due.at = std::min(due.at, wake + latency);
    }
  }
  void postpone(Steppable& model, std::uint64_t at) {
    for (Due& due : due_) {
      if (due.model == &model) due.at = at;
    }
  }
  // The earliest; in the order of add() among equals, so that a virtual run can be repeated.
  Due next() const {
    const auto first = std::ranges::min_element(due_, {}, &Due::at);
    return first == due_.end() ? Due{nullptr, Steppable::kIdle, Steppable::kIdle} : *first;
  }
  void set(Steppable& model, std::uint64_t at) {
    for (Due& due : due_) {
      if (due.model == &model) due = {&model, at, Steppable::kIdle};
    }
  }
  bool any_woken() const {
    return std::ranges::any_of(due_, [](const Due& due) { return due.model->woken.load(std::memory_order_seq_cst); });
  }

 private:
  std::vector<Due> due_;
};

std::uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

// Processor time that a thread of this process has used; 0: there is no such thread.
std::uint64_t cpu_ns(int thread) {
  const clockid_t clock =
      thread == 0 ? CLOCK_THREAD_CPUTIME_ID : static_cast<clockid_t>(~static_cast<unsigned>(thread) << 3 | 6);
  timespec used{};
  if (syscall(SYS_clock_gettime, clock, &used) != 0) return 0;
  return static_cast<std::uint64_t>(used.tv_sec) * kSecond + static_cast<std::uint64_t>(used.tv_nsec);
}

// Is the thread runnable (rather than asleep)? False where that cannot be told.
bool is_runnable(int thread) {
  char path[64], text[256];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
  const auto file = static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0));
  if (file < 0) return false;
  const long got = syscall(SYS_read, file, text, sizeof text - 1);
  syscall(SYS_close, file);
  if (got <= 0) return false;
  text[got] = '\0';
  const char* const name_end = std::strrchr(text, ')');  // "TID (name) STATE ..."
  return name_end != nullptr && name_end + 2 < text + got && name_end[2] == 'R';
}

thread_local const Executor* on_worker = nullptr;  // whose thread this is

class RealTime final : public Executor {
 public:
  ~RealTime() override { RealTime::stop(); }

  void add(Steppable& model) override {
    {
      const FutexGuard guard(lock_);
      schedule_.add(model);
    }
    rouse();  // it may have been woken before it was added
  }

  void remove(Steppable& model) override {
    {
      const FutexGuard guard(lock_);
      schedule_.remove(model);
    }
    if (on_worker == this) return;  // from within its own step
    while (running_.load(std::memory_order_acquire) == &model) sched_yield();
  }

  void wake(Steppable& model) override {
    const bool by_itself = on_worker == this;
    model.waker_cpu_ns.store(by_itself ? 0 : cpu_ns(0), std::memory_order_relaxed);
    model.waker.store(by_itself ? 0 : static_cast<int>(syscall(SYS_gettid)), std::memory_order_relaxed);
    model.woken_at.store(now_ns(), std::memory_order_relaxed);
    model.woken.store(true, std::memory_order_seq_cst);
    rouse();
  }

  void set_latency(std::uint64_t ns) override { latency_.store(ns, std::memory_order_relaxed); }

  void start() override {
    const FutexGuard guard(start_lock_);
    if (thread_running_) return;
    stop_.store(false, std::memory_order_relaxed);
    thread_running_ = create_thread();
    if (!thread_running_) log::error("softiommu: devices do not run: no thread could be created");
  }

  void stop() override {
    const FutexGuard guard(start_lock_);
    if (!thread_running_) return;
    stop_.store(true, std::memory_order_seq_cst);
    rouse();
    pthread_join(thread_, nullptr);
    thread_running_ = false;
  }

  std::uint64_t run(std::uint64_t) override { return now_ns(); }  // time runs by itself
  std::uint64_t now_ns() const override { return monotonic_ns(); }

  void forget_thread() override {
    thread_running_ = false;
    running_.store(nullptr, std::memory_order_relaxed);
    sleeping_.store(0, std::memory_order_relaxed);
    lock_.reset();
    start_lock_.reset();
  }

 private:
  bool create_thread() {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return false;
    pthread_attr_setstacksize(&attributes, kStackBytes);
    const sigset_t blocked = all_but_faults();
    sigset_t before;
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    const auto entry = [](void* self) -> void* {
      static_cast<RealTime*>(self)->loop();
      return nullptr;
    };
    const bool created = pthread_create(&thread_, &attributes, entry, this) == 0;
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&attributes);
    return created;
  }

  void rouse() {
    if (sleeping_.load(std::memory_order_seq_cst) == 0) return;
    if (sleeping_.exchange(0, std::memory_order_seq_cst) != 0) futex(FUTEX_WAKE_PRIVATE, 1, nullptr);
  }

  void loop() {
    on_worker = this;
    prctl(PR_SET_NAME, "softiommu-dev");
    prctl(PR_SET_TIMERSLACK, 1);  // the default slack of 50 us is longer than the latency
    while (!stop_.load(std::memory_order_seq_cst)) {
      const Schedule::Due next = begin_step();
      if (next.model != nullptr) {
        end_step(*next.model, next.model->step(now_ns()));
      } else {
        sleep_until(next.at);
      }
    }
  }

  // The model to step now (marked as running), else nullptr and when to look again.
  Schedule::Due begin_step() {
    const FutexGuard guard(lock_);
    const std::uint64_t now = now_ns();
    schedule_.collect(latency_.load(std::memory_order_relaxed));
    const Schedule::Due next = schedule_.next();
    if (next.at == Steppable::kIdle || next.at > now) return {nullptr, next.at, Steppable::kIdle};
    if (next.first_wake != Steppable::kIdle && waker_is_behind(*next.model, now - next.first_wake)) {
      schedule_.postpone(*next.model, now + kWakerRuns);
      return {nullptr, now + kWakerRuns, Steppable::kIdle};
    }
    schedule_.set(*next.model, Steppable::kIdle);
    running_.store(next.model, std::memory_order_release);
    return next;
  }

  // The thread that woke the model wants to run and has not been able to since.
  bool waker_is_behind(const Steppable& model, std::uint64_t waited) const {
    constexpr std::uint64_t kPatience = 50'000'000;
    const int waker = model.waker.load(std::memory_order_relaxed);
    if (waker == 0 || waited >= kPatience || latency_.load(std::memory_order_relaxed) == 0) return false;
    const std::uint64_t used = cpu_ns(waker);
    return used != 0 && used - model.waker_cpu_ns.load(std::memory_order_relaxed) < kWakerRuns && is_runnable(waker);
  }

  void end_step(Steppable& model, std::uint64_t next_due) {
    const FutexGuard guard(lock_);
    schedule_.set(model, next_due);
    running_.store(nullptr, std::memory_order_release);
  }

  void sleep_until(std::uint64_t at) {
    sleeping_.store(1, std::memory_order_seq_cst);
    bool needed;
    {
      const FutexGuard guard(lock_);
      needed = schedule_.any_woken() || schedule_.next().at < at || stop_.load(std::memory_order_seq_cst);
    }
    const std::uint64_t now = now_ns();
    if (!needed && at > now) {
      const std::uint64_t left = at - now;
      const timespec limit{static_cast<time_t>(left / kSecond), static_cast<long>(left % kSecond)};
      futex(FUTEX_WAIT_PRIVATE, 1, at == Steppable::kIdle ? nullptr : &limit);
    }
    sleeping_.store(0, std::memory_order_seq_cst);
  }

  void futex(int operation, std::uint32_t value, const timespec* limit) {
    syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&sleeping_), operation, value, limit);
  }

  FutexLock lock_;
  Schedule schedule_ GUARDED_BY(lock_);
  std::atomic<Steppable*> running_{nullptr};
  std::atomic<std::uint32_t> sleeping_{0};  // 1: the thread sleeps, or looks a last time before it does
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> latency_{kDefaultLatency};
  FutexLock start_lock_;
  bool thread_running_ = false;  // changed by start(), the destructor and forget_thread() only
  pthread_t thread_{};
};

class VirtualTime final : public Executor {
 public:
  void add(Steppable& model) override { schedule_.add(model); }
  void remove(Steppable& model) override { schedule_.remove(model); }
  void wake(Steppable& model) override {
    model.woken_at.store(now_ns(), std::memory_order_relaxed);
    model.woken.store(true, std::memory_order_seq_cst);
  }
  void set_latency(std::uint64_t ns) override { latency_ = ns; }
  void start() override {}
  void stop() override {}
  std::uint64_t now_ns() const override { return now_.load(std::memory_order_relaxed); }
  void forget_thread() override {}

  std::uint64_t run(std::uint64_t until_ns) override {
    for (;;) {
      schedule_.collect(latency_);
      const Schedule::Due next = schedule_.next();
      if (next.at == Steppable::kIdle || next.at > until_ns) break;
      advance_to(next.at);
      schedule_.set(*next.model, Steppable::kIdle);
      // A model that is due again at once still lets time pass, so that a limit is always reached.
      schedule_.set(*next.model, std::max(next.model->step(now_ns()), now_ns() + 1));
    }
    if (until_ns != Steppable::kIdle) advance_to(until_ns);
    return now_ns();
  }

 private:
  void advance_to(std::uint64_t ns) { now_.store(std::max(now_ns(), ns), std::memory_order_relaxed); }

  Schedule schedule_;
  std::atomic<std::uint64_t> now_{0};  // other threads wake models while one runs them
  std::uint64_t latency_ = kDefaultLatency;
};

}  // namespace

Result<std::unique_ptr<Executor>> Executor::create(Time time) {
  return without_throwing([&]() -> Result<std::unique_ptr<Executor>> {
    if (time == Time::real) return std::make_unique<RealTime>();
    return std::make_unique<VirtualTime>();
  });
}

}  // namespace softiommu
