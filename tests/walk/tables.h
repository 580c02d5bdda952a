// SPDX-License-Identifier: BSD-3-Clause
// Tables written word by word: for what no engine would write, and for the bits that hardware keeps.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <expected>
#include <memory>
#include <optional>

#include "machine/iommu/walk/walk.h"
#include "machine/memory.h"

namespace softiommu::test {

class TablesByHand : public ::testing::Test {
 protected:
  Memory& memory() { return *memory_; }
  PhysAddr table(unsigned pages = 1) { return *memory_->tables().allocate(pages); }
  void put(PhysAddr table, std::uint64_t index, std::uint64_t word) { memory_->tables().words(table)[index] = word; }
  void put_big_endian(PhysAddr table, std::uint64_t index, std::uint64_t word) {
    put(table, index, std::endian::native == std::endian::little ? std::byteswap(word) : word);
  }
  std::uint64_t word(PhysAddr table, std::uint64_t index) { return memory_->tables().words(table)[index]; }

  // Of a walk that must fail; nullopt: it found a page.
  static std::optional<walk::Fault> fault_of(const walk::Outcome& outcome) {
    return outcome ? std::nullopt : std::optional(outcome.error().fault);
  }

  static constexpr PhysAddr kNothingThere{0x1000};  // below the machine's memory

 private:
  std::unique_ptr<Memory> memory_ = std::move(*Memory::create({.table_arena = 16 * kMiB}));
};

}  // namespace softiommu::test
