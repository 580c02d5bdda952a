// SPDX-License-Identifier: BSD-3-Clause
#include "machine/device/nvme/data_pointer.h"

#include <algorithm>
#include <array>

namespace softiommu::nvme {

namespace {

using hw::nvme::Sgl;
using hw::nvme::Status;
using Segments = std::vector<DmaSegment>;

// No transfer needs more pieces, segments of an SGL included; who names more means no good.
constexpr std::size_t kMostDescriptors = 4096;

// PRP entries come one after the other, the last of a full list page being the address of the next one.
class PrpList {
 public:
  PrpList(std::uint64_t address, std::uint64_t page, const Fetch& fetch)
      : address_(address), page_(page), fetch_(fetch) {}

  // `left`: entries that are still wanted, this one included.
  std::expected<std::uint64_t, Status> next(std::uint64_t left) {
    if (at_last_entry() && left > 1) {
      const auto list = entry();
      if (!list) return list;
      if (*list % page_ != 0) return std::unexpected(Status::invalid_prp_offset);
      address_ = *list;
    }
    return entry();
  }

 private:
  bool at_last_entry() const { return address_ % page_ == page_ - sizeof(std::uint64_t); }
  std::expected<std::uint64_t, Status> entry() {
    std::uint64_t value = 0;
    if (!fetch_(Iova{address_}, std::as_writable_bytes(std::span(&value, 1))))
      return std::unexpected(Status::data_transfer_error);
    address_ += sizeof value;
    return value;
  }

  std::uint64_t address_;
  const std::uint64_t page_;
  const Fetch& fetch_;
};

std::expected<Segments, Status> find_by_prps(const DataPointer& pointer, std::uint64_t bytes, std::uint64_t page,
                                             const Fetch& fetch) {
  constexpr std::uint64_t kAlignment = sizeof(std::uint32_t);
  if (pointer.first % kAlignment != 0) return std::unexpected(Status::invalid_prp_offset);
  Segments pieces;
  const std::uint64_t front = std::min(bytes, page - pointer.first % page);
  pieces.push_back({Iova{pointer.first}, front});
  bytes -= front;
  if (bytes == 0) return pieces;
  if (bytes <= page) {
    if (pointer.second % page != 0) return std::unexpected(Status::invalid_prp_offset);
    pieces.push_back({Iova{pointer.second}, bytes});
    return pieces;
  }
  if (pointer.second % sizeof(std::uint64_t) != 0) return std::unexpected(Status::invalid_prp_offset);
  PrpList list(pointer.second, page, fetch);
  while (bytes != 0) {
    const auto entry = list.next((bytes + page - 1) / page);
    if (!entry) return std::unexpected(entry.error());
    if (*entry % page != 0) return std::unexpected(Status::invalid_prp_offset);
    const std::uint64_t piece = std::min(bytes, page);
    pieces.push_back({Iova{*entry}, piece});
    bytes -= piece;
  }
  return pieces;
}

struct Descriptor {
  std::uint64_t address = 0, word = 0;
  Sgl type() const { return static_cast<Sgl>(hw::nvme::kSglWord["TYPE"].get(word)); }
  std::uint64_t length() const { return hw::nvme::kSglWord["LENGTH"].get(word); }
  bool is_segment() const { return type() == Sgl::segment || type() == Sgl::last_segment; }
};

class SglWalk {
 public:
  SglWalk(std::uint64_t bytes, Access access, const Fetch& fetch) : left_(bytes), access_(access), fetch_(fetch) {}

  std::expected<Segments, Status> run(Descriptor first) {
    Status status = Status::success;
    if (first.is_segment()) {
      status = follow(first);
    } else {
      status = take(first);
    }
    if (status == Status::success && left_ != 0) status = Status::sgl_length_invalid;
    if (status != Status::success) return std::unexpected(status);
    return std::move(pieces_);
  }

 private:
  // Segments one after the other: each but the last ends with the descriptor of the next one.
  Status follow(Descriptor segment) {
    for (;;) {
      if (segment.length() == 0 || segment.length() % hw::nvme::kSglBytes != 0) return Status::invalid_sgl_segment;
      const bool is_last = segment.type() == Sgl::last_segment;
      const std::uint64_t count = segment.length() / hw::nvme::kSglBytes;
      Descriptor next;
      for (std::uint64_t i = 0; i < count; ++i) {
        if (seen_++ == kMostDescriptors) return Status::invalid_sgl_count;
        const auto read = fetch(segment.address + i * hw::nvme::kSglBytes);
        if (!read) return read.error();
        const bool chains = read->is_segment();
        if (chains && (is_last || i + 1 != count)) return Status::invalid_sgl_segment;
        if (chains) {
          next = *read;
        } else if (const Status status = take(*read); status != Status::success) {
          return status;
        }
      }
      if (is_last) return Status::success;
      if (!next.is_segment()) return Status::invalid_sgl_segment;
      segment = next;
    }
  }

  // A piece of data; what the command does not need is not looked at. A bit bucket takes data and gives none.
  Status take(const Descriptor& descriptor) {
    if (hw::nvme::kSglWord["SUBTYPE"].is_set(descriptor.word)) return Status::sgl_type_invalid;
    const std::uint64_t bytes = std::min(left_, descriptor.length());
    if (descriptor.type() != Sgl::data && descriptor.type() != Sgl::bit_bucket) return Status::sgl_type_invalid;
    if (bytes == 0 || (descriptor.type() == Sgl::bit_bucket && access_ == Access::read)) return Status::success;
    pieces_.push_back({descriptor.type() == Sgl::data ? Iova{descriptor.address} : kBitBucket, bytes});
    left_ -= bytes;
    return Status::success;
  }

  std::expected<Descriptor, Status> fetch(std::uint64_t address) const {
    std::array<std::uint64_t, 2> words{};
    if (!fetch_(Iova{address}, std::as_writable_bytes(std::span(words))))
      return std::unexpected(Status::data_transfer_error);
    return Descriptor{words[0], words[1]};
  }

  std::uint64_t left_;
  const Access access_;
  const Fetch& fetch_;
  std::size_t seen_ = 0;
  Segments pieces_;
};

}  // namespace

std::expected<Segments, Status> find_data(const DataPointer& pointer, std::uint64_t bytes, std::uint64_t page,
                                          const Fetch& fetch) {
  constexpr std::uint64_t kPrps = 0, kReserved = 3;
  if (bytes == 0) return Segments{};
  if (pointer.psdt == kPrps) return find_by_prps(pointer, bytes, page, fetch);
  if (pointer.psdt == kReserved) return std::unexpected(Status::invalid_field);
  return SglWalk(bytes, pointer.access, fetch).run({pointer.first, pointer.second});
}

}  // namespace softiommu::nvme
