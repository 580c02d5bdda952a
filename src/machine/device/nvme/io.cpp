// SPDX-License-Identifier: BSD-3-Clause
// Commands of the NVM command set (section 6), and the way of data between memory and the device.
#include <algorithm>
#include <cstring>

#include "machine/device/nvme/controller.h"

namespace softiommu::nvme {

namespace {
namespace hw = softiommu::hw::nvme;
}

// ---- data

// Calls move(piece of memory, part of the data) for each piece; false from it: refused.
template <class Move>
Status Controller::move_data(const Command& command, Access access, std::uint64_t bytes, Move&& move) {
  const DataPointer pointer{.psdt = hw::kCommandWord["PSDT"].get(command.words[0]),
                            .first = command.words[hw::kWordPrp1],
                            .second = command.words[hw::kWordPrp2],
                            .access = access};
  const auto pieces = find_data(pointer, bytes, page_bytes(), [&](Iova from, std::span<std::byte> to) {
    return static_cast<bool>(dma_read(from, to));
  });
  if (!pieces) return pieces.error();
  std::uint64_t done = 0;
  for (const DmaSegment& piece : *pieces) {
    if (piece.iova != kBitBucket && !move(piece, done)) return Status::data_transfer_error;
    done += piece.bytes;
  }
  return Status::success;
}

Status Controller::receive(const Command& command, std::span<std::byte> to) {
  return move_data(command, Access::read, to.size(), [&](const DmaSegment& piece, std::uint64_t done) {
    return static_cast<bool>(dma_read(piece.iova, to.subspan(done, piece.bytes)));
  });
}

Status Controller::send(const Command& command, std::span<const std::byte> from) {
  return move_data(command, Access::write, from.size(), [&](const DmaSegment& piece, std::uint64_t done) {
    return static_cast<bool>(dma_write(piece.iova, from.subspan(done, piece.bytes)));
  });
}

// ---- commands

Namespace* Controller::find_namespace(std::uint32_t id) {
  return id == 0 || id > namespaces_.size() ? nullptr : &namespaces_[id - 1];
}

std::optional<Controller::Range> Controller::blocks_of(const Command& command, const Namespace& ns) const {
  const std::uint64_t first = command.dw10(), blocks = hw::kBlocksDword["NLB"].get(command.dw12()) + 1;
  if (first >= ns.blocks() || blocks > ns.blocks() - first) return std::nullopt;
  return Range{first << ns.block_lg2, blocks << ns.block_lg2};
}

Outcome Controller::io(const Command& command) {
  const auto opcode = static_cast<hw::Io>(command.opcode());
  if (opcode == hw::Io::flush) return flush(command);
  Namespace* const ns = find_namespace(command.nsid());
  switch (opcode) {
    case hw::Io::write:
    case hw::Io::read:
    case hw::Io::compare:
      return ns == nullptr ? Status::invalid_namespace : transfer(command, *ns);
    case hw::Io::write_zeroes:
      return ns == nullptr ? Status::invalid_namespace : write_zeroes(command, *ns);
    case hw::Io::dsm:
      return ns == nullptr ? Status::invalid_namespace : manage_dataset(command, *ns);
    default:
      return Status::invalid_opcode;
  }
}

// Read, write, compare.
Outcome Controller::transfer(const Command& command, Namespace& ns) {
  const auto opcode = static_cast<hw::Io>(command.opcode());
  const auto range = blocks_of(command, ns);
  if (!range) return Status::lba_out_of_range;
  if (hw::kBlocksDword["PRINFO"].is_set(command.dw12())) return Status::invalid_field;  // no protection information
  if (range->bytes > kPageSize << kTransferPagesLg2) return Status::invalid_field;
  std::vector<std::byte> data(range->bytes);
  if (opcode != hw::Io::read) {
    if (const Status received = receive(command, data); received != Status::success) return received;
  }
  if (opcode == hw::Io::write) {
    ++counters_.writes;
    counters_.bytes_written += range->bytes;
    if (!ns.storage->write(range->offset, data)) return Status::write_fault;
    constexpr auto kCache = static_cast<std::size_t>(hw::Feature::write_cache);
    const bool durable = hw::kBlocksDword["FUA"].is_set(command.dw12()) || features_[kCache] == 0;
    return durable && !ns.storage->flush() ? Status::write_fault : Status::success;
  }
  ++counters_.reads;
  counters_.bytes_read += range->bytes;
  std::vector<std::byte> stored(range->bytes);
  if (!ns.storage->read(range->offset, stored)) return Status::read_error;
  if (opcode == hw::Io::read) return send(command, stored);
  return stored == data ? Status::success : Status::compare_failure;
}

Outcome Controller::write_zeroes(const Command& command, Namespace& ns) {
  const auto range = blocks_of(command, ns);
  if (!range) return Status::lba_out_of_range;
  const bool gives_back = hw::kBlocksDword["DEAC"].is_set(command.dw12());
  const bool done =
      gives_back ? ns.storage->deallocate(range->offset, range->bytes) : ns.storage->zero(range->offset, range->bytes);
  return done ? Status::success : Status::write_fault;
}

// Deallocated blocks read as zeros; other advice changes nothing.
Outcome Controller::manage_dataset(const Command& command, Namespace& ns) {
  struct Advice {
    std::uint32_t attributes, blocks;
    std::uint64_t first;
  };
  static_assert(sizeof(Advice) == hw::kRangeBytes);
  std::vector<Advice> ranges(hw::kDsmDword["NR"].get(command.dw10()) + 1);
  const Status received = receive(command, std::as_writable_bytes(std::span(ranges)));
  if (received != Status::success) return received;
  for (const Advice& range : ranges)
    if (range.first > ns.blocks() || range.blocks > ns.blocks() - range.first) return Status::lba_out_of_range;
  if (!hw::kDsmDword["AD"].is_set(command.dw10())) return Status::success;
  for (const Advice& range : ranges) {
    const std::uint64_t bytes = std::uint64_t{range.blocks} << ns.block_lg2;
    if (!ns.storage->deallocate(range.first << ns.block_lg2, bytes)) return Status::write_fault;
  }
  return Status::success;
}

Outcome Controller::flush(const Command& command) {
  if (command.nsid() == hw::kAllNamespaces) {
    const bool all = std::ranges::all_of(namespaces_, [](const Namespace& ns) { return ns.storage->flush(); });
    return all ? Status::success : Status::write_fault;
  }
  const Namespace* const ns = find_namespace(command.nsid());
  if (ns == nullptr) return Status::invalid_namespace;
  return ns->storage->flush() ? Status::success : Status::write_fault;
}

}  // namespace softiommu::nvme
