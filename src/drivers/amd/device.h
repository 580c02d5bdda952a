// SPDX-License-Identifier: BSD-3-Clause
// One device behind an AMD IOMMU: what its device table entries say, and its GCR3 table.
//
// Whoever translates through a GCR3 table has a domain id of his own, since caches tag a guest translation with domain
// id and PASID, and no two devices need mean the same by a PASID. The first use takes the id, the last gives it back.
#pragma once

#include <optional>
#include <vector>

#include "base/mutex.h"
#include "drivers/amd/domain.h"
#include "drivers/amd/unit.h"

namespace softiommu::amd {

// Bits of an address that host tables on the unit translate.
unsigned host_bits(const Unit& unit);

// Roots of guest tables by PASID (48882 2.2.6.2).
class Gcr3Table {
 public:
  explicit Gcr3Table(TableMemory& memory) : memory_(memory) {}
  ~Gcr3Table();
  Gcr3Table(const Gcr3Table&) = delete;
  Gcr3Table& operator=(const Gcr3Table&) = delete;

  // With the entry of PASID 0. ENOMEM.
  Result<> make_root(unsigned pasid_bits, unsigned most_levels);
  PhysAddr root() const { return root_; }
  unsigned levels() const { return levels_; }
  bool reaches(Pasid pasid) const;
  // The PASID's entry exists afterwards. ENOMEM.
  Result<> reserve(Pasid pasid);
  // Of a PASID that is reserved. nullopt: none.
  void set(Pasid pasid, std::optional<PhysAddr> guest_root);
  bool is_set(Pasid pasid) const;

 private:
  std::uint64_t* entry(Pasid pasid) const;  // nullptr: not reserved

  TableMemory& memory_;
  PhysAddr root_;
  unsigned levels_ = 1, pasid_bits_ = 0;
  std::vector<PhysAddr> tables_;
};

class AmdDevice final : public DeviceData {
 public:
  AmdDevice(Unit& unit, std::vector<StreamId> ids) : unit_(unit), ids_(std::move(ids)), gcr3_(unit.tables()) {}

  // Made at probe, so that no attach without a PASID needs memory. ENOMEM.
  Result<> make_tables() {
    return unit_.guest_levels() != 0 ? gcr3_.make_root(unit_.pasid_bits(), unit_.gcr3_levels()) : Result<>{};
  }

  Unit& unit() { return unit_; }
  Gcr3Table& gcr3() { return gcr3_; }

  // Requests without a PASID go through `domain` (nullptr: nowhere), `id` being the unit's for it. All ids of the
  // device alike; returns when no DMA uses the old translation.
  Result<> attach(const Domain* domain, DomainId id) EXCLUDES(mutex_);
  // Requests with the PASID.
  Result<> attach_pasid(Pasid pasid, const GuestDomain* domain) EXCLUDES(mutex_);
  // Stops all DMA of the device, with a PASID and without.
  Result<> block() EXCLUDES(mutex_);
  // The domain's root or tracking has changed: if the device is on it, its entries say so.
  Result<> refresh(const HostDomain& domain) EXCLUDES(mutex_);

  Result<> invalidate_pages(Pasid pasid, IovaRange range, bool leaf_only);

  const Domain* domain() const;  // that requests without a PASID go through
  bool has_pasids() const;

  // The device's own id.
  std::optional<DomainId> own_id() const;
  unsigned own_id_users() const;
  void hold_own_id(DomainId id);
  // The id, if that was its last user.
  std::optional<DomainId> drop_own_id();

 private:
  DeviceEntry entry() const REQUIRES(mutex_);
  DeviceEntry guest_entry() const REQUIRES(mutex_);
  Result<> write_entries(const DeviceEntry& wanted) REQUIRES(mutex_);

  Unit& unit_;
  std::vector<StreamId> ids_;
  mutable Mutex mutex_;
  Gcr3Table gcr3_;  // changed under the group's lock only
  const Domain* domain_ GUARDED_BY(mutex_) = nullptr;
  DomainId id_ GUARDED_BY(mutex_) = 0;  // of domain_, if that is on a host table
  unsigned pasids_ GUARDED_BY(mutex_) = 0;
  std::optional<DomainId> own_id_ GUARDED_BY(mutex_);
  unsigned own_id_users_ GUARDED_BY(mutex_) = 0;
};

}  // namespace softiommu::amd
