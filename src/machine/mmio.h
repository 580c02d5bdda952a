// SPDX-License-Identifier: BSD-3-Clause
// A window of registers: the only way a driver, a program or a VMM reaches hardware.
#pragma once

#include <cstdint>

namespace softiommu {

// Naturally aligned accesses of 1, 2, 4 or 8 bytes; what a register does with a width that its manual does not
// allow is the model's (documented) choice, never undefined. May be called on any thread, also from a fault
// handler: an implementation takes at most its own register lock (a leaf), does no DMA and allocates nothing.
// IOMMU models are the exception: their queues are processed inside the tail write, on the caller's thread.
class MmioRegion {
 public:
  virtual ~MmioRegion() = default;
  virtual std::uint64_t read(std::uint64_t offset, unsigned bytes) = 0;
  virtual void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) = 0;

  std::uint32_t read32(std::uint64_t offset) { return static_cast<std::uint32_t>(read(offset, 4)); }
  std::uint64_t read64(std::uint64_t offset) { return read(offset, 8); }
  void write32(std::uint64_t offset, std::uint32_t value) { write(offset, 4, value); }
  void write64(std::uint64_t offset, std::uint64_t value) { write(offset, 8, value); }
};

}  // namespace softiommu
