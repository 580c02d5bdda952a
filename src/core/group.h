// SPDX-License-Identifier: BSD-3-Clause
// The smallest set of devices that the fabric can isolate: they share one domain.
//
// Rules: Linux's group attach (core-rules sections 4, 5, 8, 9) with the contract kept: a failed attach leaves
// every device on its old domain; blocked only if the hardware refuses the way back, and then broken() says so.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/attach_error.h"
#include "base/mutex.h"
#include "base/result.h"
#include "core/device.h"
#include "core/domain.h"
#include "core/journal.h"
#include "core/page_faults.h"

namespace softiommu {

class System;

class Group {
 public:
  // `founder` is its first device, which lives as long as the group, also when it is gone.
  Group(System& system, Driver& driver, unsigned id, const Device& founder);
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  unsigned id() const { return id_; }
  Driver& driver() const { return driver_; }  // of all its devices: groups never mix drivers
  // Those that are there now. What was read stays valid, though devices come and go; empty when all are gone.
  std::span<Device* const> devices() const { return members_.load(std::memory_order_acquire)->devices; }
  // "0000:00:02.0, 0000:00:03.0"
  const std::string& device_names() const { return members_.load(std::memory_order_acquire)->names; }
  const std::string& reason() const { return reason_; }  // why its devices are one group
  Domain* domain() const;  // what they translate through now; nullptr: nothing, they are blocked
  Domain* default_domain() const;
  // A device that could not even be switched back: it is blocked, and no attach will succeed.
  bool broken() const;

  // Attaches to `domain`.
  //   incompatible  another driver's domain (the gatekeeper), a blocked domain for a device with 1:1 regions, or the
  //                 driver says so. Nothing is logged
  //   busy          the group is on a domain that is neither its default nor its blocking one
  //   no_memory, no_space, no_device  from the driver
  // On failure every device still translates through its previous domain. Page requests of the devices carry `handle`
  // (which lives until the group is detached or on another domain); without one they fail.
  AttachResult<> attach(Domain& domain, AttachHandle* handle = nullptr);
  // Like attach, but from whatever domain the group is on; DMA sees the old or the new translation, nothing else.
  AttachResult<> replace(Domain& domain, AttachHandle* handle = nullptr);
  // Back to the blocking domain while the group is owned, else to the default domain. Cannot fail: what cannot be
  // switched is blocked. Allocates nothing if that domain is a static one.
  void detach();

  // One PASID of every device of the group that has PASIDs; those that have none are passed over.
  //   no_device     with the code EOPNOTSUPP: the driver attaches no PASIDs
  //   incompatible  another driver's domain, PASID 0, a PASID that is too wide for a device, or the driver says so
  //   busy          the PASID is attached
  //   no_memory, no_space, no_device  from the driver
  // On failure the PASID is as it was on every device.
  AttachResult<> attach_pasid(Domain& domain, Pasid pasid, AttachHandle& handle);
  // incompatible: the PASID is not attached; the rest as above. To the domain that it is on: only the handle changes.
  AttachResult<> replace_pasid(Domain& domain, Pasid pasid, AttachHandle& handle);
  // Cannot fail. Nothing happens to a PASID that is not attached.
  void detach_pasid(Pasid pasid);
  Domain* domain(Pasid pasid) const;  // what was attached to it; nullptr: nothing
  PageFaults& page_faults() { return page_faults_; }

  // DMA ownership: a program takes the group, a kernel driver may not bind while it does.
  //   EPERM   a program or a kernel driver has it
  //   EBUSY   it, or one of its PASIDs, is attached to something
  //   EINVAL  no owner, or a device with 1:1 regions, which may not be blocked
  //   ENOMEM, ENOSPC, ENODEV  the blocking domain cannot be made or attached
  // Taking it moves the group to its blocking domain.
  Result<> claim_dma_owner(const void* owner);
  // The same, one device of the group after the other: claims by the same owner are counted.
  Result<> share_dma_owner(const void* owner);
  // The last release moves the group to its default domain; if that cannot be attached (its driver is out of memory
  // or ids) the group stays on its blocking domain, which is logged.
  void release_dma_owner();
  bool dma_owner_claimed() const;  // by a program or by a kernel driver
  // A kernel driver binds: EBUSY while a program owns the group.
  Result<> use_default_domain();
  void unuse_default_domain();

  // First DMA of a device whose attach was deferred at probe.
  AttachResult<> attach_deferred(Device& device);

  // Union of its devices' regions, in order; overlapping and touching regions of one kind are one.
  Result<std::vector<ReservedRegion>> reserved_regions() const;

