// SPDX-License-Identifier: BSD-3-Clause
#include "ioas/iova_allocator.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace softiommu {

namespace {

constexpr std::uint64_t kLargestAlignment = 2 * kMiB;  // of a huge page
constexpr std::uint64_t kTop = std::numeric_limits<std::uint64_t>::max();

// The part of `range` that may be used; first > last: none.
HoleRequest within(HoleRequest request, IovaRange range) {
  request.within.first = std::max(request.within.first, range.first);
  request.within.last = std::min(request.within.last, range.last);
  return request;
}

template <class Used>
Result<Iova> find_in(const Used& used, std::span<const IovaRange> allowed, const HoleRequest& request) {
  const bool lowest = request.prefer == HoleRequest::Prefer::lowest;
  for (std::size_t i = 0; i < allowed.size(); ++i) {
    const IovaRange& range = allowed[lowest ? i : allowed.size() - 1 - i];
    if (const auto found = used.find_hole(within(request, range))) return *found;
  }
  return fail(ENOSPC, "no hole of this size and alignment is left");
}

}  // namespace

Result<HoleRequest> ioas_request(std::uint64_t user, std::uint64_t bytes, std::uint64_t least_alignment) {
  if (bytes == 0 || bytes >= kTop / 2) return fail(EOVERFLOW, "no size, or more than half of the space");
  const std::uint64_t of_user = user == 0 ? kLargestAlignment : std::uint64_t{1} << std::countr_zero(user);
  const std::uint64_t alignment = std::min({std::bit_ceil(bytes), of_user, kLargestAlignment});
  if (alignment < least_alignment)
    return fail(EINVAL, "the memory or its size is aligned to less than the domains need");
  // Memory that begins inside of a page is aligned to less than a page; so is its IOVA, which keeps that offset.
  return HoleRequest{.bytes = bytes,
                     .alignment = std::max(alignment, kPageSize),
                     .offset = user % kPageSize,
                     .within = {Iova{kPageSize}, Iova{kTop - kPageSize}}};
}

Result<Iova> find_iova(const AreaMap& areas, std::span<const IovaRange> allowed, const HoleRequest& request) {
  return find_in(areas, allowed, request);
}

Result<Iova> find_iova(const RangeTree& used, std::span<const IovaRange> allowed, const HoleRequest& request) {
  return find_in(used, allowed, request);
}

Result<> IovaAllocator::reserve(IovaRange range) {
  return without_throwing([&]() -> Result<> {
    usable_.exclude(range);
    return {};
  });
}

Result<Iova> IovaAllocator::allocate(const Request& request) {
  if (request.bytes == 0 || !is_aligned(request.bytes, kPageSize) || !std::has_single_bit(request.alignment))
    return fail(EINVAL, "allocations are whole pages, aligned to a power of two");
  const HoleRequest wanted{.bytes = request.bytes,
                           .alignment = std::max(request.alignment, kPageSize),
                           .within = {Iova{0}, request.limit},
                           .prefer = HoleRequest::Prefer::highest};
  const Iova found = TRY(find_in(used_, usable_.all(), wanted));
  TRY(used_.insert(IovaRange::of(found, request.bytes), [] { return Result<void*>(nullptr); }));
  return found;
}

Result<> IovaAllocator::free(Iova iova) {
  const auto position = used_.seek(iova);
  if (!position || position.range().first != iova) return fail(ENOENT, "no allocation begins there");
  used_.erase(position);
  return {};
}

}  // namespace softiommu
