// SPDX-License-Identifier: BSD-3-Clause
// Which IOVAs to use where the caller does not care: for IOAS_MAP without a fixed address, and for a DMA API.
//
// There is no second bookkeeping to keep in step: what is free is what the ranges in use leave, and they know their
// holes (RangeTree). Linux looks bottom-up in an IOAS and top-down in its DMA API; so do we.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "base/types.h"
#include "ioas/area_map.h"
#include "ioas/iova_ranges.h"
#include "ioas/range_tree.h"

namespace softiommu {

// What an IOAS looks for when memory at the program's address `user` shall be mapped anywhere: aligned as the memory
// is, so that large pages can be used, but to no more than the size, rounded up to a power of two, or 2 MiB; at the
// same place in a page; never the first page nor the last.
//   EOVERFLOW  no size, or more than half of the space
//   EINVAL     that would be aligned to less than `least_alignment`, which the domains need
Result<HoleRequest> ioas_request(std::uint64_t user, std::uint64_t bytes, std::uint64_t least_alignment);

// Where in `allowed` (sorted) the request fits beside what is in use, from the preferred end.
// ENOSPC exactly when no hole does; how long it takes is said at RangeTree::find_hole().
Result<Iova> find_iova(const AreaMap& areas, std::span<const IovaRange> allowed, const HoleRequest& request);
Result<Iova> find_iova(const RangeTree& used, std::span<const IovaRange> allowed, const HoleRequest& request);

// IOVAs for a DMA API: allocated from the top of what the device can reach.
// Not thread-safe.
class IovaAllocator {
 public:
  explicit IovaAllocator(IovaRange space) { usable_.intersect(space); }

  // Never handed out from now on; what is allocated stays. ENOMEM.
  Result<> reserve(IovaRange range);

  struct Request {
    std::uint64_t bytes = 0;
    std::uint64_t alignment = kPageSize;  // a power of two
    Iova limit{~std::uint64_t{0}};        // the last address that the device can reach
  };
  // Multiples of a page. EINVAL: no size, or alignment is no power of two; ENOSPC: no hole fits; ENOMEM.
  Result<Iova> allocate(const Request& request);
  // ENOENT: no allocation begins there.
  Result<> free(Iova iova);

  std::size_t size() const { return used_.size(); }

 private:
  RangeTree used_;
  IovaRanges usable_;
};

}  // namespace softiommu
