// SPDX-License-Identifier: BSD-3-Clause
// The oracle of the format suite: pages in a std::map, split one at a time in the most plain way there is.
#pragma once

#include <map>
#include <optional>

#include "base/types.h"

namespace softiommu::pt {

class PlainMap {
 public:
  struct Page {
    std::uint64_t pa, bytes;
    Prot prot;
  };

  explicit PlainMap(std::uint64_t page_sizes) : page_sizes_(page_sizes) {}

  bool is_free(std::uint64_t first, std::uint64_t bytes) const {
    auto next = pages_.lower_bound(first + bytes);
    return next == pages_.begin() || std::prev(next)->first + std::prev(next)->second.bytes <= first;
  }

  bool map(std::uint64_t iova, std::uint64_t pa, std::uint64_t bytes, Prot prot) {
    if (!is_free(iova, bytes)) return false;
    for (const std::uint64_t end = iova + bytes; iova < end;) {
      const std::uint64_t page = best_page(iova, pa, end - iova);
      pages_[iova] = {pa, page, prot};
      iova += page;
      pa += page;
    }
    return true;
  }

  std::uint64_t unmap(std::uint64_t iova, std::uint64_t bytes) {
    std::uint64_t unmapped = 0;
    auto at = pages_.upper_bound(iova);
    if (at != pages_.begin() && std::prev(at)->first + std::prev(at)->second.bytes > iova) --at;
    while (at != pages_.end() && at->first < iova + bytes) {
      unmapped += at->second.bytes;
      at = pages_.erase(at);
    }
    return unmapped;
  }

  std::optional<std::uint64_t> find(std::uint64_t iova) const {
    auto at = pages_.upper_bound(iova);
    if (at == pages_.begin()) return std::nullopt;
    --at;
    if (iova - at->first >= at->second.bytes) return std::nullopt;
    return at->second.pa + (iova - at->first);
  }

  const std::map<std::uint64_t, Page>& pages() const { return pages_; }

 private:
  std::uint64_t best_page(std::uint64_t iova, std::uint64_t pa, std::uint64_t left) const {
    std::uint64_t best = kPageSize;
    for (std::uint64_t size = kPageSize; size <= left; size *= 2)
      if ((page_sizes_ & size) != 0 && iova % size == 0 && pa % size == 0) best = size;
    return best;
  }

  std::uint64_t page_sizes_;
  std::map<std::uint64_t, Page> pages_;
};

}  // namespace softiommu::pt
