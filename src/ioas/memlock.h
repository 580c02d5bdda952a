// SPDX-License-Identifier: BSD-3-Clause
// How much memory a program may pin (`--memlock unlimited|rlimit|SIZE`), and how much it has pinned.
//
// Pages are counted as type1 counts them: each page of each area, also when two areas share a page. The count is
// always kept; only the limit is optional.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace softiommu {

struct MemlockLimit {
  enum class Kind : std::uint8_t {
    unlimited,
    rlimit,  // the process's RLIMIT_MEMLOCK, read anew at each charge as the kernel does
    bytes,
  };
  Kind kind = Kind::unlimited;
  std::uint64_t bytes = 0;

  // "unlimited", "rlimit", or a size: digits with an optional K, M, G or T. EINVAL: none of these.
  static Result<MemlockLimit> parse(std::string_view text);
};

class LockedMemory {
 public:
  explicit LockedMemory(MemlockLimit limit = {}) : limit_(limit) {}

  // Counts `pages` more. ENOMEM: the limit would be exceeded (nothing is counted then).
  Result<> charge(std::uint64_t pages) {
    const std::uint64_t before = pages_.fetch_add(pages, std::memory_order_relaxed);
    if (limit_.kind == MemlockLimit::Kind::unlimited) [[likely]]
      return {};
    return check_limit(before, pages);
  }
  void uncharge(std::uint64_t pages) { pages_.fetch_sub(pages, std::memory_order_relaxed); }
  std::uint64_t pages() const { return pages_.load(std::memory_order_relaxed); }

 private:
  Result<> check_limit(std::uint64_t before, std::uint64_t pages);
  std::uint64_t limit_pages() const;
  MemlockLimit limit_;
  std::atomic<std::uint64_t> pages_{0};
};

}  // namespace softiommu
