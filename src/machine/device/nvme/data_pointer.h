// SPDX-License-Identifier: BSD-3-Clause
// Where a command's data are in memory: PRP entries (4.3) or an SGL (4.4), as a list of pieces.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <span>
#include <vector>

#include "hw/nvme.h"
#include "machine/dma_port.h"

namespace softiommu::nvme {

// Reads lists from memory; false: refused.
using Fetch = std::function<bool(Iova from, std::span<std::byte> to)>;

struct DataPointer {
  std::uint64_t psdt;           // PRPs or SGL
  std::uint64_t first, second;  // words 3 and 4 of the command
  Access access;                // what the device does with the memory
};

// Pieces for `bytes` of data, in order, all of them; a piece of address kBitBucket is to be thrown away.
// A controller page is `page` bytes. Errors: what the command completes with.
inline constexpr Iova kBitBucket{~std::uint64_t{0}};
std::expected<std::vector<DmaSegment>, hw::nvme::Status> find_data(const DataPointer& pointer, std::uint64_t bytes,
                                                                   std::uint64_t page, const Fetch& fetch);

}  // namespace softiommu::nvme
