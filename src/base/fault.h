// SPDX-License-Identifier: BSD-3-Clause
// Named fault points: every fallible step passes one, so that tests and `softiommu run --fail` can fail each in turn.
//
//   TRY(fault::pass("intel.context_table"));           ENOMEM when this step is told to fail
//   TRY(fault::pass("program.copy_in", EFAULT));
//
// A point costs one predicted branch while nothing is armed. What may be armed, all at once:
//   - a thread's countdown, as the kernel's fail-nth: the nth point that this thread passes fails, once;
//   - rules of the process (add_rule), which look only at points passed within a Call;
//   - for tests, a point by name.
// Nothing here allocates or locks while points are passed: the heap itself is a point. docs/faults.md lists them all.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace softiommu::fault {

// The allocation of memory (operator new); strikes only within a Call, where it becomes ENOMEM.
inline constexpr const char* kHeap = "heap.new";

namespace detail {
[[gnu::visibility("hidden")]] extern constinit std::atomic<bool> armed;  // read without a table of addresses
bool should_fail(const char* point) noexcept;
bool heap_should_fail() noexcept;
void enter_call() noexcept;
void leave_call() noexcept;
void pause() noexcept;
void resume() noexcept;
inline bool is_armed() noexcept { return armed.load(std::memory_order_relaxed); }
}  // namespace detail

// Is anything armed at all?
inline bool armed() noexcept { return detail::is_armed(); }

// True if this point is told to fail now.
inline bool strikes(const char* point) noexcept {
  if (detail::is_armed()) [[unlikely]]
    return detail::should_fail(point);
  return false;
}

// `code` if this point is told to fail now, else success.
inline Result<> pass(const char* point, int code = ENOMEM) {
  if (strikes(point)) [[unlikely]]
    return fail(code, "injected fault");
  return {};
}

// For a program's operator new: true if it shall throw std::bad_alloc (or answer nullptr) now.
inline bool heap_strikes() noexcept {
  if (detail::is_armed()) [[unlikely]]
    return detail::heap_should_fail();
  return false;
}

// A call on one of our files: it answers for every failure on the way, that of the heap included.
class Call {
 public:
  Call() noexcept : counted_(detail::is_armed()) {
    if (counted_) [[unlikely]]
      detail::enter_call();
  }
  ~Call() {
    if (counted_) [[unlikely]]
      detail::leave_call();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 private:
  const bool counted_;
};

// While it lives, points of this thread neither count nor fail: for steps that are not the call's own.
class Paused {
 public:
  Paused() noexcept : counted_(detail::is_armed()) {
    if (counted_) [[unlikely]]
      detail::pause();
  }
  ~Paused() {
    if (counted_) [[unlikely]]
      detail::resume();
  }
  Paused(const Paused&) = delete;
  Paused& operator=(const Paused&) = delete;

 private:
  const bool counted_;
};

// The nth point (1 = the next one) that this thread passes fails, once; 0: none.
void fail_nth(std::uint64_t nth);
// True when the armed fail_nth has struck since it was armed.
bool struck();

// The same for any thread of the process, as /proc/self/task/N/fail-nth shows it: how many points are left, 0 when it
// struck or none was armed. ENOMEM: countdowns of too many threads (64) are armed.
Result<> arm_thread(pid_t thread, std::uint64_t nth);
std::uint64_t left_of_thread(pid_t thread);

// One rule for the whole process, as the launcher's --fail takes it. Rules see what is passed within Calls:
//   nth=K                                 the Kth point of the process fails, once
//   point=GLOB[,probability=P][,seed=S]   points whose name matches (* and ?) fail, each with probability P (1)
//   list                                  nothing fails; points are counted, as with every rule
// EINVAL: not a rule; ENOSPC: more than 16.
Result<> add_rule(std::string_view text);
// Is it one? For the command line.
Result<> check_rule(std::string_view text);

// Every point whose name equals `point` fails while armed, within a Call or not; with `nth` > 0 only its nth pass.
void fail_point(std::string_view point, std::uint64_t nth = 0);

// Ends all of the above and forgets what was passed. No other thread may pass a point meanwhile.
void disarm();

struct Passed {
  std::string point;
  std::uint64_t passes, failures;
};
// The points passed while armed, in order of first passing.
std::vector<Passed> passed();
std::vector<std::string> seen();  // their names

}  // namespace softiommu::fault
