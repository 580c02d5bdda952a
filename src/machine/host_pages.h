// SPDX-License-Identifier: BSD-3-Clause
// Host address space for the machine's memory: reserved arrays, and the hidden place of pages that moved aside.
//
// The mapping calls are raw system calls: in the product the C library's are interposed by our own shim.
#pragma once

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <map>

#include "base/result.h"
#include "base/types.h"

namespace softiommu {

inline void* raw_mmap(void* at, std::uint64_t bytes, int prot, int flags) {
  const long got = syscall(SYS_mmap, at, bytes, prot, flags, -1, 0L);
  return got == -1 ? nullptr : reinterpret_cast<void*>(got);  // -1 is never page-aligned
}
inline bool raw_munmap(std::uint64_t at, std::uint64_t bytes) { return syscall(SYS_munmap, at, bytes) == 0; }

// Address space (without access) that begins at the same place within `unit` as `like`; 0: there is none.
inline std::uint64_t reserve_congruent(std::uint64_t like, std::uint64_t bytes, std::uint64_t unit) {
  void* got = raw_mmap(nullptr, bytes + unit, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  if (got == nullptr) return 0;
  const auto start = reinterpret_cast<std::uint64_t>(got);
  const std::uint64_t lead = (like - start) % unit;
  if (lead != 0) raw_munmap(start, lead);
  raw_munmap(start + lead + bytes, unit - lead);
  return start + lead;
}

// Zeroed memory that appears on first touch.
template <typename T>
class Reserved {
 public:
  Reserved() = default;
  ~Reserved() {
    if (first_ != nullptr) raw_munmap(reinterpret_cast<std::uint64_t>(first_), bytes_);
  }
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;

  Result<> reserve(std::uint64_t count) {
    bytes_ = align_down(count * sizeof(T) + kPageSize - 1, kPageSize);
    first_ =
        static_cast<T*>(raw_mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE));
    if (first_ == nullptr) return fail(ENOMEM, "no address space for the machine's memory");
    return {};
  }
  T* get() const { return first_; }
  std::uint64_t bytes() const { return bytes_; }
  T& operator[](std::uint64_t i) const { return first_[i]; }

 private:
  T* first_ = nullptr;
  std::uint64_t bytes_ = 0;
};

// Gives hidden pages back. The host refuses a part of a huge page; such parts are kept until the whole is free.
class HiddenPages {
 public:
  // Address space at the same place within 2 MiB (1 GiB, where that much moves), as huge pages need it.
  static std::uint64_t reserve(std::uint64_t user, std::uint64_t bytes) {
    return reserve_congruent(user, bytes, bytes >= kHugest ? kHugest : kHuge);
  }

  void give_back(std::uint64_t first, std::uint64_t bytes) {
    if (raw_munmap(first, bytes)) return;
    std::uint64_t last_end = first + bytes;
    auto after = held_.lower_bound(first);
    if (after != held_.end() && after->first == last_end) {
      last_end = after->second;
      after = held_.erase(after);
    }
    if (after != held_.begin() && std::prev(after)->second == first) {
      first = std::prev(after)->first;
      held_.erase(std::prev(after));
    }
    for (const std::uint64_t unit : {kHugest, kHuge}) {
      const std::uint64_t inner = align_down(first + unit - 1, unit), inner_end = align_down(last_end, unit);
      if (inner >= inner_end || !raw_munmap(inner, inner_end - inner)) continue;
      if (inner_end < last_end) held_[inner_end] = last_end;
      last_end = inner;
      break;
    }
    if (first < last_end) held_[first] = last_end;
  }

 private:
  static constexpr std::uint64_t kHugest = std::uint64_t{1} << 30, kHuge = std::uint64_t{1} << 21;
  std::map<std::uint64_t, std::uint64_t> held_;  // first → end
};

// Pinned pages that the program has moved: the address where it sees each now → the number of the physical page.
class RelocatedPages {
 public:
  bool empty() const { return pages_.empty(); }
  const std::uint64_t* find(std::uint64_t at) const {
    if (pages_.empty()) return nullptr;
    const auto found = pages_.find(at);
    return found == pages_.end() ? nullptr : &found->second;
  }
  // The first one at or above `at`; the end of the address space if there is none.
  std::uint64_t next(std::uint64_t at) const {
    const auto found = pages_.lower_bound(at);
    return found == pages_.end() ? ~std::uint64_t{0} : found->first;
  }
  bool any(std::uint64_t first, std::uint64_t end) const { return !pages_.empty() && next(first) < end; }
  // Allocates nothing.
  void add(std::map<std::uint64_t, std::uint64_t>&& pages) { pages_.merge(pages); }
  void forget(std::uint64_t first, std::uint64_t end) {
    pages_.erase(pages_.lower_bound(first), pages_.lower_bound(end));
  }

 private:
  std::map<std::uint64_t, std::uint64_t> pages_;
};

}  // namespace softiommu
