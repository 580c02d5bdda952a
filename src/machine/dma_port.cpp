// SPDX-License-Identifier: BSD-3-Clause
// Why an invalidation is complete when wait_for_dma() returns (DESIGN.md D9). All four marked accesses are seq_cst,
// hence in one total order:
//
//   port:  (1) counter becomes odd   (2) load generations   find or walk, copy   counter becomes even (release)
//   unit:  change tables, IOTLB      (3) bump generation    (4) load counter, wait while it is that odd value
//
// Either (1) is before (4): the unit sees the odd counter and waits for the release of the even one, after the copy.
// Or (4) is before (1): then (3) is before (2), the port sees the new generation, drops its caches, and its walk sees
// the tables and the IOTLB as they are after the change. There is no third case: no copy that starts from an old
// translation ends after the wait. What a walk finds is cached under the generation loaded at (2), before
// the walk; if the generation moves meanwhile, the entry never matches again.
// Memory::move_aside() is the same story with the memory's generation.
#include "machine/dma_port.h"

#include <algorithm>

#include "base/guarded_copy.h"
#include "machine/memory.h"

namespace softiommu {

namespace {

constexpr unsigned kEpochLo = 64 - kPageShift;  // an Iova's page number is below it
constexpr std::uint64_t kLastEpoch = (std::uint64_t{1} << kPageShift) - 1;
constexpr std::uint64_t kReadable = 1, kWritable = 2;  // in the low bits of Line::host

constexpr std::uint64_t page_of(Iova iova) { return iova.value >> kPageShift; }
constexpr std::uint64_t offset_in_page(std::uint64_t address) { return address % kPageSize; }
constexpr std::uint64_t allowed_bit(Access access) { return access == Access::read ? kReadable : kWritable; }

}  // namespace

DmaPort::DmaPort(Memory& memory, IommuUnit* unit, StreamId stream) : memory_(memory), unit_(unit), stream_(stream) {
  memory_.add_port(activity_);
  if (unit_ != nullptr) unit_->add_port(*this);
}

DmaPort::~DmaPort() {
  if (unit_ != nullptr) unit_->remove_port(*this);
  memory_.remove_port(activity_);
}

inline void DmaPort::enter() {
  activity_.store(activity_.load(std::memory_order_relaxed) + 1, std::memory_order_seq_cst);  // (1)
  // Both only grow, so their sum changes whenever one of them does. (2)
  const std::uint64_t now = memory_.generation() + (unit_ != nullptr ? unit_->generation() : 0);
  if (now != generation_) [[unlikely]] {
    generation_ = now;
    forget();
  }
}

inline void DmaPort::leave() {
  activity_.store(activity_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

void DmaPort::forget() {
  last_ = {};
  if (epoch_++ == kLastEpoch) {
    epoch_ = 1;
    lines_ = {};
  }
}

inline DmaPort::Spot DmaPort::find(Side side) {
  const Last& last = last_[static_cast<std::size_t>(side.access)];
  if (const std::uint64_t offset = side.iova.value - last.first; offset < last.bytes)
    return {.host = last.host + offset};
  const Line& line = lines_[page_of(side.iova) % kLines];
  if (line.tag == (epoch_ << kEpochLo | page_of(side.iova)) && (line.host & allowed_bit(side.access)) != 0) {
    const std::uint64_t host = align_down(line.host, kPageSize) + offset_in_page(side.iova.value);
    return {.host = reinterpret_cast<std::byte*>(host)};
  }
  return walk(side);
}

std::optional<Translation> DmaPort::ask_unit(Side side) {
  if (unit_ == nullptr) {
    return Translation{.page = PhysAddr{align_down(side.iova.value, kPageSize)}, .read = true, .write = true};
  }
  const DmaWalk walking(activity_);
  return unit_->translate({.stream = stream_, .iova = side.iova, .access = side.access});
}

DmaPort::Spot DmaPort::walk(Side side) {
  const std::optional<Translation> translation = ask_unit(side);
  if (!translation) return {.status = DmaResult::Status::refused};
  const std::uint64_t within = side.iova.value & ((std::uint64_t{1} << translation->page_lg2) - 1);
  const PhysAddr pa = translation->page + within;
  std::uint64_t contiguous = 0;
  std::byte* host = memory_.host(pa, &contiguous);
  if (host == nullptr) return {.status = DmaResult::Status::no_memory, .pa = pa};
  if (translation->cacheable) remember(side, *translation, host, contiguous);
  return {.host = host, .pa = pa};
}

void DmaPort::remember(Side side, const Translation& translation, std::byte* host, std::uint64_t contiguous) {
  const std::uint64_t into_page = offset_in_page(side.iova.value);
  const std::uint64_t page_mask = (std::uint64_t{1} << translation.page_lg2) - 1;
  const std::uint64_t to_page_end = page_mask - (side.iova.value & page_mask) + 1;
  last_[static_cast<std::size_t>(side.access)] = {.first = side.iova.value - into_page,
                                                  .bytes = into_page + std::min(to_page_end, contiguous),
                                                  .host = host - into_page};
  lines_[page_of(side.iova) % kLines] = {.tag = epoch_ << kEpochLo | page_of(side.iova),
                                         .host = reinterpret_cast<std::uint64_t>(host - into_page) |
                                                 allowed_bit(side.access) | (translation.read ? kReadable : 0) |
                                                 (translation.write ? kWritable : 0)};
}

// A copy failed twice with no move under way: say which page is gone, and answer on which side it is.
Access DmaPort::report(std::span<const Side> sides, std::span<const Spot> spots) {
  for (std::size_t i = 0; i < sides.size(); ++i) {
    std::byte probe{};
    const bool readable = spots[i].host != nullptr && guarded_copy(&probe, spots[i].host, 1);
    const bool last_suspect = i + 1 == sides.size();
    if (readable && !last_suspect) continue;
    memory_.report_lost(spots[i].pa, sides[i].iova, stream_);
    return sides[i].access;
  }
  return sides.back().access;
}

template <std::size_t N, typename Copy>
inline DmaResult DmaPort::transfer(std::array<Side, N> sides, std::uint64_t bytes, Copy copy) {
  DmaResult result;
  bool failed_before = false;
  while (result.done < bytes) {
    std::uint64_t piece = bytes - result.done;
    for (const Side& side : sides) piece = std::min(piece, kPageSize - offset_in_page(side.iova.value));
    std::array<Spot, N> spots;
    enter();
    const std::uint64_t entered = activity_.load(std::memory_order_relaxed);
    bool found = true;
    for (std::size_t i = 0; i < N && found; ++i) {
      spots[i] = find(sides[i]);
      found = spots[i].host != nullptr;
      result.status = spots[i].status;
      result.side = sides[i].access;
    }
    const bool undisturbed = activity_.load(std::memory_order_relaxed) == entered;
    const bool copied = found && undisturbed && copy(spots, result.done, piece);
    leave();
    if (copied) [[likely]] {
      result.done += piece;
      for (Side& side : sides) side.iova += piece;
      failed_before = false;
      continue;
    }
    if (result.status == DmaResult::Status::refused) return result;
    if (!undisturbed) continue;  // an interrupt's handler ran in the middle: what was found before it may be stale
    if (failed_before) {
      result.side = report(sides, spots);
      result.status = DmaResult::Status::no_memory;
      return result;
    }
    // The page may be on its way to a hidden place: let the move end and look again, without the caches.
    failed_before = true;
    memory_.settle();
    forget();
  }
  return result;
}

DmaResult DmaPort::read(Iova from, std::span<std::byte> to) {
  return transfer(std::array{Side{from, Access::read}}, to.size(),
                  [to](const std::array<Spot, 1>& spots, std::uint64_t done, std::uint64_t bytes) {
                    return guarded_copy(to.data() + done, spots[0].host, bytes);
                  });
}

DmaResult DmaPort::write(Iova to, std::span<const std::byte> from) {
  return transfer(std::array{Side{to, Access::write}}, from.size(),
                  [from](const std::array<Spot, 1>& spots, std::uint64_t done, std::uint64_t bytes) {
                    return guarded_copy(spots[0].host, from.data() + done, bytes);
                  });
}

DmaResult DmaPort::copy(Iova to, Iova from, std::uint64_t bytes) {
  return transfer(std::array{Side{from, Access::read}, Side{to, Access::write}}, bytes,
                  [](const std::array<Spot, 2>& spots, std::uint64_t, std::uint64_t piece) {
                    return guarded_copy(spots[1].host, spots[0].host, piece);
                  });
}

}  // namespace softiommu
