// SPDX-License-Identifier: BSD-3-Clause
// Which physical addresses are registers: the BARs of the machine's functions, as DMA of another device meets them.
// Complete before anything does DMA, and constant from then on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/types.h"
#include "machine/mmio.h"

namespace softiommu {

class MmioMap {
 public:
  // Windows do not overlap. May throw std::bad_alloc.
  void add(PhysAddr first, std::uint64_t bytes, MmioRegion& registers) {
    windows_.push_back({first, bytes, &registers});
  }

  struct Found {
    MmioRegion* registers = nullptr;  // nullptr: nothing is there
    std::uint64_t offset = 0;
  };
  Found find(PhysAddr pa) const {
    for (const Window& window : windows_)
      if (pa >= window.first && pa - window.first < window.bytes) return {window.registers, pa - window.first};
    return {};
  }

 private:
  struct Window {
    PhysAddr first;
    std::uint64_t bytes;
    MmioRegion* registers;
  };
  std::vector<Window> windows_;
};

// As DMA of another device does it: 4 bytes at a time where those are aligned, which every register takes, else single
// bytes.
inline unsigned register_access(std::uint64_t offset, std::uint64_t bytes) {
  constexpr unsigned kWord = 4;
  return is_aligned(offset, kWord) && bytes >= kWord ? kWord : 1;
}
inline void read_registers(MmioMap::Found from, std::span<std::byte> to) {
  while (!to.empty()) {
    const unsigned bytes = register_access(from.offset, to.size());
    const std::uint64_t value = from.registers->read(from.offset, bytes);
    std::memcpy(to.data(), &value, bytes);
    from.offset += bytes;
    to = to.subspan(bytes);
  }
}
inline void write_registers(MmioMap::Found to, std::span<const std::byte> from) {
  while (!from.empty()) {
    const unsigned bytes = register_access(to.offset, from.size());
    std::uint64_t value = 0;
    std::memcpy(&value, from.data(), bytes);
    to.registers->write(to.offset, bytes, value);
    to.offset += bytes;
    from = from.subspan(bytes);
  }
}

}  // namespace softiommu
