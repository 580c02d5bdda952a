// SPDX-License-Identifier: BSD-3-Clause
// An OMAP paging domain: one table for the MMUs of the group that it was made for.
#pragma once

#include <optional>
#include <vector>

#include "drivers/omap/unit.h"
#include "drivers/unit_wide.h"
#include "pt/formats/omap.h"
#include "pt/page_table.h"

namespace softiommu::omap {

class PagingDomain final : public UnitWideDomain<Unit> {
 public:
  using Table = pt::PageTable<pt::Omap>;

  // `made_for`: the units of the group's devices, at least one.
  PagingDomain(Driver& owner, Table table, std::vector<Unit*> made_for);

  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override {
    return table_.map(iova, pa, bytes, prot);  // what is not present is not cached
  }
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override { return table_.iova_to_phys(iova); }

  // Another group needs a domain of its own, whether this one is in use or not.
  AttachResult<> fits(const Unit& unit) const;
  PhysAddr root() const { return table_.root(); }

 private:
  Table table_;
  std::vector<Unit*> made_for_;
};

}  // namespace softiommu::omap
