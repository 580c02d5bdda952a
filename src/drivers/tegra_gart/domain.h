// SPDX-License-Identifier: BSD-3-Clause
// A GART paging domain: a table in memory of what the window shows while the domain has it.
#pragma once

#include <optional>

#include "drivers/shared_table.h"
#include "drivers/tegra_gart/unit.h"
#include "pt/formats/tegra_gart.h"
#include "pt/page_table.h"

namespace softiommu::tegra_gart {

class PagingDomain final : public SharedTableDomain<Unit> {
 public:
  using Table = pt::PageTable<pt::TegraGart>;
  PagingDomain(Driver& owner, TableMemory& memory, Table table);

  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override;
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override { return table_.iova_to_phys(iova); }

  // The word that the window has for this page.
  std::uint32_t entry(Iova page) const;

 private:
  void refresh(IovaRange range) EXCLUDES(mutex_);

  TableMemory& memory_;
  Table table_;
};

}  // namespace softiommu::tegra_gart
