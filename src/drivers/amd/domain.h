// SPDX-License-Identifier: BSD-3-Clause
// The two kinds of AMD paging domains: on a host ("v1") table, which grows, and on a guest ("v2") table, which devices
// reach through their GCR3 tables, with a PASID or without.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "drivers/amd/unit.h"
#include "drivers/shared_table.h"
#include "pt/formats/amd_v1.h"
#include "pt/formats/x86_64.h"
#include "pt/page_table.h"

namespace softiommu::amd {

class AmdDevice;

// Many units walk one table, each under an id of its own (drivers/shared_table.h).
class HostDomain final : public SharedTableDomain<Unit>, private pt::RootObserver {
 public:
  using Table = pt::PageTable<pt::AmdV1>;
  struct Root {
    PhysAddr table;
    unsigned levels;
  };

  // `input_bits`: of the addresses that it maps; the table grows as far as they need. ENOMEM.
  static Result<std::unique_ptr<HostDomain>> create(Driver& owner, TableMemory& memory, unsigned input_bits,
                                                    bool dirty_tracking);

  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override;
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override;
  bool enforce_cache_coherency() override;
  Result<> set_dirty_tracking(bool on) override;
  Result<> read_dirty(IovaRange range, bool clear, const std::function<void(Iova, std::uint64_t)>& dirty) override;

  AttachResult<> fits(const Unit& unit) const;

  Root root() const;
  bool keeps_dirty() const { return keeps_dirty_.load(); }  // now: entries say HAD

  // A device whose entry is changed when the table's root or the tracking changes. ENOMEM.
  Result<> enter(AmdDevice& device, DomainId id);
  // The unit's id, if it was the last of its devices.
  std::optional<DomainId> leave(AmdDevice& device);

 private:
  HostDomain(Driver& owner, TableMemory& memory, bool dirty_tracking)
      : SharedTableDomain(owner), memory_(memory), dirty_tracking_(dirty_tracking) {}
  void root_changed(PhysAddr root, unsigned top_level) override;
  void publish(PhysAddr root, unsigned levels);
  void update_devices() EXCLUDES(mutex_);
  void invalidate(const pt::Gather& gather) EXCLUDES(mutex_);

  TableMemory& memory_;
  const bool dirty_tracking_;
  std::atomic<bool> keeps_dirty_{false};
  std::atomic<std::uint64_t> root_{0};  // address and, below it, levels: one word
  std::optional<Table> table_;
  std::vector<AmdDevice*> devices_ GUARDED_BY(mutex_);
};

class GuestDomain final : public Domain {
 public:
  using Table = pt::PageTable<pt::X86_64>;

  GuestDomain(Driver& owner, Table table, TableMemory& memory);

  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override;
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override;

  AttachResult<> fits(const Unit& unit, Pasid pasid) const;

  PhysAddr root() const { return table_.root(); }
  unsigned levels() const { return table_.top_level() + 1; }

  // A device that uses it under the PASID. ENOMEM.
  Result<> enter(AmdDevice& device, Pasid pasid);
  void leave(AmdDevice& device, Pasid pasid);

 private:
  struct Use {
    AmdDevice* device;
    Pasid pasid;
    friend bool operator==(const Use&, const Use&) = default;
  };
  Table table_;
  TableMemory& memory_;
  Mutex mutex_;
  std::vector<Use> uses_ GUARDED_BY(mutex_);
};

}  // namespace softiommu::amd
