// SPDX-License-Identifier: BSD-3-Clause
// A Rockchip paging domain: one table of version 1 or 2 that any number of units of that version may walk.
#pragma once

#include <memory>
#include <optional>

#include "drivers/rockchip/unit.h"
#include "drivers/unit_wide.h"

namespace softiommu::rockchip {

class PagingDomain : public UnitWideDomain<Unit> {
 public:
  using UnitWideDomain::UnitWideDomain;
  virtual PhysAddr root() const = 0;
  virtual bool wide() const = 0;
};

// In the format of `unit`. ENOMEM, also where the machine's tables are beyond the format's addresses.
Result<std::unique_ptr<PagingDomain>> make_domain(Driver& owner, Unit& unit);

}  // namespace softiommu::rockchip
