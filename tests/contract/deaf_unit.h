// SPDX-License-Identifier: BSD-3-Clause
// A real IOMMU model whose translation-cache invalidations can be cut out: they are taken, they complete, they do
// nothing. To the driver in front of it all is well, as with a driver that forgets to invalidate.
#pragma once

#include <memory>
#include <span>

#include "machine/machine.h"

namespace softiommu::testing {

class DeafUnit : public IommuUnit {
 public:
  DeafUnit(const UnitContext& context, std::unique_ptr<IommuUnit> real);
  std::string_view model() const override { return real_->model(); }
  std::uint64_t register_bytes() const override { return real_->register_bytes(); }
  void reset() override { real_->reset(); }
  std::optional<Translation> translate(const Transaction& transaction) override {
    return real_->translate(transaction);
  }
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override { return real_->read(offset, bytes); }
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;

  bool deaf = false;
  unsigned swallowed = 0;     // invalidations that did nothing
  std::uint64_t last_id = 0;  // the address space that the last of them was for: domain id, ASID or VMID

 protected:
  // Makes what the write would invalidate harmless. False: the write itself must not happen.
  virtual bool soften(std::uint64_t offset, std::uint64_t value) = 0;
  std::uint64_t* words(std::uint64_t address) { return context_.memory.tables().words(PhysAddr{address}); }
  IommuUnit& real() { return *real_; }
  void swallow(std::uint64_t id) {
    ++swallowed;
    last_id = id;
  }

 private:
  std::unique_ptr<IommuUnit> real_;
};

// "intel-vtd", "arm-smmu-v3", "amd-iommu" and "arm-smmu", in place of the real ones.
std::span<const UnitModel> deaf_unit_models();

}  // namespace softiommu::testing
