// SPDX-License-Identifier: BSD-3-Clause
// An IOMMU model between a driver and the model that it stands for: everything passes through, so that whoever derives
// from it can lose, change or delay what the driver writes.
#pragma once

#include <memory>
#include <utility>

#include "machine/machine.h"

namespace softiommu::check {

class WrappedUnit : public IommuUnit {
 public:
  WrappedUnit(const UnitContext& context, std::unique_ptr<IommuUnit> real)
      : IommuUnit(context), real_(std::move(real)) {
    real_->on_interrupt([this](unsigned line) { interrupt(line); });
  }
  std::string_view model() const override { return real_->model(); }
  std::uint64_t register_bytes() const override { return real_->register_bytes(); }
  void reset() override { real_->reset(); }
  std::optional<Translation> translate(const Transaction& transaction) override {
    return real_->translate(transaction);
  }
  std::optional<Translation> translate_for_device(const Transaction& transaction) override {
    return real_->translate_for_device(transaction);
  }
  bool admits_translated(const Transaction& transaction, const Translation& kept) override {
    return real_->admits_translated(transaction, kept);
  }
  bool request_page(const PageRequestMessage& request) override { return real_->request_page(request); }
  void add_device_tlb(StreamId stream, DeviceTlb& tlb) override { real_->add_device_tlb(stream, tlb); }
  void remove_device_tlb(StreamId stream) override { real_->remove_device_tlb(stream); }
  void prefetch(const Transaction& transaction) const override { real_->prefetch(transaction); }
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override { return real_->read(offset, bytes); }
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override { deliver(offset, bytes, value); }

 protected:
  // The ports know this unit, not the real one: they ask again after every write. None is copying meanwhile: in front
  // of such a unit devices do DMA on the driver's thread.
  void deliver(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
    real_->write(offset, bytes, value);
    bump_generation();
  }
  std::uint64_t* words(std::uint64_t address) { return context_.memory.tables().words(PhysAddr{address}); }
  IommuUnit& real() { return *real_; }

 private:
  std::unique_ptr<IommuUnit> real_;
};

}  // namespace softiommu::check
