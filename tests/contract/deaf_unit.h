// SPDX-License-Identifier: BSD-3-Clause
// A real IOMMU model whose translation-cache invalidations can be cut out: they are taken, they complete, they do
// nothing. To the driver in front of it all is well, as with a driver that forgets to invalidate.
#pragma once

#include <span>

#include "check/wrapped_unit.h"

namespace softiommu::testing {

class DeafUnit : public check::WrappedUnit {
 public:
  using WrappedUnit::WrappedUnit;
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;

  bool deaf = false;
  unsigned swallowed = 0;     // invalidations that did nothing
  std::uint64_t last_id = 0;  // the address space that the last of them was for: domain id, ASID or VMID

 protected:
  // Makes what the write would invalidate harmless. False: the write itself must not happen.
  virtual bool soften(std::uint64_t offset, std::uint64_t value) = 0;
  void swallow(std::uint64_t id) {
    ++swallowed;
    last_id = id;
  }
};

// "intel-vtd", "arm-smmu-v3", "amd-iommu" and "arm-smmu", in place of the real ones.
std::span<const UnitModel> deaf_unit_models();

}  // namespace softiommu::testing
