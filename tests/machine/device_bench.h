// SPDX-License-Identifier: BSD-3-Clause
// A device model on the bench: real memory, virtual time, an IOMMU that maps one to one but for what a test refuses.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "hw/pci.h"
#include "machine/registry.h"

namespace softiommu {

class IrqRecorder final : public IrqSink {
 public:
  void message(unsigned vector) override { messages.push_back(vector); }
  void intx(bool asserted) override { levels.push_back(asserted); }

  std::vector<unsigned> messages;
  std::vector<bool> levels;
};

// Identity, except for pages that a test refuses for reading or writing. No page is translated twice the same way
// by a cache: tests change their minds.
class BenchUnit final : public IommuUnit {
 public:
  using IommuUnit::IommuUnit;
  std::string_view model() const override { return "bench"; }
  std::uint64_t register_bytes() const override { return 0; }
  std::uint64_t read(std::uint64_t, unsigned) override { return 0; }
  void write(std::uint64_t, unsigned, std::uint64_t) override {}
  void reset() override {}
  std::optional<Translation> translate(const Transaction& t) override {
    const std::uint64_t page = t.iova.value >> kPageShift;
    if (refused.contains({page, t.access})) {
      ++faults;
      return std::nullopt;
    }
    return Translation{.page = PhysAddr{page << kPageShift}, .read = true, .write = true, .cacheable = false};
  }

  std::set<std::pair<std::uint64_t, Access>> refused;
  unsigned faults = 0;
};

class DeviceBench : public testing::Test {
 protected:
  static constexpr std::uint64_t kBytes = 2 * kMiB;

  void SetUp() override {
    memory_ = take(Memory::create({}));
    executor_ = take(Executor::create(Executor::Time::virtual_time));
    unit_ = std::make_unique<BenchUnit>(UnitContext{.name = "bench", .memory = *memory_, .findings = findings_});
    host_ = static_cast<std::byte*>(std::aligned_alloc(kBytes, kBytes));
    std::memset(host_, 0, kBytes);
    run_ = take(memory_->pin(reinterpret_cast<std::uint64_t>(host_), kBytes));
    ASSERT_EQ(run_.bytes, kBytes);
  }

  void TearDown() override {
    if (device_) executor_->remove(*device_);
    device_.reset();
    memory_->unpin(run_);
    std::free(host_);
  }

  PciFunction::Context context(Bdf bdf = {.bus = 1, .device = 2}) {
    return {.bdf = bdf, .memory = *memory_, .unit = unit_.get(), .stream = bdf.requester_id(), .executor = *executor_};
  }

  // Creates the device with `options` and does what a driver's first lines do.
  void plug(const DeviceModel& model, std::initializer_list<std::pair<const char*, std::uint64_t>> options = {}) {
    Options values(model.options);
    for (const auto& [key, value] : options) values.set(key, value);
    plug(take(model.create(context(), values)));
  }
  void plug(std::unique_ptr<PciFunction> device) {
    device_ = std::move(device);
    executor_->add(*device_);
    device_->set_irq_sink(&irqs_);
    enable();
  }
  void enable() { command(hw::pci::kCommand["MEM"].mask() | hw::pci::kCommand["MASTER"].mask()); }
  void command(std::uint64_t value) {
    device_->config_write(hw::pci::kCommand.offset, 2, static_cast<std::uint32_t>(value));
  }
  void enable_msi() {
    const unsigned at = device_->find_capability(hw::pci::capability::kMsi) + hw::pci::msi::kControl.offset;
    device_->config_write(at, 2, static_cast<std::uint32_t>(hw::pci::msi::kControl["ENABLE"].mask()));
  }
  void msix_control(std::uint64_t value) {
    const unsigned at = device_->find_capability(hw::pci::capability::kMsix) + hw::pci::msix::kControl.offset;
    device_->config_write(at, 2, static_cast<std::uint32_t>(value));
  }
  void enable_msix() {
    msix_control(hw::pci::msix::kControl["ENABLE"].mask());
    mask_vector(0, false);
  }
  void mask_vector(unsigned vector, bool masked) {
    constexpr unsigned kControlWord = 12;
    bar().write32(device_->msix_table_offset() + vector * hw::pci::msix::kEntryBytes + kControlWord, masked);
  }

  MmioRegion& bar() { return device_->bar_window(0); }
  void run() { executor_->run(); }
  std::uint64_t dma(std::uint64_t offset) const { return run_.first.value + offset; }
  template <class T = std::uint64_t>
  T& at(std::uint64_t offset) {
    return *reinterpret_cast<T*>(host_ + offset);
  }
  void put(std::uint64_t offset, std::string_view text) { std::memcpy(host_ + offset, text.data(), text.size()); }
  std::string_view text(std::uint64_t offset, std::size_t bytes) const {
    return {reinterpret_cast<const char*>(host_ + offset), bytes};
  }
  void refuse(std::uint64_t offset, Access access) { unit_->refused.insert({dma(offset) >> kPageShift, access}); }

  Findings findings_;
  std::unique_ptr<Memory> memory_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<BenchUnit> unit_;
  std::byte* host_ = nullptr;
  PhysRun run_{};
  IrqRecorder irqs_;
  std::unique_ptr<PciFunction> device_;
};

}  // namespace softiommu
