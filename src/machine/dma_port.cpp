// SPDX-License-Identifier: BSD-3-Clause
// Why an invalidation is complete when wait_for_dma() returns (DESIGN.md D9).
//
//   port:  (1) counter becomes odd   (2) load generations   find or walk, copy   counter becomes even (release)
//   unit:  change tables, IOTLB      (3) bump generation    (4) load counter, wait while it is that odd value
//
// Either (4) sees (1): the unit sees the odd counter and waits for the release of the even one, after the copy. Or
// it does not: then (2) sees (3), the port drops its caches, and its walk sees the tables and the IOTLB as they are
// after the change. That there is no third case is the promise of the fence; dma_fence.h argues it. So no copy that
// starts from an old translation ends after the wait. What a walk finds is cached under the generation loaded at
// (2), before the walk; if the generation moves meanwhile, the entry never matches again.
// Memory::move_aside() is the same story with the memory's generation.
#include "machine/dma_port.h"

#include <algorithm>
#include <bit>

#include "base/guarded_copy.h"
#include "machine/device_tlb.h"
#include "machine/memory.h"
#include "machine/mmio_map.h"

namespace softiommu {

namespace {

constexpr unsigned kEpochLo = 64 - kPageShift;  // an Iova's page number is below it
constexpr std::uint64_t kLastEpoch = (std::uint64_t{1} << kPageShift) - 1;
constexpr std::uint64_t kReadable = 1, kWritable = 2;  // in the low bits of Line::host

constexpr std::uint64_t page_of(Iova iova) { return iova.value >> kPageShift; }
constexpr std::uint64_t offset_in_page(std::uint64_t address) { return address % kPageSize; }
// The unit has been asked, and has recorded why not: it is not asked a second time.
constexpr bool is_final(DmaResult::Status status) {
  return status == DmaResult::Status::refused || status == DmaResult::Status::requested;
}
constexpr std::uint64_t allowed_bit(Access access) { return access == Access::read ? kReadable : kWritable; }

}  // namespace

DmaPort::DmaPort(Memory& memory, IommuUnit* unit, StreamId stream)
    : memory_(memory),
      unit_(unit),
      stream_(stream),
      name_("stream " + std::to_string(stream)),
      activity_(memory.add_port()) {
  if (unit_ != nullptr) unit_->add_port(*this);
}

DmaPort::~DmaPort() {
  if (unit_ != nullptr) unit_->remove_port(*this);
  memory_.remove_port(activity_);
}

inline void DmaPort::enter() {
  activity_.begin();  // (1)
  // Both only grow, so their sum changes whenever one of them does. (2)
  const std::uint64_t now = memory_.generation() + (unit_ != nullptr ? unit_->generation() : 0);
  if (now != generation_) [[unlikely]] {
    generation_ = now;
    activity_.invalidated();
    forget();
  }
}

inline void DmaPort::leave() { activity_.end(); }

void DmaPort::forget() {
  last_ = {};
  if (epoch_++ == kLastEpoch) {
    epoch_ = 1;
    lines_ = {};
  }
}

inline std::byte* DmaPort::find_cached(Side side) const {
  const Last& last = last_[static_cast<std::size_t>(side.access)];
  if (const std::uint64_t offset = side.iova.value - last.first; offset < last.bytes) return last.host + offset;
  const Line& line = lines_[page_of(side.iova) % kLines];
  if (line.tag != (epoch_ << kEpochLo | page_of(side.iova)) || (line.host & allowed_bit(side.access)) == 0)
    return nullptr;
  return reinterpret_cast<std::byte*>(align_down(line.host, kPageSize) + offset_in_page(side.iova.value));
}

inline DmaPort::Spot DmaPort::find(Side side) {
  if (std::byte* const host = find_cached(side)) return {.host = host};
  return walk(side);
}

std::optional<Translation> DmaPort::ask_unit(Side side, DmaResult::Status& status) {
  status = DmaResult::Status::refused;
  if (unit_ == nullptr) {
    return Translation{.page = PhysAddr{align_down(side.iova.value, kPageSize)}, .read = true, .write = true};
  }
  const DmaWalk walking(activity_);
  const Transaction transaction{.stream = stream_, .pasid = pasid_, .iova = side.iova, .access = side.access};
  if (device_tlb_ == nullptr || !device_tlb_->is_on()) return unit_->translate(transaction);
  const DeviceTlb::Answer answer = device_tlb_->translate(*unit_, transaction);
  if (answer.page_requested) status = DmaResult::Status::requested;
  return answer.translation;
}

DmaPort::Spot DmaPort::walk(Side side) {
  DmaResult::Status status;
  const std::optional<Translation> translation = ask_unit(side, status);
  if (!translation) return {.status = status};
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
Access DmaPort::report(std::span<const Side> sides, std::span<const Spot> spots, std::uint64_t bytes) {
  for (std::size_t i = 0; i < sides.size(); ++i) {
    std::byte probe{};
    const bool readable = spots[i].host != nullptr && guarded_copy(&probe, spots[i].host, 1);
    const bool last_suspect = i + 1 == sides.size();
    if (readable && !last_suspect) continue;
    if (DmaWatch* const watch = memory_.watch()) {
      watch->lost(touch_of(sides[i], bytes));
    } else {
      memory_.report_lost(spots[i].pa, sides[i].iova, stream_);
    }
    return sides[i].access;
  }
  return sides.back().access;
}

// ---- who looks on

void DmaPort::tell() {
  if (DmaWatch* const watch = memory_.watch()) told_.store(watch->tick(), std::memory_order_relaxed);
}

DmaTouch DmaPort::touch_of(Side side, std::uint64_t bytes) const {
  return {.device = name_,
          .pasid = pasid_,
          .iova = side.iova,
          .bytes = bytes,
          .access = side.access,
          .told = told_.load(std::memory_order_relaxed)};
}

// Inside an odd section: what is about to be copied.
inline void DmaPort::notice(std::span<const Side> sides, std::span<const Spot> spots, std::uint64_t bytes) const {
  DmaWatch* const watch = memory_.watch();
  if (watch == nullptr) [[likely]]
    return;
  for (std::size_t i = 0; i < sides.size(); ++i) watch->touches(touch_of(sides[i], bytes), spots[i].host);
}

void DmaPort::notice_refusal(Side side, std::uint64_t bytes) const {
  if (DmaWatch* const watch = memory_.watch()) watch->refused(touch_of(side, bytes));
}

// ---- registers of another device

bool DmaPort::reaches_registers(std::span<const Spot> spots) const {
  const MmioMap* const registers = memory_.registers();
  return registers != nullptr && std::ranges::any_of(spots, [&](const Spot& spot) {
           return spot.host == nullptr && spot.status == DmaResult::Status::no_memory &&
                  registers->find(spot.pa).registers != nullptr;
         });
}

// Through a buffer, inside an odd section like every copy: an invalidation waits for it. False: a side has neither
// memory nor registers, or is refused.
template <std::size_t N, typename Copy>
bool DmaPort::transfer_registers(const std::array<Side, N>& sides, std::uint64_t done, std::uint64_t bytes,
                                 const Copy& copy) {
  std::array<std::array<std::byte, kPageSize>, N> buffers;
  std::array<MmioMap::Found, N> found{};
  std::array<Spot, N> spots;
  enter();
  bool reached = true;
  for (std::size_t i = 0; i < N && reached; ++i) {
    spots[i] = find(sides[i]);
    if (spots[i].host != nullptr) continue;
    if (spots[i].status == DmaResult::Status::no_memory) found[i] = memory_.registers()->find(spots[i].pa);
    reached = found[i].registers != nullptr;
    spots[i].host = buffers[i].data();
    if (reached && sides[i].access == Access::read) read_registers(found[i], std::span(buffers[i]).first(bytes));
  }
  const bool copied = reached && copy(spots, done, bytes);
  for (std::size_t i = 0; i < N && copied; ++i) {
    if (found[i].registers != nullptr && sides[i].access == Access::write)
      write_registers(found[i], std::span(buffers[i]).first(bytes));
  }
  leave();
  return copied;
}

template <std::size_t N, typename Copy>
inline DmaResult DmaPort::transfer(std::array<Side, N> sides, std::uint64_t bytes, Copy copy) {
  DmaResult result;
  constexpr std::uint64_t kNever = ~std::uint64_t{0};
  std::uint64_t failed_at = kNever;  // the memory's generation before it was settled
  while (result.done < bytes) {
    std::uint64_t piece = bytes - result.done;
    for (const Side& side : sides) piece = std::min(piece, kPageSize - offset_in_page(side.iova.value));
    std::array<Spot, N> spots;
    enter();
    const std::uint64_t entered = activity_.count();
    bool found = true;
    for (std::size_t i = 0; i < N && found; ++i) {
      spots[i] = find(sides[i]);
      found = spots[i].host != nullptr;
      result.status = spots[i].status;
      result.side = sides[i].access;
    }
    const bool undisturbed = activity_.count() == entered;
    if (found && undisturbed) notice(sides, spots, piece);
    const bool copied = found && undisturbed && copy(spots, result.done, piece);
    leave();
    if (copied) [[likely]] {
      result.done += piece;
      for (Side& side : sides) side.iova += piece;
      failed_at = kNever;
      continue;
    }
    if (is_final(result.status)) {
      const auto* const side = std::ranges::find(sides, result.side, &Side::access);
      if (result.status == DmaResult::Status::refused) notice_refusal(*side, piece);
      return result;
    }
    if (reaches_registers(spots) && transfer_registers(sides, result.done, piece, copy)) {
      result.status = DmaResult::Status::ok;
      result.done += piece;
      for (Side& side : sides) side.iova += piece;
      continue;
    }
    if (!undisturbed) continue;  // an interrupt's handler ran in the middle: what was found before it may be stale
    const std::uint64_t generation = memory_.generation();
    if (failed_at == generation) {
      result.side = report(sides, spots, piece);
      result.status = DmaResult::Status::no_memory;
      return result;
    }
    // The page may be on its way to a hidden place: let the move end and look again, without the caches. As long as new
    // moves begin meanwhile, nothing is known to be lost.
    failed_at = generation;
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

// ---- lists

// Cuts a list into pieces that lie in one page each.
class DmaPort::Pieces {
 public:
  explicit Pieces(std::span<const DmaSegment> list) : list_(list) {}

  // The next ones, together at most `bytes`; how many.
  std::size_t take(std::span<Piece, kBatch> pieces, std::uint64_t bytes) {
    std::size_t count = 0;
    while (count < pieces.size() && bytes != 0 && !list_.empty()) {
      const Iova iova = list_.front().iova + done_;
      const std::uint64_t left = list_.front().bytes - done_;
      const std::uint64_t now = std::min({left, bytes, kPageSize - offset_in_page(iova.value)});
      if (now != 0) pieces[count++] = {iova, now};
      bytes -= now;
      done_ += now;
      if (now != left) continue;
      list_ = list_.subspan(1);
      done_ = 0;
    }
    return count;
  }

 private:
  std::span<const DmaSegment> list_;
  std::uint64_t done_ = 0;  // of the first one
};

// Finds the places of pieces, inside an odd section, and how many of them: it ends before the first that is nowhere.
// What the look-ups and the copies are going to read is asked for first, so that the waiting times run together.
std::size_t DmaPort::find_batch(Access access, std::span<const Piece> pieces, std::span<Spot> spots) {
  std::uint32_t missing = 0;
  static_assert(kBatch <= 32);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    spots[i] = {.host = find_cached({pieces[i].iova, access})};
    if (spots[i].host == nullptr) missing |= 1u << i;
  }
  const bool several = (missing & (missing - 1)) != 0;
  if (several && unit_ != nullptr) {
    for (std::uint32_t rest = missing; rest != 0; rest &= rest - 1)
      unit_->prefetch({.stream = stream_,
                       .pasid = pasid_,
                       .iova = pieces[static_cast<unsigned>(std::countr_zero(rest))].iova,
                       .access = access});
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if ((missing >> i & 1) != 0) spots[i] = find({pieces[i].iova, access});
    if (spots[i].host == nullptr) return i;
    __builtin_prefetch(spots[i].host);
    __builtin_prefetch(spots[i].host + pieces[i].bytes - 1);
  }
  return pieces.size();
}

template <typename Copy>
DmaResult DmaPort::transfer_list(std::span<const DmaSegment> list, Access access, std::uint64_t bytes, Copy copy) {
  DmaResult result{.side = access};
  Pieces rest(list);
  std::array<Piece, kBatch> pieces;
  std::array<Spot, kBatch> spots;
  const auto copy_alone = [&](const Piece& piece) {  // with all that can go wrong
    const DmaResult one = transfer(std::array{Side{piece.iova, access}}, piece.bytes,
                                   [&](const std::array<Spot, 1>& spot, std::uint64_t done, std::uint64_t count) {
                                     return copy(spot[0].host, result.done + done, count);
                                   });
    result.done += one.done;
    result.status = one.status;
    return static_cast<bool>(one);
  };
  while (const std::size_t count = rest.take(pieces, std::min(bytes - result.done, kBatchBytes))) {
    std::size_t copied = 0;
    while (copied < count) {
      enter();
      const std::uint64_t entered = activity_.count();
      const std::size_t begun = copied;
      const std::size_t found = begun + find_batch(access, std::span(pieces).subspan(begun, count - begun), spots);
      const bool undisturbed = activity_.count() == entered;
      while (undisturbed && copied < found) {
        const Side side{pieces[copied].iova, access};
        notice({&side, 1}, {&spots[copied - begun], 1}, pieces[copied].bytes);
        if (!copy(spots[copied - begun].host, result.done, pieces[copied].bytes)) break;
        result.done += pieces[copied++].bytes;
      }
      leave();
      for (; copied < found; ++copied)
        if (!copy_alone(pieces[copied])) return result;
      if (copied == count) break;
      result.status = spots[copied - begun].status;
      if (is_final(result.status)) {
        if (result.status == DmaResult::Status::refused)
          notice_refusal({pieces[copied].iova, access}, pieces[copied].bytes);
        return result;
      }
      if (!copy_alone(pieces[copied++])) return result;
    }
  }
  return result;
}

DmaResult DmaPort::read(std::span<const DmaSegment> from, std::span<std::byte> to) {
  return transfer_list(from, Access::read, to.size(), [to](std::byte* host, std::uint64_t done, std::uint64_t bytes) {
    return guarded_copy(to.data() + done, host, bytes);
  });
}

DmaResult DmaPort::write(std::span<const DmaSegment> to, std::span<const std::byte> from) {
  return transfer_list(to, Access::write, from.size(),
                       [from](std::byte* host, std::uint64_t done, std::uint64_t bytes) {
                         return guarded_copy(host, from.data() + done, bytes);
                       });
}

void DmaPort::translate(Access access, std::span<const Iova> iovas, std::span<std::byte*> hosts) {
  constexpr std::size_t kKnown = 64;  // of one odd section
  std::array<Piece, kBatch> pieces;
  std::array<Spot, kBatch> spots;
  for (std::size_t at = 0; at < iovas.size();) {
    enter();
    const std::size_t end = std::min(iovas.size(), at + kKnown);
    while (at < end && (hosts[at] = find_cached({iovas[at], access})) != nullptr) ++at;
    const std::size_t count = std::min(kBatch, end - at);
    for (std::size_t i = 0; i < count; ++i) pieces[i] = {iovas[at + i], 1};
    const std::size_t found = count == 0 ? 0 : find_batch(access, std::span(pieces).first(count), spots);
    leave();
    for (std::size_t i = 0; i < found; ++i) hosts[at++] = spots[i].host;
    if (found < count) hosts[at++] = nullptr;
  }
}

}  // namespace softiommu
