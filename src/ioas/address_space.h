// SPDX-License-Identifier: BSD-3-Clause
// One I/O address space: areas of pinned program memory, the domains that hold them, and what may be mapped where.
//
// Both front ends stand on it: a type1 container and an IOAS differ in their rules and ABI, not in this. Every area is
// mapped in every domain; a group that joins finds all of them, a map that fails half-way leaves none.
// Not thread-safe: the container's or IOAS's lock guards it. No function touches the program's memory; whether it
// can be pinned (Program::check_pinnable) is asked by the caller, before it takes that lock.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/attach_error.h"
#include "base/memlock.h"
#include "base/result.h"
#include "base/types.h"
#include "core/group.h"
#include "core/system.h"
#include "ioas/area_map.h"
#include "ioas/domain_set.h"
#include "ioas/iova_ranges.h"

namespace softiommu {

class AddressSpace {
 public:
  // What is pinned counts in `locked`, up to `limit`.
  AddressSpace(System& system, LockedMemory& locked, const MemlockLimit& limit);
  ~AddressSpace();
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  // Maps [range] to the program's memory at `user` in every domain. Aligned to min_page_size().
  //   EEXIST  it overlaps an area;  EINVAL  it is outside the allowed ranges, or a domain cannot express it
  //   ENOMEM  the limit of locked memory, physical space, table memory
  // On failure nothing changed.
  Result<> map(IovaRange range, std::uint64_t user, Prot prot);
  // Maps it to a device's registers, which the program sees at `user`: nothing is pinned, nothing counts. Errors as
  // map().
  Result<> map_registers(IovaRange range, PhysAddr registers, std::uint64_t user, Prot prot);
  // Unmaps the area at `position` from every domain and unpins it; returns the place of the next area.
  AreaMap::Position unmap(AreaMap::Position position);
  void unmap_all();

  // Attaches `group` (owned, on its blocking domain), whose reserved regions are `reserved`.
  //   incompatible  a mapping is in the way of a reserved region or outside the aperture, nothing would be left to
  //                 map, or the group has joined already
  //   others        from the search
  // On failure the group is on its blocking domain and the space is as it was.
  AttachResult<> attach(Group& group, std::vector<ReservedRegion> reserved);
  // Detaches it. What the group forbade is allowed again; the areas stay.
  void detach(Group& group);
  bool has(const Group& group) const;
  bool has_domains() const { return !domains_.empty(); }

  const AreaMap& areas() const { return areas_; }
  AreaMap& areas() { return areas_; }
  const IovaRanges& allowed() const { return allowed_; }
  // Page sizes that every domain can map, as type1 reports them: sizes below the CPU's page are folded into it.
  std::uint64_t page_sizes() const { return page_sizes_; }
  std::uint64_t min_page_size() const { return page_sizes_ & (~page_sizes_ + 1); }
  // Every domain makes device accesses snoop the caches (VFIO_DMA_CC_IOMMU).
  bool enforces_cache_coherency() const;
  std::span<const DomainSet::Member> domains() const { return domains_.members(); }

 private:
  struct Joined {
    Group* group;
    std::vector<ReservedRegion> reserved;
  };
  // Parts of map() and unmap(), which are called for each page of some programs: they are compiled into those.
  [[gnu::always_inline]] inline Result<Area*> make_area(IovaRange range, std::uint64_t user, Prot prot);
  [[gnu::always_inline]] inline Result<> map_or_erase(Area& area);
  [[gnu::always_inline]] inline Result<> pin(Area& area);
  [[gnu::cold]] Result<> pin_rest(Area& area, std::uint64_t done);
  [[gnu::always_inline]] inline void unpin(Area& area);
  [[gnu::always_inline]] inline Result<> map_area(const Area& area);
  void tell_mapped(const Domain& domain, const Area& area) const;
  void tell_unmapping(const Area& area) const;
  [[gnu::cold]] Result<> map_area_everywhere(const Area& area);
  static Result<> map_runs(Domain& domain, const Area& area);
  AttachResult<> fill(Domain& fresh);
  void refresh_page_sizes();
  void refresh_allowed();

  Memory& memory_;
  LockedMemory& locked_;
  const MemlockLimit limit_;
  AreaMap areas_;
  DomainSet domains_;
  std::vector<Joined> joined_;
  IovaRanges allowed_;
  std::uint64_t page_sizes_ = ~(kPageSize - 1);
};

}  // namespace softiommu
