// SPDX-License-Identifier: BSD-3-Clause
#include "iommufd/io_pagetable.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace softiommu::iommufd {

namespace {

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kLargePage = 2 * kMiB;  // what automatic placement aligns to at most, as Linux does

bool wraps(std::uint64_t first, std::uint64_t length) { return first + (length - 1) < first; }

// Linux aligns to the smallest page of the domain; ours never map less than a page of the CPU.
std::uint64_t alignment_of(const Domain& domain) {
  return std::max(kPageSize, domain.page_sizes() & (~domain.page_sizes() + 1));
}

}  // namespace

// ---- areas

IoPagetable::Areas::const_iterator IoPagetable::first_at_or_after(std::uint64_t iova) const {
  auto at = areas_.upper_bound(iova);
  if (at != areas_.begin() && std::prev(at)->second.range.last.value >= iova) --at;
  return at;
}

bool IoPagetable::any_area(IovaRange range) const {
  const auto at = first_at_or_after(range.first.value);
  return at != areas_.end() && at->second.range.first <= range.last;
}

bool IoPagetable::any_reserved(IovaRange range) const {
  return std::ranges::any_of(reserved_, [&](const Reserved& r) { return r.range.overlaps(range); });
}

Result<> IoPagetable::check_place(Iova iova, std::uint64_t length) const {
  if (!is_aligned(iova.value, alignment_)) return fail(EINVAL, "the IOVA is not aligned");
  if (wraps(iova.value, length)) return fail(EOVERFLOW, "the range wraps");
  const auto range = IovaRange::of(iova, length);
  if (any_reserved(range)) return fail(EINVAL, "part of the range is reserved");
  if (any_area(range)) return fail(EEXIST, "part of the range is mapped");
  return {};
}

// The lowest place with the alignment and the offset within a page that large pages of the memory would need.
Result<Iova> IoPagetable::find_room(std::uint64_t near, std::uint64_t length) const {
  if (length == 0 || length >= kMost / 2) return fail(EOVERFLOW, "the length is too large");
  std::uint64_t alignment = std::bit_ceil(length);
  if (near != 0) alignment = std::min(alignment, near & (~near + 1));
  alignment = std::min(alignment, kLargePage);
  if (alignment < alignment_) return fail(EINVAL, "the memory is not aligned as the domains need");
  const std::uint64_t offset = near % kPageSize;
  const IovaRange everything{Iova{kPageSize}, Iova{kMost - kPageSize}};
  if (allowed_.empty()) {
    if (const auto found = room_in(everything, length, alignment, offset)) return *found;
  }
  for (const IovaRange& range : allowed_) {
    if (!range.overlaps(everything)) continue;
    const IovaRange inside{std::max(range.first, everything.first), std::min(range.last, everything.last)};
    if (const auto found = room_in(inside, length, alignment, offset)) return *found;
  }
  return fail(ENOSPC, "no hole is large enough");
}

std::optional<Iova> IoPagetable::room_in(IovaRange allowed, std::uint64_t length, std::uint64_t alignment,
                                         std::uint64_t offset) const {
  for (std::uint64_t at = allowed.first.value;;) {
    std::uint64_t place = (at + (alignment - 1)) & ~(alignment - 1);
    if (place < at) return std::nullopt;
    place |= offset;
    if (place > allowed.last.value || allowed.last.value - place < length - 1) return std::nullopt;
    const auto wanted = IovaRange::of(Iova{place}, length);
    std::uint64_t blocked_to = 0;
    bool blocked = false;
    if (const auto area = first_at_or_after(place); area != areas_.end() && area->second.range.overlaps(wanted)) {
      blocked = true;
      blocked_to = area->second.range.last.value;
    }
    for (const Reserved& r : reserved_) {
      if (!r.range.overlaps(wanted)) continue;
      blocked = true;
      blocked_to = std::max(blocked_to, r.range.last.value);
    }
    if (!blocked) return Iova{place};
    if (blocked_to == kMost) return std::nullopt;
    at = blocked_to + 1;
  }
}

