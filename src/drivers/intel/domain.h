// SPDX-License-Identifier: BSD-3-Clause
// A VT-d paging domain: one second-stage table that any number of units may walk, each under a domain id of its own.
#pragma once

#include <optional>
#include <vector>

#include "drivers/intel/unit.h"
#include "drivers/shared_table.h"
#include "pt/formats/vtd_second_stage.h"
#include "pt/page_table.h"

namespace softiommu::intel {

class PagingDomain final : public SharedTableDomain<Unit> {
 public:
  using Table = pt::PageTable<pt::VtdSecondStage>;

  // `made_for`: the units of the devices that it is allocated for.
  PagingDomain(Driver& owner, Table table, std::vector<Unit*> made_for, unsigned address_width);

  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override;
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override;
  bool enforce_cache_coherency() override;

  // Can `unit` walk this table and do what the domain promised? The first property that differs is the reason.
  AttachResult<> fits(const Unit& unit) const;

  PhysAddr root() const { return table_.root(); }
  unsigned levels() const { return table_.top_level() + 1; }

 private:
  void sync_after_map(Iova iova, std::uint64_t bytes);

  Table table_;
  std::vector<Unit*> made_for_;
  unsigned address_width_;
};

}  // namespace softiommu::intel
