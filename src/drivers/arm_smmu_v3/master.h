// SPDX-License-Identifier: BSD-3-Clause
// One device behind an SMMUv3 (Linux's word): its stream table entries, its context descriptors, its own TLB, and the
// guest that it is given to.
//
// Its requests without a PASID are on a domain of any kind. With PASIDs in use, which are on stage-1 domains, its
// entries point to a table of descriptors, and say what becomes of requests without one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "core/driver.h"
#include "core/page_faults.h"
#include "drivers/arm_smmu_v3/descriptors.h"
#include "drivers/arm_smmu_v3/domain.h"
#include "drivers/arm_smmu_v3/unit.h"

namespace softiommu::arm_smmu_v3 {

class NestedDomain;
class VirtualSmmu;

class Master final : public DeviceData {
 public:
  Master(Unit& unit, const Device& device) : unit_(unit), device_(device), streams_(device.stream_ids()) {}
  ~Master() override;

  // Made at probe, so that no attach without a PASID needs memory: stream table, descriptors. ENODEV, ENOMEM.
  Result<> make_structures();

  Unit& unit() const { return unit_; }
  const Device& device() const { return device_; }
  const std::vector<StreamId>& streams() const { return streams_; }
  unsigned pasid_bits() const { return pasid_bits_; }
  bool has_own_tlb() const { return has_ats_; }

  // ---- attach; one at a time, under the group's lock
  bool has_pasids() const EXCLUDES(mutex_);
  const Domain* domain() const EXCLUDES(mutex_);
  // Can its requests carry this PASID?
  bool reaches(Pasid pasid) const { return table_ != nullptr && table_->reaches(pasid); }
  // The PASID's descriptor can be written without memory afterwards. ENODEV: there is no such PASID; ENOMEM.
  Result<> reserve(Pasid pasid);
  // Requests without a PASID go through `to`, which the unit knows by `id` if it is a paging domain. Returns when no
  // DMA uses the old translation.
  Result<> attach(const Domain& to, UnitId id) EXCLUDES(mutex_);
  // Those with the PASID; nullptr: nowhere.
  Result<> attach_pasid(Pasid pasid, const PagingDomain* to, UnitId id) EXCLUDES(mutex_);
  // Stops all DMA of the device.
  Result<> block() EXCLUDES(mutex_);

  // Drops what the device's TLB keeps of the range; no PASID: of requests without one.
  Result<> forget_translations(Pasid pasid, IovaRange range) EXCLUDES(mutex_);

  // ---- from the unit's queues, on any thread
  void report(const PageRequest& request) const;
  Result<> respond(const PageRequest& request, PageAnswer answer) EXCLUDES(mutex_);
  // False: no guest listens.
  bool tell_guest(std::span<const std::uint64_t, hw::smmuv3::kEventWords> event) const EXCLUDES(guest_mutex_);

 private:
  struct OnTlb {
    bool translates = false, requests_pages = false;
  };
  StreamTraits traits() const;
  StreamEntry entry() const REQUIRES(mutex_);
  StreamEntry entry_for(const Domain& domain, const StreamTraits& traits) const REQUIRES(mutex_);
  Result<> write_entries(const StreamEntry& wanted) REQUIRES(mutex_);
  Result<> install() REQUIRES(mutex_);
  Result<> hold_descriptor() REQUIRES(mutex_);
  Result<> write_descriptor(Pasid pasid, const ContextDescriptor* wanted) REQUIRES(mutex_);
  Result<> forget_descriptors(std::optional<Pasid> pasid) REQUIRES(mutex_);
  Result<> forget_all_translations() REQUIRES(mutex_);
  const PagingDomain* stage1_domain() const REQUIRES(mutex_);
  void switch_tlb(OnTlb wanted) REQUIRES(mutex_);
  OnTlb wanted_of_tlb() const REQUIRES(mutex_);
  void move_to_guest(const Domain* to) EXCLUDES(guest_mutex_);

  Unit& unit_;
  const Device& device_;
  const std::vector<StreamId> streams_;
  unsigned pasid_bits_ = 0;
  bool has_ats_ = false, has_pri_ = false, stalls_ = false;
  std::unique_ptr<DescriptorPair> pair_;    // nullptr: the unit has no stage 1
  std::unique_ptr<DescriptorTable> table_;  // nullptr: no PASIDs

  mutable Mutex mutex_;
  const Domain* domain_ GUARDED_BY(mutex_) = nullptr;  // nullptr: blocked, with all PASIDs
  UnitId id_ GUARDED_BY(mutex_) = 0;                   // of domain_, if that is a paging domain
  std::optional<DescriptorPair::Slot> slot_ GUARDED_BY(mutex_);
  struct OfPasid {
    Pasid pasid;
    const PagingDomain* domain;
  };
  std::vector<OfPasid> pasids_ GUARDED_BY(mutex_);  // has room for what is reserved
  OnTlb tlb_ GUARDED_BY(mutex_);

  // A leaf: events come beside attaches.
  mutable Mutex guest_mutex_;
  VirtualSmmu* guest_ GUARDED_BY(guest_mutex_) = nullptr;
};

}  // namespace softiommu::arm_smmu_v3