Result<> IoPagetable::insert(Area area) {
  if (area.prot.write && !area.piece.pages->writable()) return fail(EPERM, "the pages were mapped for reading");
  if (!is_aligned((area.piece.pages->user() + area.piece.start) % kPageSize, alignment_))
    return fail(EINVAL, "the memory is not aligned as the domains need");
  TRY(pin_and_map(area));
  try {
    areas_.emplace(area.range.first.value, std::move(area));  // moves only once there is memory for it
  } catch (...) {
    unmap_and_unpin(area);
    throw;
  }
  return {};
}

void IoPagetable::erase(Areas::iterator at) {
  unmap_and_unpin(at->second);
  areas_.erase(at);
}

Result<Iova> IoPagetable::map(std::span<const Piece> pieces, std::optional<Iova> fixed, Prot prot) {
  std::uint64_t length = 0;
  for (const Piece& piece : pieces) length += piece.length;
  if (length == 0 || !is_aligned(length, alignment_)) return fail(EINVAL, "the length is 0 or not aligned");
  const Piece& front = pieces.front();
  const Iova first = fixed ? *fixed : TRY(find_room(front.pages->user() + front.start, length));
  if (fixed) TRY(check_place(first, length));
  Iova at = first;
  const auto undo = [&] {
    for (Iova gone = first; gone < at;) {
      const auto area = areas_.find(gone.value);
      gone = area->second.range.last + 1;
      erase(area);
    }
  };
  for (const Piece& piece : pieces) {
    Result<> done;
    try {
      done = insert({IovaRange::of(at, piece.length), piece, prot, {}});
    } catch (...) {
      undo();
      throw;
    }
    if (!done) {
      undo();
      return std::unexpected(done.error());
    }
    at += piece.length;
  }
  return first;
}

Result<std::vector<Piece>> IoPagetable::pieces(std::uint64_t iova, std::uint64_t length) const {
  if (length == 0) return fail(EINVAL, "the length is 0");
  if (wraps(iova, length)) return fail(EOVERFLOW, "the range wraps");
  const std::uint64_t last = iova + (length - 1);
  std::vector<Piece> found;
  for (auto at = first_at_or_after(iova);; ++at) {
    if (at == areas_.end() || at->second.range.first.value > iova)
      return fail(ENOENT, "part of the range is not mapped");
    const Area& area = at->second;
    const std::uint64_t end = std::min(last, area.range.last.value), skipped = iova - area.range.first.value;
    found.push_back({area.piece.pages, area.piece.start + skipped, end - iova + 1});
    if (end == last) return found;
    iova = end + 1;
  }
}

Result<std::uint64_t> IoPagetable::unmap(std::uint64_t iova, std::uint64_t length) {
  if (length == 0) return fail(EINVAL, "the length is 0");
  if (wraps(iova, length)) return fail(EOVERFLOW, "the range wraps");
  const IovaRange range = IovaRange::of(Iova{iova}, length);
  std::uint64_t bytes = 0;
  for (;;) {
    const auto at = first_at_or_after(iova);
    if (at == areas_.end() || !at->second.range.overlaps(range)) return bytes;
    if (!range.contains(at->second.range)) return fail(ENOENT, "a mapping reaches out of the range");
    bytes += at->second.range.bytes();
    erase(areas_.find(at->first));
  }
}

std::uint64_t IoPagetable::unmap_all() {
  std::uint64_t bytes = 0;
  while (!areas_.empty()) {
    bytes += areas_.begin()->second.range.bytes();
    erase(areas_.begin());
  }
  return bytes;
}

