// SPDX-License-Identifier: BSD-3-Clause
// One IOMMU by itself, driven by registers and memory alone: how it is switched on, and tables written by hand.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "machine/findings.h"
#include "machine/memory.h"
#include "machine/registry.h"

namespace softiommu::test {

class UnitTest : public ::testing::Test {
 protected:
  // `name`: what findings call it.
  UnitTest(const UnitModel& model, std::string name, const MemorySpec& memory = {})
      : model_(model), name_(std::move(name)), memory_spec_(memory) {}
  void SetUp() override {
    log::set_sink([](void*, log::Level, std::string_view) noexcept {}, nullptr);
    memory_ = std::move(*Memory::create(memory_spec_));
    power_on();
  }
  void TearDown() override { log::set_sink(nullptr, nullptr); }

  struct Choice {
    std::string_view key;
    std::uint64_t value;
  };
  // A new unit with these options; tables in memory stay.
  void power_on(const std::vector<Choice>& choices = {}, bool paranoid = false) {
    auto made = make(choices, paranoid);
    ASSERT_TRUE(made) << made.error().why;
    unit_ = std::move(*made);
    unit_->on_interrupt([this](unsigned line) {
      interrupts_.push_back(line);
      if (handler_) handler_(line);
    });
    interrupts_.clear();
    control_ = 0;
  }
  Result<std::unique_ptr<IommuUnit>> make(const std::vector<Choice>& choices, bool paranoid = false) {
    Options options(model_.options);
    for (const Choice& choice : choices) options.set(choice.key, choice.value);
    return model_.create({.name = name_, .memory = *memory_, .findings = findings_, .paranoid = paranoid}, options);
  }

  // ---- registers
  std::uint32_t r32(std::uint64_t offset) { return unit_->read32(offset); }
  std::uint64_t r64(std::uint64_t offset) { return unit_->read64(offset); }
  void w32(std::uint64_t offset, std::uint64_t value) { unit_->write32(offset, static_cast<std::uint32_t>(value)); }
  void w64(std::uint64_t offset, std::uint64_t value) { unit_->write64(offset, value); }

  // ---- tables
  std::uint64_t new_table(unsigned pages = 1) { return memory_->tables().allocate(pages)->value; }
  std::uint64_t& word(std::uint64_t table, std::uint64_t index = 0) {
    return memory_->tables().words(PhysAddr{table})[index];
  }
  // The entry of `iova` at `level` in Arm's tables of 4 KiB that begin at `from_level`, perhaps several side by side;
  // those below are made as needed.
  std::uint64_t& arm_entry(std::uint64_t table, unsigned from_level, std::uint64_t iova, unsigned level) {
    for (unsigned at = from_level; at < level; ++at) {
      std::uint64_t index = iova >> (12 + 9 * (3 - at));
      if (at != from_level) index &= 511;
      std::uint64_t& next = word(table, index);
      if (next == 0) next = new_table() | 3;
      table = next & 0xffff'ffff'f000;
    }
    const std::uint64_t index = iova >> (12 + 9 * (3 - level));
    return word(table, from_level == level ? index : index & 511);
  }
  // The same in tables as x86 has them, from `levels` down to 1: `link(at)` are the other bits of an entry that leads
  // to a table of level `at`.
  template <typename Link>
  std::uint64_t& x86_entry(std::uint64_t table, unsigned levels, std::uint64_t iova, unsigned level, Link link) {
    for (unsigned at = levels; at > level; --at) {
      std::uint64_t& next = word(table, iova >> (12 + 9 * (at - 1)) & 511);
      if (next == 0) next = new_table() | link(at - 1);
      table = next & 0x000f'ffff'ffff'f000;
    }
    return word(table, iova >> (12 + 9 * (level - 1)) & 511);
  }

  // Where an access to `iova` ends, as it was translated; nullopt: refused.
  static std::optional<std::uint64_t> end_of(const std::optional<Translation>& page, std::uint64_t iova) {
    if (!page) return std::nullopt;
    return page->page.value + (iova & ((std::uint64_t{1} << page->page_lg2) - 1));
  }

  const UnitModel model_;
  const std::string name_;
  const MemorySpec memory_spec_;
  std::unique_ptr<Memory> memory_;
  Findings findings_;
  std::unique_ptr<IommuUnit> unit_;
  std::vector<unsigned> interrupts_;
  std::function<void(unsigned)> handler_;  // of interrupts, if there is one
  std::uint64_t control_ = 0;              // what is switched on
};

}  // namespace softiommu::test
