// SPDX-License-Identifier: BSD-3-Clause
// Which IOVAs may be mapped: the apertures' intersection without reserved regions, as sorted ranges.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "base/types.h"

namespace softiommu {

class IovaRanges {
 public:
  // The whole 64-bit space.
  IovaRanges() : ranges_{{Iova{0}, Iova{~std::uint64_t{0}}}} {}

  // Keeps what lies in `range`. May throw std::bad_alloc, as exclude() does.
  void intersect(IovaRange range) {
    std::erase_if(ranges_, [&](const IovaRange& r) { return !r.overlaps(range); });
    for (IovaRange& r : ranges_) r = {std::max(r.first, range.first), std::min(r.last, range.last)};
  }
  // Takes `range` out.
  void exclude(IovaRange range) {
    std::vector<IovaRange> left;
    left.reserve(ranges_.size() + 1);
    for (const IovaRange& r : ranges_) {
      if (!r.overlaps(range)) {
        left.push_back(r);
        continue;
      }
      if (r.first < range.first) left.push_back({r.first, range.first - 1});
      if (range.last < r.last) left.push_back({range.last + 1, r.last});
    }
    ranges_ = std::move(left);
  }

  bool allows(IovaRange range) const {
    if (latest_ < ranges_.size() && ranges_[latest_].contains(range)) return true;
    const auto above = std::ranges::upper_bound(ranges_, range.first, {}, &IovaRange::first);
    if (above == ranges_.begin()) return false;
    latest_ = static_cast<std::size_t>(above - ranges_.begin()) - 1;
    return ranges_[latest_].contains(range);
  }
  bool empty() const { return ranges_.empty(); }
  std::span<const IovaRange> all() const { return ranges_; }

 private:
  std::vector<IovaRange> ranges_;
  mutable std::size_t latest_ = 0;  // where the last answer was found
};

}  // namespace softiommu
