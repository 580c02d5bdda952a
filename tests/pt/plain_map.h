// SPDX-License-Identifier: BSD-3-Clause
// The oracle of the format suite: pages in a std::map, handled one at a time in the most plain way there is. Addresses
// count from the start of the aperture; ranges are closed.
#pragma once

#include <iterator>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/types.h"

namespace softiommu::pt {

class PlainMap {
 public:
  struct Page {
    std::uint64_t pa, bytes;
    Prot prot;
    bool dirty = false;
  };
  using Pages = std::map<std::uint64_t, Page>;
  using Runs = std::vector<std::pair<std::uint64_t, std::uint64_t>>;  // first, last

  // `table_spans`: what an entry of each level above the leaves maps.
  PlainMap(std::uint64_t page_sizes, std::vector<std::uint64_t> table_spans)
      : page_sizes_(page_sizes), smallest_(page_sizes & (~page_sizes + 1)), table_spans_(std::move(table_spans)) {}

  bool is_free(std::uint64_t first, std::uint64_t last) const {
    const auto next = pages_.upper_bound(last);
    return next == pages_.begin() || last_of(*std::prev(next)) < first;
  }

  bool map(std::uint64_t iova, std::uint64_t pa, std::uint64_t bytes, Prot prot) {
    if (!is_free(iova, iova + (bytes - 1))) return false;
    while (bytes > 0) {
      const std::uint64_t page = best_page(iova, pa, bytes);
      pages_[iova] = {pa, page, prot};
      iova += page;
      pa += page;
      bytes -= page;
    }
    return true;
  }

  std::uint64_t unmap(std::uint64_t first, std::uint64_t last) {
    std::uint64_t unmapped = 0;
    for (auto at = first_overlap(first); at != pages_.end() && at->first <= last;) {
      unmapped += at->second.bytes;
      at = pages_.erase(at);
    }
    return unmapped;
  }

  std::optional<std::uint64_t> find(std::uint64_t iova) const {
    const auto at = page_of(iova);
    if (at == pages_.end()) return std::nullopt;
    return at->second.pa + (iova - at->first);
  }
  void make_dirty(std::uint64_t iova) {
    const auto at = page_of(iova);
    if (at != pages_.end()) pages_[at->first].dirty = true;
  }

  Runs read_dirty(std::uint64_t first, std::uint64_t last, bool clear) {
    Runs runs;
    for (auto at = first_overlap(first); at != pages_.end() && at->first <= last; ++at) {
      if (!at->second.dirty) continue;
      const std::uint64_t from = std::max(first, at->first), to = std::min(last, last_of(*at));
      if (!runs.empty() && runs.back().second + 1 == from) {
        runs.back().second = to;
      } else {
        runs.emplace_back(from, to);
      }
      if (clear && at->first >= first && last_of(*at) <= last) at->second.dirty = false;
    }
    return runs;
  }

  // Pages that cut() would make.
  std::uint64_t pieces(std::uint64_t first, std::uint64_t last) const {
    std::uint64_t count = 0;
    for (auto at = first_overlap(first); at != pages_.end() && at->first <= last; ++at)
      count += at->second.bytes / smallest_;
    return count;
  }
  void cut(std::uint64_t first, std::uint64_t last) {
    std::vector<std::pair<std::uint64_t, Page>> large;
    for (auto at = first_overlap(first); at != pages_.end() && at->first <= last; ++at)
      if (at->second.bytes > smallest_) large.emplace_back(*at);
    for (const auto& [iova, page] : large)
      for (std::uint64_t offset = 0; offset < page.bytes; offset += smallest_)
        pages_[iova + offset] = {page.pa + offset, smallest_, page.prot, page.dirty};
  }
  // Level by level: blocks of the next level that are covered by one piece of this level's pages.
  void promote(std::uint64_t first, std::uint64_t last) {
    std::uint64_t smaller = smallest_;
    for (const std::uint64_t span : table_spans_) {
      if ((page_sizes_ & span) != 0)
        for (auto at = first_overlap(first); at != pages_.end() && at->first <= last;) {
          const std::uint64_t iova = at->first;
          if (iova >= first && iova + (span - 1) <= last && iova + (span - 1) >= iova) join(iova, span, smaller);
          at = pages_.upper_bound(iova);
        }
      smaller = span;
    }
  }

  const Pages& pages() const { return pages_; }

 private:
  static std::uint64_t last_of(const Pages::value_type& page) { return page.first + (page.second.bytes - 1); }
  Pages::const_iterator first_overlap(std::uint64_t first) const {
    auto at = pages_.upper_bound(first);
    if (at != pages_.begin() && last_of(*std::prev(at)) >= first) --at;
    return at;
  }
  Pages::iterator first_overlap(std::uint64_t first) {
    return pages_.erase(std::as_const(*this).first_overlap(first), std::as_const(*this).first_overlap(first));
  }
  Pages::const_iterator page_of(std::uint64_t iova) const {
    const auto at = first_overlap(iova);
    return at != pages_.end() && at->first <= iova ? at : pages_.end();
  }
  void join(std::uint64_t iova, std::uint64_t span, std::uint64_t smaller) {
    const auto first = pages_.find(iova);
    Page whole = first->second;
    if (iova % span != 0 || whole.pa % span != 0 || whole.bytes >= span) return;
    std::uint64_t covered = 0;
    for (auto at = first; at != pages_.end() && covered < span && at->first == iova + covered; ++at) {
      const Page& page = at->second;
      if (page.pa != whole.pa + covered || page.prot != whole.prot || page.bytes < smaller) return;
      whole.dirty |= page.dirty;
      covered += page.bytes;
    }
    if (covered != span) return;
    unmap(iova, iova + (span - 1));
    whole.bytes = span;
    pages_[iova] = whole;
  }
  std::uint64_t best_page(std::uint64_t iova, std::uint64_t pa, std::uint64_t left) const {
    std::uint64_t best = smallest_;
    for (std::uint64_t size = smallest_; size != 0 && size <= left; size *= 2)
      if ((page_sizes_ & size) != 0 && iova % size == 0 && pa % size == 0) best = size;
    return best;
  }

  std::uint64_t page_sizes_, smallest_;
  std::vector<std::uint64_t> table_spans_;
  Pages pages_;
};

}  // namespace softiommu::pt
