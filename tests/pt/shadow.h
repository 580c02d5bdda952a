// SPDX-License-Identifier: BSD-3-Clause
// What hardware whose walks do not snoop sees: a copy of the table memory that is updated only where the engine says
// that it wrote.
#pragma once

#include <cstring>
#include <vector>

#include "arena.h"
#include "pt/observers.h"

namespace softiommu::pt {

class Shadow : public WriteObserver {
 public:
  struct Write {
    PhysAddr first;
    std::uint64_t bytes;
    bool covers(PhysAddr from, std::uint64_t size) const { return first <= from && from + size <= first + bytes; }
  };

  explicit Shadow(const TableMemory& memory) : memory_(memory) {}

  void wrote(PhysAddr first, std::uint64_t bytes) override {
    if (recording) writes.push_back({first, bytes});
    std::memcpy(copy_.as<std::byte>(first), memory_.as<std::byte>(first), bytes);
  }
  template <class T>
  T* as(PhysAddr a) const {
    return copy_.as<T>(a);
  }
  bool equals(PhysAddr first, std::uint64_t bytes) const {
    return std::memcmp(copy_.as<std::byte>(first), memory_.as<std::byte>(first), bytes) == 0;
  }

  bool recording = false;
  std::vector<Write> writes;

 private:
  const TableMemory& memory_;
  Arena copy_;  // at the same physical addresses
};

}  // namespace softiommu::pt
