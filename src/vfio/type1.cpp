// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/type1.h"

#include <bit>
#include <limits>
#include <utility>

#include "base/log.h"

namespace softiommu::vfio {

namespace {

constexpr IovaRange kEverything{Iova{0}, Iova{std::numeric_limits<std::uint64_t>::max()}};
constexpr std::uint64_t kBitsPerWord = 64;

bool wraps(std::uint64_t first, std::uint64_t bytes) { return first + (bytes - 1) < first; }

}  // namespace

Result<> check_bitmap(std::uint64_t pages, std::uint64_t bytes) {
  const std::uint64_t words = pages / kBitsPerWord + (pages % kBitsPerWord != 0 ? 1 : 0);
  if (pages == 0 || bytes == 0 || bytes > abi::kDirtyBitmapMost || words > bytes / sizeof(std::uint64_t)) {
    return fail(EINVAL, "the dirty bitmap is too small or too large for the range");
  }
  return {};
}

Result<> Type1::attach(Group& group) {
  if (invalid_users_ != 0) return fail(EBUSY, "addresses of mapped memory are being updated");
  if (space_.has(group)) return fail(EINVAL, "the group is in this container already");
  if (!system_.machine().spec().isolated_msi && !options_.allow_unsafe_interrupts) {
    log::warning(
        "vfio: interrupts of group {} are not isolated; allow_unsafe_interrupts lets it be attached all the same",
        group.id());
    return fail(EPERM, "the group's interrupts are not isolated");
  }
  auto reserved = TRY(group.reserved_regions());
  if (const auto attached = space_.attach(group, std::move(reserved)); !attached) {
    return fail(attached.error().code, attached.error().reason.property);
  }
  return {};
}

Result<> Type1::map(const abi::DmaMap& request, const Result<MapTarget>& target) {
  constexpr std::uint32_t known = abi::kMapRead | abi::kMapWrite | abi::kMapVaddr;
  const Prot prot{.read = (request.flags & abi::kMapRead) != 0, .write = (request.flags & abi::kMapWrite) != 0};
  const bool update = (request.flags & abi::kMapVaddr) != 0;
  if ((request.flags & ~known) != 0) return fail(EINVAL, "unknown flags");
  if ((prot.read || prot.write) == update) return fail(EINVAL, "READ or WRITE, or else VADDR, must be asked");
  const std::uint64_t page = space_.min_page_size();
  if (request.size == 0 || !is_aligned(request.size | request.iova | request.vaddr, page)) {
    return fail(EINVAL, "address or size is not a multiple of the smallest page");
  }
  if (wraps(request.iova, request.size) || wraps(request.vaddr, request.size))
    return fail(EOVERFLOW, "the range wraps");
  const IovaRange range = IovaRange::of(Iova{request.iova}, request.size);
  if (update) return update_user(request, range);
  if (!target || space_.areas().size() >= options_.dma_entry_limit) [[unlikely]] {
    if (space_.areas().find(range) != nullptr) return fail(EEXIST, "the range overlaps one that is mapped");
    if (space_.areas().size() >= options_.dma_entry_limit) return fail(ENOSPC, "too many mappings (dma_entry_limit)");
    if (!space_.allowed().allows(range)) return fail(EINVAL, "the range is outside of what may be mapped");
    return std::unexpected(target.error());
  }
  if (target->registers) [[unlikely]]
    return space_.map_registers(range, *target->registers, request.vaddr, prot);
  return space_.map(range, request.vaddr, prot);
}

// The second half of moving a program to another address space: the pages stay pinned, their address is new.
Result<> Type1::update_user(const abi::DmaMap& request, IovaRange range) {
  Area* const area = space_.areas().find(range);
  if (area == nullptr) return fail(ENOENT, "nothing is mapped there");
  if (!area->user_invalid || area->range != range) return fail(EINVAL, "not a mapping whose address was given up");
  area->user = request.vaddr;
  area->user_invalid = false;
  --invalid_users_;
  return {};
}

// Does `range`, whose first area is at `begin`, begin and end where areas do?
Result<> Type1::check_not_split(IovaRange range, AreaMap::Position begin) const {
  const auto& areas = space_.areas();
  const Area* const first = areas.at(begin);
  if (first == nullptr || first->range.first > range.last) return {};  // nothing is there
  if (first->range.first < range.first) return fail(EINVAL, "the range begins inside of a mapping");
  if (first->range.last == range.last) return {};
  const Area* const last = first->range.last > range.last ? first : areas.find({range.last, range.last});
  if (last != nullptr && last->range.last != range.last) return fail(EINVAL, "the range ends inside of a mapping");
  return {};
}

Result<std::uint64_t> Type1::unmap(const abi::DmaUnmap& request, const abi::Bitmap* bitmap,
                                   std::vector<DirtyPagesRun>* dirty) {
  const std::uint64_t page = space_.min_page_size();
  const bool all = (request.flags & abi::kUnmapAll) != 0;
  if (!is_aligned(request.iova, page)) return fail(EINVAL, "the address is not a multiple of the smallest page");
  if (all) {
    if (request.iova != 0 || request.size != 0) return fail(EINVAL, "ALL takes neither an address nor a size");
  } else {
    if (request.size == 0 || !is_aligned(request.size, page))
      return fail(EINVAL, "the size is not a multiple of the smallest page");
    if (wraps(request.iova, request.size)) return fail(EOVERFLOW, "the range wraps");
  }
  if (bitmap != nullptr && (!dirty_tracking_ || bitmap->pgsize != page)) {
    return fail(EINVAL, "dirty tracking is off, or its page size is not the smallest page");
  }
  const IovaRange range = all ? kEverything : IovaRange::of(Iova{request.iova}, request.size);
  const AreaMap::Position begin = space_.areas().seek(range.first);
  if (const Area* const area = AreaMap::at(begin);
      request.flags == 0 && area != nullptr && area->range == range && !area->user_invalid) [[likely]] {
    space_.unmap(begin);  // nearly every call
    return request.size;
  }
  if (v2_ && !all) TRY(check_not_split(range, begin));
  if ((request.flags & abi::kUnmapVaddr) != 0) return invalidate_users(range, begin);
  return unmap_range(range, begin, dirty);
}

// UNMAP with VADDR: the memory stays mapped and pinned, its address is no longer valid. All of the range, or nothing.
Result<std::uint64_t> Type1::invalidate_users(IovaRange range, AreaMap::Position begin) {
  auto& areas = space_.areas();
  std::uint64_t bytes = 0;
  for (auto position = begin; Area* const area = areas.at(position); position = areas.after(position)) {
    if (area->range.first > range.last || (!v2_ && area->range.first < range.first)) break;
    if (area->user_invalid) {
      for (auto back = begin; areas.at(back) != area; back = areas.after(back)) {
        areas.at(back)->user_invalid = false;
        --invalid_users_;
      }
      return fail(EINVAL, "the address of a mapping was given up before");
    }
    area->user_invalid = true;
    ++invalid_users_;
    bytes += area->range.bytes();
  }
  return bytes;
}

Result<std::uint64_t> Type1::unmap_range(IovaRange range, AreaMap::Position begin, std::vector<DirtyPagesRun>* dirty) {
  auto& areas = space_.areas();
  const std::uint64_t page = space_.min_page_size();
  if (dirty != nullptr) {
    std::size_t count = 0;
    for (auto p = begin; areas.at(p) != nullptr && areas.at(p)->range.first <= range.last; p = areas.after(p)) ++count;
    dirty->reserve(count);  // so that nothing fails once memory is unmapped
  }
  std::uint64_t bytes = 0;
  for (auto position = begin; const Area* const area = areas.at(position);) {
    if (area->range.first > range.last || (!v2_ && area->range.first < range.first)) break;
    const std::uint64_t size = area->range.bytes();
    if (dirty != nullptr) dirty->push_back({(area->range.first - range.first) / page, size / page});
    if (area->user_invalid) --invalid_users_;
    bytes += size;
    position = space_.unmap(position);
  }
  return bytes;
}

Result<> Type1::check_dirty_allowed() const {
  if (!v2_) return fail(EACCES, "dirty pages are for type1v2 containers");
  return {};
}

Result<std::vector<DirtyPagesRun>> Type1::dirty_pages(const abi::DirtyRange& request) const {
  const std::uint64_t page = space_.min_page_size();
  if (request.bitmap.pgsize != page || request.size == 0 || !is_aligned(request.iova | request.size, page)) {
    return fail(EINVAL, "the range or the page size does not fit the smallest page");
  }
  if (!dirty_tracking_) return fail(EINVAL, "dirty tracking is off");
  const IovaRange range = IovaRange::of(Iova{request.iova}, request.size);
  const auto& areas = space_.areas();
  const AreaMap::Position begin = areas.seek(range.first);
  TRY(check_not_split(range, begin));
  std::vector<DirtyPagesRun> runs;
  for (auto position = begin; const Area* const area = areas.at(position); position = areas.after(position)) {
    if (area->range.first > range.last) break;
    runs.push_back({(area->range.first - range.first) / page, area->range.bytes() / page});
  }
  return runs;
}

}  // namespace softiommu::vfio
