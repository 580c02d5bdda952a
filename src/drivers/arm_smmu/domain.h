// SPDX-License-Identifier: BSD-3-Clause
// An SMMUv1/v2 paging domain: one table that any number of units may walk, each through a context bank of its own.
#pragma once

#include <optional>

#include "drivers/arm_smmu/unit.h"
#include "drivers/shared_table.h"

namespace softiommu::arm_smmu {

class PagingDomain final : public SharedTableDomain<Unit> {
 public:
  // `coherent`: the units snoop the caches for table walks, so that nothing is cleaned after a change of the table.
  PagingDomain(Driver& owner, Table table, TableMemory& memory, bool coherent);

  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override;
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override;

  // Can `unit` walk this table? The first property that differs is the reason.
  AttachResult<> fits(const Unit& unit) const;

  const TableShape& shape() const { return table_.shape(); }
  unsigned stage() const { return shape().stage; }
  // What context bank `bank` of a unit must say to translate through it.
  ContextBank describe(const Features& features, UnitId bank) const;

 private:
  void describe_stage1(ContextBank& words, const Features& features, UnitId bank) const;
  void describe_stage2(ContextBank& words, const Features& features, UnitId bank) const;
  void invalidate(const pt::Gather& gather) EXCLUDES(mutex_);

  Table table_;
  TableMemory& memory_;
  bool coherent_;
};

}  // namespace softiommu::arm_smmu
