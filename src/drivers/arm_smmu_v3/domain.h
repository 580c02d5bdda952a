// SPDX-License-Identifier: BSD-3-Clause
// An SMMUv3 paging domain: one stage-1 or stage-2 table that any number of units may walk, each under an ASID or VMID
// of its own.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "drivers/arm_smmu_v3/unit.h"
#include "drivers/shared_table.h"
#include "pt/formats/arm_lpae.h"
#include "pt/page_table.h"

namespace softiommu::arm_smmu_v3 {

class Master;

class PagingDomain final : public SharedTableDomain<Unit> {
 public:
  using Table = pt::PageTable<pt::ArmLpae>;
  // What the domain was made for, beside what its table says.
  struct Uses {
    bool coherent = false;     // the units snoop the caches for table walks: nothing is cleaned after a change
    bool nest_parent = false;  // guests' stage 1 goes over it
  };

  PagingDomain(Driver& owner, Table table, TableMemory& memory, const Uses& made_for);

  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override;
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override;
  Result<> set_dirty_tracking(bool on) override;
  Result<> read_dirty(IovaRange range, bool clear, const std::function<void(Iova, std::uint64_t)>& dirty) override;

  // Can `unit` walk this table and do what the domain promised? The first property that differs is the reason.
  AttachResult<> fits(const Unit& unit) const;

  const pt::ArmLpaeConfig& config() const { return table_.config(); }
  unsigned stage() const { return config().stage; }
  bool is_nest_parent() const { return made_for_.nest_parent; }
  PhysAddr root() const { return table_.root(); }
  unsigned levels() const { return table_.top_level() + 1; }
  TlbTag tag(UnitId id) const { return {stage(), id}; }

  // A device with a TLB of its own keeps translations of this domain, under the PASID (0: without one). ENOMEM.
  Result<> enter(Master& master, Pasid pasid) EXCLUDES(mutex_);
  void leave(const Master& master, Pasid pasid) EXCLUDES(mutex_);

 private:
  struct Keeper {
    Master* master;
    Pasid pasid;
  };
  void invalidate(const pt::Gather& gather) EXCLUDES(mutex_);

  Table table_;
  TableMemory& memory_;
  const Uses made_for_;
  std::vector<Keeper> keepers_ GUARDED_BY(mutex_);
};

}  // namespace softiommu::arm_smmu_v3
