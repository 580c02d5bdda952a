// SPDX-License-Identifier: BSD-3-Clause
// A domain: one I/O address space, made by a driver for a device, that devices are attached to.
//
// Identity and blocked domains exist once per driver, have no mappings and are never freed by the core.
// Thread-safe: map and unmap of one domain may run beside attaches of it and beside DMA.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace softiommu {

class Driver;
class Group;
class PageRequestHandler;
class UserArray;
class UserData;

enum class DomainType : std::uint8_t {
  blocked,
  identity,
  paging,
  nested,  // the program's own tables, whose output a paging domain translates
};

// What the caller needs from a fresh paging domain. A driver that cannot give it answers EOPNOTSUPP.
struct DomainRequest {
  bool dirty_tracking = false;
  bool nest_parent = false;
  bool pasid = false;
  const UserData* data = nullptr;  // what the program tells the driver; nullptr: nothing
};

class Domain {
 public:
  Domain(Driver& owner, DomainType type) : owner_(owner), type_(type) {}
  virtual ~Domain() = default;
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;

  // The driver that allocated it: the gatekeeper compares it with the device's.
  Driver& owner() const { return owner_; }
  DomainType type() const { return type_; }
  IovaRange aperture() const { return aperture_; }          // paging domains: what can be mapped
  std::uint64_t page_sizes() const { return page_sizes_; }  // bit n: pages of 2^n bytes
  std::uint64_t id() const { return id_; }                  // for people: unique in the process, from 1

  // Maps [iova, iova+bytes) to [pa, pa+bytes), all multiples of the smallest page, with the largest pages that fit.
  //   EINVAL  misaligned, outside the aperture, or a right that the format cannot express
  //   EEXIST  a page of the range is mapped already
  //   ENOMEM  no table memory
  // On failure nothing of the range is mapped. A driver that must invalidate after mapping does so here.
  // The base class is a domain without mappings: static ones, which answer EINVAL.
  virtual Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot);
  // Unmaps what is mapped there and returns the number of bytes that were. The invalidation is complete on every
  // unit when it returns: no device uses the old translation any more. Large pages that reach out of the range are
  // unmapped whole (the caller asks for what it mapped).
  virtual std::uint64_t unmap(Iova iova, std::uint64_t bytes);
  virtual std::optional<PhysAddr> iova_to_phys(Iova iova) const;

  // From now on every mapping forces cache snooping whatever the device asks. Must be called before any map.
  // False if a unit that the domain was made for cannot.
  virtual bool enforce_cache_coherency() { return false; }
  bool enforces_cache_coherency() const { return enforces_cache_coherency_; }

  // EOPNOTSUPP: the domain was not allocated for it.
  virtual Result<> set_dirty_tracking(bool on);
  // Calls `dirty(first, bytes)` for each run of dirty pages of the range; clears them (and invalidates) if `clear`.
  virtual Result<> read_dirty(IovaRange range, bool clear, const std::function<void(Iova, std::uint64_t)>& dirty);

  // Nested domains: forgets what the hardware cached of the program's tables, entry by entry. EOPNOTSUPP: the driver
  // cannot, or a flag is unknown; EINVAL: another type, or a wrong entry. With no entries it judges the type alone.
  virtual Result<> cache_invalidate_user(UserArray& entries);

  // Who gets page requests of devices on it; nullptr (they fail) unless set before the first attach.
  PageRequestHandler* page_request_handler() const { return page_request_handler_; }
  void set_page_request_handler(PageRequestHandler& handler) { page_request_handler_ = &handler; }

 protected:
  IovaRange aperture_{Iova{0}, Iova{~std::uint64_t{0}}};
  std::uint64_t page_sizes_ = kPageSize;
  bool enforces_cache_coherency_ = false;

 private:
  friend class Group;
  friend class System;
  static std::uint64_t next_id();
  Driver& owner_;
  DomainType type_;
  std::uint64_t id_ = next_id();
  PageRequestHandler* page_request_handler_ = nullptr;
  std::optional<unsigned> made_for_unit_;  // of its driver; of domains that the core asked for
  // The group that it was made for, until something is attached: from this group `incompatible` is a driver bug.
  std::atomic<const Group*> fresh_for_{nullptr};
};

}  // namespace softiommu
