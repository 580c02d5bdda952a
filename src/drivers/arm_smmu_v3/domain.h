// SPDX-License-Identifier: BSD-3-Clause
// An SMMUv3 paging domain: one stage-1 or stage-2 table that any number of units may walk, each under an ASID or VMID
// of its own.
#pragma once

#include <functional>
#include <optional>

#include "drivers/arm_smmu_v3/unit.h"
#include "drivers/shared_table.h"
#include "pt/formats/arm_lpae.h"
#include "pt/page_table.h"

namespace softiommu::arm_smmu_v3 {

class PagingDomain final : public SharedTableDomain<Unit> {
 public:
  using Table = pt::PageTable<pt::ArmLpae>;

  // `coherent`: the units snoop the caches for table walks, so that nothing is cleaned after a change of the table.
  PagingDomain(Driver& owner, Table table, TableMemory& memory, bool coherent);

  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override;
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override;
  Result<> set_dirty_tracking(bool on) override;
  Result<> read_dirty(IovaRange range, bool clear, const std::function<void(Iova, std::uint64_t)>& dirty) override;

  // Can `unit` walk this table and do what the domain promised? The first property that differs is the reason.
  AttachResult<> fits(const Unit& unit) const;

  const pt::ArmLpaeConfig& config() const { return table_.config(); }
  unsigned stage() const { return config().stage; }
  PhysAddr root() const { return table_.root(); }
  unsigned levels() const { return table_.top_level() + 1; }

 private:
  void invalidate(const pt::Gather& gather) EXCLUDES(mutex_);

  Table table_;
  TableMemory& memory_;
  bool coherent_;
};

// Two context descriptors (IHI 0070 5.4) of a device. An attach writes the one that no stream table entry points to.
class ContextDescriptors {
 public:
  static constexpr unsigned kSlots = 2;
  struct Words {
    std::uint64_t words[hw::smmuv3::kCdWords]{};
  };

  ContextDescriptors(TableMemory& memory, PhysAddr page) : memory_(memory), page_(page) {}
  ~ContextDescriptors() { memory_.free(page_); }
  ContextDescriptors(const ContextDescriptors&) = delete;
  ContextDescriptors& operator=(const ContextDescriptors&) = delete;

  static Words describe(const PagingDomain& domain, const Features& features, UnitId id);

  struct Slot {
    unsigned index;
    PhysAddr address;
    bool written;  // what the hardware may remember of it is no longer true
  };
  // A slot that says `wanted`: one that does already, else the spare one.
  Slot hold(const Words& wanted);
  // Every stream of the device uses `slot` now.
  void use(const Slot& slot) { live_ = slot.index; }

 private:
  std::uint64_t* words(unsigned slot) const { return memory_.words(page_) + slot * hw::smmuv3::kCdWords; }

  TableMemory& memory_;
  PhysAddr page_;
  unsigned live_ = 0;
};

}  // namespace softiommu::arm_smmu_v3
