// SPDX-License-Identifier: BSD-3-Clause
// One IOMMU of a system on chip by itself: registers, tables written by hand in the arena, and what a request gets.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "machine/machine.h"

namespace softiommu {

class SocUnit : public ::testing::Test {
 protected:
  // `keys`: lines of the machine file.
  void make(const std::string& model, const std::string& keys = {}) {
    const auto spec =
        parse_machine("[[iommu]]\nname = \"mmu\"\nmodel = \"" + model + "\"\n" + keys + "\n", "test.toml");
    ASSERT_TRUE(spec) << spec.error().where << ": " << spec.error().what;
    memory_ = *Memory::create({.top = 4 * kGiB, .table_arena = 64 * kMiB});
    const auto models = unit_models();
    const auto row = std::ranges::find(models, model, &UnitModel::name);
    unit_ = *row->create({"mmu", *memory_, findings_, paranoid_}, spec->units[0].options);
    unit_->on_interrupt([this](unsigned line) { lines_.push_back(line); });
  }

  std::uint32_t read(std::uint32_t offset, unsigned mmu = 0) { return unit_->read32(mmu * 0x100 + offset); }
  void write(std::uint32_t offset, std::uint64_t value, unsigned mmu = 0) {
    unit_->write32(mmu * 0x100 + offset, static_cast<std::uint32_t>(value));
  }
  PhysAddr table(unsigned pages = 1) { return *memory_->tables().allocate(pages); }
  std::uint32_t& entry(PhysAddr table, std::size_t index) { return memory_->tables().as<std::uint32_t>(table)[index]; }
  static std::uint32_t low(PhysAddr address) { return static_cast<std::uint32_t>(address.value); }

  static constexpr std::uint64_t kRefused = ~std::uint64_t{0};
  // The physical address that a request reaches.
  std::uint64_t reach(std::uint64_t iova, Access access = Access::read, StreamId stream = 0) {
    const auto got = unit_->translate({.stream = stream, .iova = Iova{iova}, .access = access});
    if (!got) return kRefused;
    return got->page.value + (iova & ((std::uint64_t{1} << got->page_lg2) - 1));
  }

  bool paranoid_ = false;
  Findings findings_;
  std::unique_ptr<Memory> memory_;
  std::unique_ptr<IommuUnit> unit_;
  std::vector<unsigned> lines_;  // interrupts, in order
};

}  // namespace softiommu