Result<> IoPagetable::cut_behind(std::uint64_t last) {
  const auto at = first_at_or_after(last);
  if (at == areas_.end() || !at->second.range.contains(Iova{last})) return {};
  const auto area = areas_.find(at->first);
  Area& left = area->second;
  if (left.range.first.value == last || left.range.last.value == last) return {};
  const std::uint64_t left_bytes = last - left.range.first.value + 1;
  if (!is_aligned(last + 1, alignment_)) return fail(EINVAL, "the cut is not aligned");
  if (!domains_.empty() && large_pages_) return fail(EINVAL, "large pages may be cut");
  Area right{{Iova{last + 1}, left.range.last},
             {left.piece.pages, left.piece.start + left_bytes, left.piece.length - left_bytes},
             left.prot,
             {}};
  std::vector<PhysRun> left_runs;
  if (!left.runs.empty()) {
    // Pin anew as two pieces before the one goes: a page is where it was as long as a pin holds it.
    left_runs = TRY(left.piece.pages->pin(left.piece.start, left_bytes));
    auto right_runs = right.piece.pages->pin(right.piece.start, right.piece.length);
    if (!right_runs) {
      left.piece.pages->unpin(left.piece.start, left_runs);
      return std::unexpected(right_runs.error());
    }
    right.runs = *std::move(right_runs);
  }
  try {
    areas_.emplace(last + 1, std::move(right));
  } catch (...) {
    if (!right.runs.empty()) {
      right.piece.pages->unpin(right.piece.start, right.runs);
      left.piece.pages->unpin(left.piece.start, left_runs);
    }
    throw;
  }
  if (!left.runs.empty()) left.piece.pages->unpin(left.piece.start, left.runs);
  left.runs = std::move(left_runs);
  left.range.last = Iova{last};
  left.piece.length = left_bytes;
  return {};
}

// ---- domains

Result<> IoPagetable::map_in(Domain& domain, const Area& area) const {
  Iova iova = area.range.first;
  const auto undo = [&] {
    if (iova != area.range.first) domain.unmap(area.range.first, iova - area.range.first);
  };
  for (const PhysRun& run : area.runs) {
    const std::uint64_t step = large_pages_ ? run.bytes : kPageSize;
    for (std::uint64_t done = 0; done < run.bytes; done += step) {
      if (const auto mapped = domain.map(iova, run.first + done, step, area.prot); !mapped) {
        undo();
        return mapped;
      }
      iova += step;
    }
  }
  return {};
}

Result<> IoPagetable::pin_and_map(Area& area) {
  if (domains_.empty()) return {};
  area.runs = TRY(area.piece.pages->pin(area.piece.start, area.piece.length));
  for (std::size_t i = 0; i < domains_.size(); ++i) {
    const auto mapped = map_in(*domains_[i], area);
    if (mapped) continue;
    while (i-- > 0) domains_[i]->unmap(area.range.first, area.range.bytes());
    area.piece.pages->unpin(area.piece.start, area.runs);
    area.runs.clear();
    return mapped;
  }
  return {};
}

void IoPagetable::unmap_and_unpin(Area& area) {
  if (area.runs.empty()) return;
  for (Domain* domain : domains_) domain->unmap(area.range.first, area.range.bytes());
  area.piece.pages->unpin(area.piece.start, area.runs);
  area.runs.clear();
}

Result<> IoPagetable::check_alignment(std::uint64_t alignment) const {
  for (const auto& [first, area] : areas_) {
    const std::uint64_t memory = (area.piece.pages->user() + area.piece.start) % kPageSize;
    if (!is_aligned(first | area.range.bytes() | memory, alignment))
      return fail(EADDRINUSE, "a mapping is not aligned as the domain needs");
  }
  return {};
}

void IoPagetable::refresh_alignment() {
  alignment_ = large_pages_ ? 1 : kPageSize;
  for (const Domain* domain : domains_) alignment_ = std::max(alignment_, alignment_of(*domain));
}

