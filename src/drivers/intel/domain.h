// SPDX-License-Identifier: BSD-3-Clause
// The kinds of VT-d domains: second-stage tables, first-stage tables (scalable mode), and a program's first stage
// nested on a second. Any number of units may walk a domain's tables, each under a domain id of its own.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <vector>

#include "drivers/intel/unit.h"
#include "drivers/shared_table.h"
#include "pt/formats/vtd_second_stage.h"
#include "pt/formats/x86_64.h"
#include "pt/page_table.h"

namespace softiommu::intel {

class IntelDevice;

class IntelDomain : public SharedTableDomain<Unit> {
 public:
  // nullptr: a static one.
  static IntelDomain* of(Domain* domain) {
    const bool has_id =
        domain != nullptr && (domain->type() == DomainType::paging || domain->type() == DomainType::nested);
    return has_id ? static_cast<IntelDomain*>(domain) : nullptr;
  }

  // Can `unit` walk the tables and do what the domain promised? The first property that differs is the reason.
  virtual AttachResult<> fits(const Unit& unit) const = 0;
  virtual PasidEntry pasid_entry(DomainId id) const = 0;

 protected:
  using SharedTableDomain::SharedTableDomain;

  // Of the range, everywhere: units, then devices' TLBs.
  void invalidate(IovaRange range, bool leaf_only);
  virtual Result<> invalidate_unit(const Use& use, IovaRange range, bool leaf_only) REQUIRES(mutex_) = 0;
  // The same of what is tagged with PASIDs.
  Result<> invalidate_pasids(const Use& use, IovaRange range, bool leaf_only) REQUIRES(mutex_);
  Result<> invalidate_device_tlbs(const Use& use, IovaRange range) REQUIRES(mutex_);
  // What pasid_entry() says has changed: those who are on the domain learn it.
  Result<> refresh_members();
};

class NestedDomain;

class SecondStageDomain final : public IntelDomain {
 public:
  using Table = pt::PageTable<pt::VtdSecondStage>;
  struct Uses {
    unsigned address_width;
    bool nest_parent, dirty_tracking;
  };

  // `made_for`: the units of the devices that it is allocated for.
  SecondStageDomain(Driver& owner, Table table, std::vector<Unit*> made_for, const Uses& uses);

  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override;
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override;
  bool enforce_cache_coherency() override;
  Result<> set_dirty_tracking(bool on) override;
  Result<> read_dirty(IovaRange range, bool clear, const std::function<void(Iova, std::uint64_t)>& dirty) override;

  AttachResult<> fits(const Unit& unit) const override;
  PasidEntry pasid_entry(DomainId id) const override { return PasidEntry::second_stage(stage(), id); }
  PasidEntry::SecondStage stage() const { return {root(), levels(), keeps_dirty_.load(std::memory_order_seq_cst)}; }
  bool is_nest_parent() const { return has_.nest_parent; }

  PhysAddr root() const { return table_.root(); }
  unsigned levels() const { return table_.top_level() + 1; }

  // Nested domains on it; they end before it. ENOMEM.
  Result<> add_nested(NestedDomain& nested);
  void remove_nested(NestedDomain& nested);

 private:
  Result<> invalidate_unit(const Use& use, IovaRange range, bool leaf_only) override REQUIRES(mutex_);
  void invalidate_with_nested(IovaRange range, bool leaf_only);
  void sync_after_map(Iova iova, std::uint64_t bytes);

  Table table_;
  std::vector<Unit*> made_for_;
  Uses has_;
  std::atomic<bool> keeps_dirty_{false};
  Mutex nested_mutex_;
  std::vector<NestedDomain*> nested_ GUARDED_BY(nested_mutex_);
};

// Snooping is a matter of the PASID table entry here.
class FirstStageDomain final : public IntelDomain {
 public:
  using Table = pt::PageTable<pt::X86_64>;

  FirstStageDomain(Driver& owner, Table table, std::vector<Unit*> made_for);

  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override;
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override;
  bool enforce_cache_coherency() override;

  AttachResult<> fits(const Unit& unit) const override;
  PasidEntry pasid_entry(DomainId id) const override {
    return PasidEntry::first_stage({table_.root(), levels(), enforces_cache_coherency()}, id);
  }
  unsigned levels() const { return table_.top_level() + 1; }

 private:
  Result<> invalidate_unit(const Use& use, IovaRange range, bool leaf_only) override REQUIRES(mutex_) {
    return invalidate_pasids(use, range, leaf_only);
  }
  void sync_after_map();

  Table table_;
  std::vector<Unit*> made_for_;
};

// struct iommu_hwpt_vtd_s1 of linux/iommufd.h.
struct FirstStageConfig {
  std::uint64_t flags, pgtbl_addr;
  std::uint32_t addr_width, reserved;
};
// struct iommu_hwpt_vtd_s1_invalidate.
struct FirstStageInvalidation {
  std::uint64_t addr, npages;
  std::uint32_t flags, reserved;
};
inline constexpr std::uint32_t kFirstStageData = 1, kFirstStageInvalidationData = 0;

class NestedDomain final : public IntelDomain {
 public:
  static Result<std::unique_ptr<Domain>> create(Driver& owner, SecondStageDomain& parent,
                                                const FirstStageConfig& config);
  ~NestedDomain() override { parent_.remove_nested(*this); }

  Result<> cache_invalidate_user(UserArray& entries) override;

  AttachResult<> fits(const Unit& unit) const override;
  PasidEntry pasid_entry(DomainId id) const override;

  // Called by the parent: its pages of the range have changed; what its entries say has.
  void parent_changed(IovaRange range, bool leaf_only);
  Result<> parent_refreshed() { return refresh_members(); }

 private:
  NestedDomain(Driver& owner, SecondStageDomain& parent, const FirstStageConfig& config)
      : IntelDomain(owner, DomainType::nested), parent_(parent), config_(config) {}
  Result<> invalidate_unit(const Use& use, IovaRange range, bool leaf_only) override REQUIRES(mutex_) {
    return invalidate_pasids(use, range, leaf_only);
  }

  SecondStageDomain& parent_;
  const FirstStageConfig config_;
};

}  // namespace softiommu::intel
