// SPDX-License-Identifier: BSD-3-Clause
// One step of a walk through tables of 32-bit words: the entry as hardware reads it, once, and what can come of it.
#pragma once

#include "machine/iommu/walk/words.h"

namespace softiommu::walk {

class Entry32 {
 public:
  // `level` is that of the table, counted from the leaves.
  Entry32(Memory& memory, PhysAddr table, std::uint64_t index, unsigned level)
      : address_(table + index * sizeof(std::uint32_t)), level_(level) {
    const TableWord<std::uint32_t> place(memory, address_);
    exists_ = place.exists();
    if (exists_) word_ = place.load();
  }

  bool exists() const { return exists_; }
  std::uint32_t word() const { return word_; }

  std::unexpected<Failure> fault(Fault why) const {
    return std::unexpected(Failure{.fault = why, .level = level_, .entry = address_, .word = word_});
  }
  // The page, if its rights allow the access.
  Outcome serve(const Page& page, Access access) const {
    if (access == Access::write ? !page.write : !page.read) return fault(Fault::permission);
    return page;
  }

 private:
  PhysAddr address_;
  unsigned level_;
  bool exists_ = false;
  std::uint32_t word_ = 0;
};

// Of an address that the tables do not reach: nothing was read.
inline std::unexpected<Failure> beyond_input() { return std::unexpected(Failure{.fault = Fault::input_range}); }

}  // namespace softiommu::walk
