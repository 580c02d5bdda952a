// SPDX-License-Identifier: BSD-3-Clause
// Named fault points: every fallible step passes one, so that tests can fail each in turn.
//
//   TRY(fault::pass("intel.context_table"));         ENOMEM when this step is told to fail
//
// A point costs one predicted branch while nothing is armed. Points are per process; the nth counter is
// per thread, as in the kernel's fail-nth.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace softiommu::fault {

namespace detail {
extern constinit std::atomic<bool> armed;
bool should_fail(const char* point) noexcept;
}  // namespace detail

// ENOMEM if this point is told to fail now, else success.
inline Result<> pass(const char* point) {
  if (detail::armed.load(std::memory_order_relaxed)) [[unlikely]] {
    if (detail::should_fail(point)) return fail(ENOMEM, "injected fault");
  }
  return {};
}

// The nth point (1 = the next one) that this thread passes fails, once.
void fail_nth(std::uint64_t nth);
// True when the armed fail_nth has struck since it was armed.
bool struck();
// Every point whose name equals `point` fails while armed; with `nth` > 0 only its nth pass (1 = the next one).
void fail_point(std::string point, std::uint64_t nth = 0);
void disarm();
// Names of the points passed while armed, in order of first passing.
std::vector<std::string> seen();

}  // namespace softiommu::fault
