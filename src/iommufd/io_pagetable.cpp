// SPDX-License-Identifier: BSD-3-Clause
// Areas and ranges. What domains do with areas is in area_domains.cpp, what accesses do in area_accesses.cpp.
#include "iommufd/io_pagetable.h"

#include <algorithm>
#include <limits>

#include "base/fault.h"
#include "ioas/iova_allocator.h"

namespace softiommu::iommufd {

namespace {

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

bool wraps(std::uint64_t first, std::uint64_t length) { return first + (length - 1) < first; }

}  // namespace

IoPagetable::~IoPagetable() {
  for (auto at = tree_.first(); at;) at = erase(at);
}

bool IoPagetable::any_area(IovaRange range) const {
  const Position at = tree_.seek(range.first);
  return at && at.range().first <= range.last;
}

bool IoPagetable::any_reserved(IovaRange range) const {
  return std::ranges::any_of(reserved_, [&](const Reserved& r) { return r.range.overlaps(range); });
}

// ---- map

Result<> IoPagetable::check_place(Iova iova, std::uint64_t length) const {
  if (!is_aligned(iova.value, alignment_)) return fail(EINVAL, "the IOVA is not aligned");
  if (wraps(iova.value, length)) return fail(EOVERFLOW, "the range wraps");
  const auto range = IovaRange::of(iova, length);
  if (any_reserved(range)) return fail(EINVAL, "part of the range is reserved");
  if (any_area(range)) return fail(EEXIST, "part of the range is mapped");
  return {};
}

Result<Iova> IoPagetable::find_room(const Piece& front, std::uint64_t length) const {
  return find_iova(tree_, free_, TRY(ioas_request(front.pages->user() + front.start, length, alignment_)));
}

Result<> IoPagetable::insert(const Area& area, const Piece& piece) {
  if (area.prot.write && !piece.pages->writable()) return fail(EPERM, "the pages were mapped for reading");
  if (!is_aligned((piece.pages->user() + piece.start) % kPageSize, alignment_))
    return fail(EINVAL, "the memory is not aligned as the domains need");
  TRY(fault::pass("iommufd.area"));
  return tree_.insert(area.range, [&]() -> Result<void*> {
    return without_throwing([&]() -> Result<void*> {
      areas_.reserve(1);
      auto* const made = new (areas_.take()) Area(area);
      made->pages = PagesRef(piece.pages).release();
      return made;
    });
  });
}

RangeTree::Position IoPagetable::erase(Position position) {
  Area& area = area_at(position);
  unfill(area);
  PagesRef::adopt(area.pages);
  areas_.give(&area);
  return tree_.erase(position);
}

Result<Iova> IoPagetable::map(std::span<const Piece> pieces, std::optional<Iova> fixed, Prot prot) {
  std::uint64_t length = 0;
  for (const Piece& piece : pieces) length += piece.length;
  if (length == 0 || !is_aligned(length, alignment_)) return fail(EINVAL, "the length is 0 or not aligned");
  if (fixed) TRY(check_place(*fixed, length));
  const Iova first = fixed ? *fixed : TRY(find_room(pieces.front(), length));
  Result<> done;
  Iova end = first;  // areas are there below it
  for (const Piece& piece : pieces) {
    done = insert({.range = IovaRange::of(end, piece.length), .pages = nullptr, .start = piece.start, .prot = prot},
                  piece);
    if (!done) break;
    end += piece.length;
  }
  for (Iova next = first; done && next != end && !domains_.empty();) {
    const Position at = tree_.seek(next);
    next = at.range().last + 1;
    done = fill(area_at(at));
  }
  if (done) return first;
  for (Iova next = first; next != end;) {
    const Position at = tree_.seek(next);
    next = at.range().last + 1;
    erase(at);
  }
  return std::unexpected(done.error());
}

template <class Visitor>
Result<> IoPagetable::for_each_part(IovaRange range, Visitor&& visit) const {
  Iova next = range.first;
  for (auto at = tree_.seek(next); at && at.range().first <= next; at = RangeTree::after(at)) {
    const Iova last = std::min(range.last, at.range().last);
    TRY(visit(area_at(at), next - at.range().first, last - next + 1));
    if (last == range.last) return {};
    next = last + 1;
  }
  return fail(ENOENT, "part of the range is not mapped");
}

Result<std::vector<Piece>> IoPagetable::pieces(std::uint64_t iova, std::uint64_t length) const {
  if (length == 0) return fail(EINVAL, "the length is 0");
  if (wraps(iova, length)) return fail(EOVERFLOW, "the range wraps");
  std::vector<Piece> found;
  TRY(for_each_part(IovaRange::of(Iova{iova}, length),
                    [&](const Area& area, std::uint64_t from, std::uint64_t bytes) -> Result<> {
                      found.push_back({PagesRef(area.pages), area.start + from, bytes});
                      return {};
                    }));
  return found;
}

// ---- unmap

Result<IoPagetable::Unmapping> IoPagetable::Unmapping::of(std::uint64_t iova, std::uint64_t length) {
  if (length == 0) return fail(EINVAL, "the length is 0");
  if (wraps(iova, length)) return fail(EOVERFLOW, "the range wraps");
  return Unmapping{.rest = IovaRange::of(Iova{iova}, length)};
}

Result<> IoPagetable::unmap(Unmapping& unmapping) {
  constexpr unsigned kMostTries = 101;  // as often as Linux asks
  IovaRange& rest = unmapping.rest;
  unmapping.in_the_way.reset();
  for (auto at = tree_.seek(rest.first); at && at.range().first <= rest.last; at = erase(at)) {
    Area& area = area_at(at);
    if (area.hardware != 0) return fail(EBUSY, "a mapping is pinned for hardware");
    if (!rest.contains(area.range)) return fail(ENOENT, "a mapping reaches out of the range");
    if (area.range.first != rest.first) unmapping.tries = 0;
    if (area.accesses != 0) {
      if (unmapping.tries++ == kMostTries) return fail(EDEADLOCK, "an access does not let go of its pages");
      area.no_access = true;
      rest.first = area.range.first;
      unmapping.in_the_way = area.range;
      return {};
    }
    unmapping.bytes += area.range.bytes();
    // What others map there meanwhile is not meant.
    if (area.range.last == rest.last) {
      erase(at);
      return {};
    }
    rest.first = area.range.last + 1;
  }
  return {};
}

Result<> IoPagetable::cut_behind(std::uint64_t last) {
  Position at = tree_.seek(Iova{last});
  if (!at || !at.range().contains(Iova{last})) return {};
  Area& lower = area_at(at);
  if (lower.range.first.value == last || lower.range.last.value == last) return {};
  if (lower.no_access) return fail(EBUSY, "the mapping is being unmapped");
  if (lower.pages->dma_buf() != nullptr) return fail(EOPNOTSUPP, "device memory cannot be cut");
  const std::uint64_t bytes = last - lower.range.first.value + 1, all = lower.range.bytes();
  if (!is_aligned((last + 1) | ((lower.pages->user() + lower.start + bytes) % kPageSize), alignment_))
    return fail(EINVAL, "the cut is not aligned");
  if (lower.accesses != 0) return fail(EINVAL, "an access has pinned part of the mapping");
  if (lower.held && large_pages_) return fail(EINVAL, "large pages may be cut");
  return without_throwing([&]() -> Result<> {
    areas_.reserve(1);
    TRY(tree_.reserve_split(at));
    if (lower.held) {
      TRY(lower.pages->hold(lower.start, bytes));
      if (const auto held = lower.pages->hold(lower.start + bytes, all - bytes); !held) {
        lower.pages->let_go(lower.start, bytes);
        return held;
      }
      lower.pages->let_go(lower.start, all);
    }
    auto* const upper = new (areas_.take()) Area(lower);
    upper->pages = PagesRef(lower.pages).release();
    upper->range.first = Iova{last + 1};
    upper->start += bytes;
    lower.range.last = Iova{last};
    tree_.split(at, upper->range.first, upper);
    return {};
  });
}

// ---- ranges

Result<> IoPagetable::reserve(IovaRange range, const void* owner) {
  if (any_area(range)) return fail(EADDRINUSE, "a mapping is in the way of a reserved range");
  if (std::ranges::any_of(allowed_, [&](const IovaRange& allowed) { return allowed.overlaps(range); }))
    return fail(EADDRINUSE, "the range was promised to be allowed");
  TRY(fault::pass("iommufd.reserve"));
  return without_throwing([&]() -> Result<> {
    make_room(reserved_.size() + 1, allowed_.size());
    const auto place =
        std::ranges::upper_bound(reserved_, range.first, {}, [](const Reserved& r) { return r.range.first; });
    reserved_.insert(place, {range, owner});
    refresh_ranges();
    return {};
  });
}

void IoPagetable::release_reserved(const void* owner) {
  if (std::erase_if(reserved_, [&](const Reserved& r) { return r.owner == owner; }) != 0) refresh_ranges();
}

Result<> IoPagetable::allow(std::vector<IovaRange> ranges) {
  if (std::ranges::any_of(ranges, [&](const IovaRange& range) { return any_reserved(range); }))
    return fail(EADDRINUSE, "part of the range is reserved");
  return without_throwing([&]() -> Result<> {
    make_room(reserved_.size(), ranges.size());
    allowed_ = std::move(ranges);
    refresh_ranges();
    return {};
  });
}

// So that refresh_ranges() needs no memory, also when ranges go. May throw: nothing changed then.
void IoPagetable::make_room(std::size_t reserved, std::size_t allowed) {
  reserved_.reserve(reserved);
  usable_.reserve(reserved + 1);
  free_.reserve(reserved + 1 + allowed);
}

void IoPagetable::refresh_ranges() {
  usable_.clear();
  free_.clear();
  const auto left = [&]() {
    Iova next{0};  // nothing below it is left to look at
    for (const auto& [range, owner] : reserved_) {
      if (range.first > next) usable_.push_back({next, range.first - 1});
      if (range.last.value == kMost) return;
      next = std::max(next, range.last + 1);
    }
    usable_.push_back({next, Iova{kMost}});
  };
  left();
  for (const IovaRange& range : usable_) {
    if (allowed_.empty()) free_.push_back(range);
    for (const IovaRange& allowed : allowed_)
      if (allowed.overlaps(range))
        free_.push_back({std::max(allowed.first, range.first), std::min(allowed.last, range.last)});
  }
}

std::optional<IovaRange> IoPagetable::area(std::uint64_t nth) const {
  auto at = tree_.first();
  while (at && nth-- != 0) at = RangeTree::after(at);
  return at ? std::optional(at.range()) : std::nullopt;
}

// ---- accesses

Result<> IoPagetable::add_access(const void* owner, std::uint64_t alignment) {
  if (alignment > alignment_) TRY(check_alignment(alignment));
  return without_throwing([&]() -> Result<> {
    accesses_.push_back({owner, alignment});
    alignment_ = std::max(alignment_, alignment);
    return {};
  });
}

void IoPagetable::remove_access(const void* owner) {
  const auto use = std::ranges::find(accesses_, owner, &AccessUse::owner);
  if (use == accesses_.end()) return;
  accesses_.erase(use);
  alignment_ = needed_alignment();
}

Result<std::vector<Piece>> IoPagetable::pieces_to_copy(const PinRequest& request) const {
  if (request.length == 0) return fail(EINVAL, "the length is 0");
  if (wraps(request.iova, request.length)) return fail(EOVERFLOW, "the range wraps");
  std::vector<Piece> found;
  TRY(for_each_part(IovaRange::of(Iova{request.iova}, request.length),
                    [&](const Area& area, std::uint64_t from, std::uint64_t bytes) -> Result<> {
                      if (area.no_access) return fail(EINVAL, "the mapping is being unmapped");
                      if (!(request.write ? area.prot.write : area.prot.read) ||
                          (request.write && !area.pages->writable()))
                        return fail(EPERM, "the mapping does not allow it");
                      if (area.pages->dma_buf() != nullptr) return fail(EINVAL, "device memory");
                      found.push_back({PagesRef(area.pages), area.start + from, bytes});
                      return {};
                    }));
  return found;
}

Result<std::vector<PhysAddr>> IoPagetable::pin(const PinRequest& request) {
  if (request.length == 0) return fail(EINVAL, "the length is 0");
  if (wraps(request.iova, request.length)) return fail(EOVERFLOW, "the range wraps");
  return without_throwing([&]() -> Result<std::vector<PhysAddr>> {
    const IovaRange range = IovaRange::of(Iova{request.iova}, request.length);
    std::vector<PhysAddr> pages;
    std::uint64_t pinned = 0;
    const auto pin_part = [&](Area& area, std::uint64_t from, std::uint64_t bytes) -> Result<> {
      const std::uint64_t first = area.pages->user() + area.start + from;
      const bool is_last = pinned + bytes == request.length;
      if (area.no_access || !is_aligned(first, kPageSize) || (!is_last && !is_aligned(first + bytes, kPageSize)))
        return fail(EINVAL, "not whole pages, or being unmapped");
      if (!(request.write ? area.prot.write : area.prot.read) || (request.write && !area.pages->writable()))
        return fail(EPERM, "the mapping does not allow it");
      if (area.pages->dma_buf() != nullptr) return fail(EINVAL, "device memory");
      pages.reserve(pages.size() + (bytes >> kPageShift) + 2);
      TRY(area.pages->hold(area.start + from, bytes));
      ++area.accesses;
      if (request.for_hardware) ++area.hardware;
      pinned += bytes;
      return area.pages->for_each_run(area.start + from, bytes, [&](PhysRun run) -> Result<> {
        for (std::uint64_t at = 0; at < run.bytes; at += kPageSize) pages.push_back(run.first + at);
        return {};
      });
    };
    const auto done = without_throwing([&] { return for_each_part(range, pin_part); });
    if (done) return pages;
    if (pinned != 0) unpin({request.iova, pinned, request.write, request.for_hardware});
    return std::unexpected(done.error());
  });
}

void IoPagetable::unpin(const PinRequest& request) {
  (void)for_each_part(IovaRange::of(Iova{request.iova}, request.length),
                      [&](Area& area, std::uint64_t from, std::uint64_t bytes) -> Result<> {
                        area.pages->let_go(area.start + from, bytes);
                        --area.accesses;
                        if (request.for_hardware) --area.hardware;
                        return {};
                      });
}

}  // namespace softiommu::iommufd