 private:
  friend class System;
  friend class PluggedDevice;
  // What the journal says of a change.
  struct Action {
    AttachRecord::Kind kind;
    Pasid pasid = 0;
    bool fresh = false;
  };
  AttachResult<> attach_locked(Domain& domain) REQUIRES(mutex_);
  AttachResult<> replace_locked(Domain& domain) REQUIRES(mutex_);
  AttachResult<> set_domain_locked(Domain& domain) REQUIRES(mutex_);
  void must_set_domain_locked(Domain& domain) REQUIRES(mutex_);
  bool force_to_locked(Domain* to) REQUIRES(mutex_);
  std::span<Switch> plan_locked(Domain* to) REQUIRES(mutex_);
  void switched_locked(std::span<Switch> changes, Domain* to) REQUIRES(mutex_);
  AttachResult<> check_gate(const Domain& domain) const;
  AttachResult<> check_direct_locked(const Domain& domain) const REQUIRES(mutex_);
  AttachResult<> with_handle_locked(AttachHandle* handle, Domain& domain, AttachResult<> (Group::*change)(Domain&))
      REQUIRES(mutex_);
  AttachResult<> attach_pasid_locked(Domain& domain, Pasid pasid, AttachHandle& handle) REQUIRES(mutex_);
  AttachResult<> replace_pasid_locked(Domain& domain, Pasid pasid, AttachHandle& handle) REQUIRES(mutex_);
  AttachResult<> check_pasid(const Domain& domain, Pasid pasid) const;
  AttachResult<> switch_pasid_locked(Domain& to, Domain* from, Pasid pasid) REQUIRES(mutex_);
  std::span<Switch> plan_pasid_locked(Domain& to, Domain* from, Pasid pasid) REQUIRES(mutex_);
  void detach_pasid_locked(Pasid pasid) REQUIRES(mutex_);
  void detach_all_pasids_locked() REQUIRES(mutex_);
  void record(Action action, const Domain* domain, const AttachResult<>& answer, std::uint64_t begin_ns) const;
  Result<> make_blocking_domain_locked() REQUIRES(mutex_);
  Result<> take_locked(const void* owner) REQUIRES(mutex_);

  // Does the fabric, or the driver, join `device` with this group's?
  bool belongs(const Driver& driver, const Device& device) const;
  // For bring-up and for the end of the system.
  void add(Device& device);
  // At run time: the device joins, on the domain that the group is on, or the other way round. Errors: those of the
  // default domain and of an attach; ENOMEM. On failure the group is as it was.
  Result<> admit(Device& device);
  Result<> attach_newcomer_locked(Device& device) REQUIRES(mutex_);
  // It leaves, blocked. Nobody uses it any more. ENOMEM: it stays.
  Result<> dismiss(Device& device);
  void block_leaver_locked(Device& device) REQUIRES(mutex_);
  Result<> set_up_default_domain();
  DomainType default_domain_type() const;
  Result<std::unique_ptr<Domain>> make_default_paging_domain();
  Result<> map_direct_regions(Domain& domain) const;
  Result<> map_direct_regions(Domain& domain, const Device& newcomer) const;
  void shut_down();

  // Who is in the group at one time.
  struct Members {
    std::vector<Device*> devices;
    std::string names;
  };
  static Members members_of(std::vector<Device*> devices);
  Members with(Device& device) const;
  Members without(const Device& device) const;
  const Members& keep_locked(Members members) REQUIRES(mutex_);

  System& system_;
  Driver& driver_;
  const unsigned id_;
  const Device& founder_;
  const std::uint64_t key_;  // the driver's, of the founder
  std::string reason_;
  mutable Mutex mutex_;
  // All that ever were, so that readers need no lock; as good as always there is one.
  std::vector<std::unique_ptr<Members>> all_members_ GUARDED_BY(mutex_);
  std::atomic<const Members*> members_;
  std::vector<Switch> switches_ GUARDED_BY(mutex_);  // one per device, so that the way back needs no memory
  Domain* domain_ GUARDED_BY(mutex_) = nullptr;
  Domain* default_domain_ GUARDED_BY(mutex_) = nullptr;
  Domain* blocking_domain_ GUARDED_BY(mutex_) = nullptr;
  std::unique_ptr<Domain> owned_default_, owned_blocking_;  // when they are not the driver's static ones
  const void* owner_ GUARDED_BY(mutex_) = nullptr;
  unsigned owner_count_ GUARDED_BY(mutex_) = 0;
  bool broken_ GUARDED_BY(mutex_) = false;
  PageFaults page_faults_;
};

}  // namespace softiommu
