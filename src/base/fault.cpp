// SPDX-License-Identifier: BSD-3-Clause
#include "base/fault.h"

#include <algorithm>
#include <mutex>

namespace softiommu::fault {

namespace {

struct Named {
  std::string point;
  std::uint64_t passes_left;  // 0: each pass fails
  bool strikes() { return passes_left == 0 || --passes_left == 0; }
};

struct Plan {
  std::mutex mutex;
  std::vector<Named> named;
  std::vector<std::string> seen;
};

// Made at first use and never destroyed: points may be passed while the program exits.
Plan& plan() {
  static Plan* const instance = new Plan;
  return *instance;
}

thread_local std::uint64_t countdown = 0;  // 0: nothing armed on this thread
thread_local bool nth_struck = false;

}  // namespace

namespace detail {

constinit std::atomic<bool> armed{false};

bool should_fail(const char* point) noexcept {
  Plan& p = plan();
  {
    std::scoped_lock lock(p.mutex);
    if (std::ranges::find(p.seen, point) == p.seen.end()) p.seen.emplace_back(point);
    for (auto named = p.named.begin(); named != p.named.end(); ++named) {
      if (named->point != point) continue;
      const bool each_time = named->passes_left == 0;
      if (!named->strikes()) continue;
      if (!each_time) p.named.erase(named);
      return true;
    }
  }
  if (countdown == 0 || --countdown != 0) return false;
  nth_struck = true;
  return true;
}

}  // namespace detail

void fail_nth(std::uint64_t nth) {
  countdown = nth;
  nth_struck = false;
  detail::armed.store(true, std::memory_order_relaxed);
}

bool struck() { return nth_struck; }

void fail_point(std::string point, std::uint64_t nth) {
  Plan& p = plan();
  std::scoped_lock lock(p.mutex);
  p.named.push_back({std::move(point), nth});
  detail::armed.store(true, std::memory_order_relaxed);
}

void disarm() {
  Plan& p = plan();
  std::scoped_lock lock(p.mutex);
  p.named.clear();
  p.seen.clear();
  countdown = 0;
  nth_struck = false;
  detail::armed.store(false, std::memory_order_relaxed);
}

std::vector<std::string> seen() {
  Plan& p = plan();
  std::scoped_lock lock(p.mutex);
  return p.seen;
}

}  // namespace softiommu::fault
