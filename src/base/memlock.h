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

// What one process (or, in iommufd's default mode, one user) has pinned, in pages; a limit is the caller's, who knows
// which one applies.
class LockedMemory {
 public:
  LockedMemory() = default;
  LockedMemory(const LockedMemory&) = delete;
  LockedMemory& operator=(const LockedMemory&) = delete;

  // Counts `pages` more against the limit (VmLck). ENOMEM: it would be exceeded (nothing is counted then).
  Result<> charge(std::uint64_t pages, const MemlockLimit& limit) {
    const std::uint64_t before = std::atomic_ref(*pages_).fetch_add(pages, std::memory_order_relaxed);
    if (limit.kind == MemlockLimit::Kind::unlimited) [[likely]]
      return {};
    return check(limit, before, pages);
  }
  void uncharge(std::uint64_t pages) { std::atomic_ref(*pages_).fetch_sub(pages, std::memory_order_relaxed); }
  std::uint64_t pages() const { return std::atomic_ref(*pages_).load(std::memory_order_relaxed); }

  // Pages that an iommufd pinned, whatever limit they count against (VmPin).
  void pin(std::uint64_t pages) { std::atomic_ref(*pinned_).fetch_add(pages, std::memory_order_relaxed); }
  void unpin(std::uint64_t pages) { std::atomic_ref(*pinned_).fetch_sub(pages, std::memory_order_relaxed); }

  // It is counted at these places from now on, which others read. Before anything else uses it.
  void publish(std::uint64_t* pages, std::uint64_t* pinned) {
    *pages = own_pages_;
    *pinned = own_pinned_;
    pages_ = pages;
    pinned_ = pinned;
  }
  // Counted here again, from zero: in a child of fork.
  void reset() {
    own_pages_ = own_pinned_ = 0;
    pages_ = &own_pages_;
    pinned_ = &own_pinned_;
  }
  std::uint64_t pinned() const { return std::atomic_ref(*pinned_).load(std::memory_order_relaxed); }

 private:
  Result<> check(const MemlockLimit& limit, std::uint64_t before, std::uint64_t pages);

  std::uint64_t own_pages_ = 0, own_pinned_ = 0;
  std::uint64_t *pages_ = &own_pages_, *pinned_ = &own_pinned_;
};

}  // namespace softiommu
