// SPDX-License-Identifier: BSD-3-Clause
// The IOTLB that all models share: translations tagged by address space, removed only by exact invalidation
// (or by eviction), so that a forgotten invalidation really leaves a stale translation.
//
// `space` is whatever tags an address space in the hardware: a VT-d domain id, an SMMU VMID and ASID.
// look_up() is lock-free and may run beside insert() and the invalidations; an entry that is being changed is
// a miss. insert() after an invalidation that ran during the walk must not bring the old entry back: take a
// ticket before the walk and hand it to insert().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/types.h"
#include "machine/iommu/unit.h"

namespace softiommu {

class Iotlb {
 public:
  // Direct-mapped by space, page and page size: a look-up probes one entry per page size that is present.
  static constexpr unsigned kEntriesLg2 = 12;

  Iotlb();
  ~Iotlb();

  std::optional<Translation> look_up(std::uint64_t space, Iova iova) const;

  // Any invalidation after ticket() makes insert() drop the translation (a later access walks again). insert()
  // never waits: beside another change of the IOTLB it drops the translation too.
  using Ticket = std::uint64_t;
  Ticket ticket() const;
  void insert(Ticket ticket, std::uint64_t space, Iova iova, const Translation& translation);

  void invalidate_all();
  void invalidate_space(std::uint64_t space);
  // All entries of `space` that overlap the closed range.
  void invalidate_range(std::uint64_t space, IovaRange range);
  // For tags that are compared in part (an SMMU VMID covers all its ASIDs): (entry.space & mask) == value.
  void invalidate_masked(std::uint64_t mask, std::uint64_t value);
  void invalidate_masked_range(std::uint64_t mask, std::uint64_t value, IovaRange range);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace softiommu