Result<> IoPagetable::add_domain(Domain& domain) {
  const std::uint64_t alignment = std::max(alignment_of(domain), alignment_);
  if (alignment > kPageSize) return fail(EINVAL, "the domain's smallest page is larger than the CPU's");
  if (alignment != alignment_) TRY(check_alignment(alignment));
  const IovaRange aperture = domain.aperture();
  const bool first = domains_.empty();
  domains_.reserve(domains_.size() + 1);
  Result<> done;
  if (aperture.first.value != 0) done = reserve({Iova{0}, aperture.first - 1}, &domain);
  if (done && aperture.last.value != kMost) done = reserve({aperture.last + 1, Iova{kMost}}, &domain);
  auto filled = areas_.begin();
  for (; done && filled != areas_.end(); ++filled) {
    Area& area = filled->second;
    if (first) {
      auto runs = area.piece.pages->pin(area.piece.start, area.piece.length);
      if (!runs) {
        done = std::unexpected(runs.error());
        break;
      }
      area.runs = *std::move(runs);
    }
    done = map_in(domain, area);
    if (done) continue;
    if (first) {
      area.piece.pages->unpin(area.piece.start, area.runs);
      area.runs.clear();
    }
    break;
  }
  if (!done) {
    for (auto undo = areas_.begin(); undo != filled; ++undo) {
      domain.unmap(undo->second.range.first, undo->second.range.bytes());
      if (!first) continue;
      undo->second.piece.pages->unpin(undo->second.piece.start, undo->second.runs);
      undo->second.runs.clear();
    }
    release_reserved(&domain);
    return done;
  }
  domains_.push_back(&domain);
  alignment_ = alignment;
  return {};
}

void IoPagetable::remove_domain(Domain& domain) {
  std::erase(domains_, &domain);
  for (auto& [first, area] : areas_) {
    domain.unmap(area.range.first, area.range.bytes());
    if (!domains_.empty()) continue;
    area.piece.pages->unpin(area.piece.start, area.runs);
    area.runs.clear();
  }
  release_reserved(&domain);
  refresh_alignment();
}

// ---- ranges

Result<> IoPagetable::reserve(IovaRange range, const void* owner) {
  if (any_area(range)) return fail(EADDRINUSE, "a mapping is in the way of a reserved range");
  if (std::ranges::any_of(allowed_, [&](const IovaRange& allowed) { return allowed.overlaps(range); }))
    return fail(EADDRINUSE, "the range was promised to be allowed");
  reserved_.push_back({range, owner});
  return {};
}

void IoPagetable::release_reserved(const void* owner) {
  std::erase_if(reserved_, [&](const Reserved& r) { return r.owner == owner; });
}

Result<> IoPagetable::allow(std::vector<IovaRange> ranges) {
  if (std::ranges::any_of(ranges, [&](const IovaRange& range) { return any_reserved(range); }))
    return fail(EADDRINUSE, "part of the range is reserved");
  allowed_ = std::move(ranges);
  return {};
}

std::vector<IovaRange> IoPagetable::usable() const {
  std::vector<IovaRange> taken;
  for (const Reserved& r : reserved_) taken.push_back(r.range);
  std::ranges::sort(taken, {}, &IovaRange::first);
  std::vector<IovaRange> left;
  std::uint64_t next = 0;  // nothing below it is left to look at
  for (const IovaRange& range : taken) {
    if (range.first.value > next) left.push_back({Iova{next}, range.first - 1});
    if (range.last.value == kMost) return left;
    next = std::max(next, range.last.value + 1);
  }
  left.push_back({Iova{next}, Iova{kMost}});
  return left;
}

bool IoPagetable::only_files() const {
  return std::ranges::all_of(areas_, [](const auto& entry) { return entry.second.piece.pages->of_file(); });
}

Result<> IoPagetable::disable_large_pages() {
  if (!large_pages_) return {};
  if (!domains_.empty() && !areas_.empty()) return fail(EINVAL, "domains hold mappings already");
  if (alignment_ < kPageSize) TRY(check_alignment(kPageSize));
  large_pages_ = false;
  refresh_alignment();
  return {};
}

void IoPagetable::enable_large_pages() {
  large_pages_ = true;
  refresh_alignment();
}

}  // namespace softiommu::iommufd
