// SPDX-License-Identifier: BSD-3-Clause
// A virtio IOMMU paging domain: what is mapped, kept here and told to every device that has an endpoint in it.
//
// A device forgets a domain when its last endpoint leaves. So the mappings are told again when a first one comes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "drivers/shared_table.h"
#include "drivers/virtio_iommu/unit.h"

namespace softiommu::virtio_iommu {

class PagingDomain final : public SharedTableDomain<Unit> {
 public:
  PagingDomain(Driver& owner, IovaRange aperture, std::uint64_t page_sizes);

  Result<> map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) override;
  std::uint64_t unmap(Iova iova, std::uint64_t bytes) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override;

  AttachResult<> fits(const Unit& unit) const;
  // Puts the endpoint into the unit's domain `id`, and makes that one hold these mappings. What the device answers.
  Result<> enter(Unit& unit, UnitId id, StreamId endpoint) const EXCLUDES(mutex_);

 private:
  struct Page {
    std::uint64_t last;
    PhysAddr pa;
    Prot prot;
  };
  using Pages = std::map<std::uint64_t, Page>;
  Result<> check(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) const REQUIRES(mutex_);
  std::uint64_t largest_page(std::uint64_t iova, std::uint64_t pa, std::uint64_t bytes) const;
  Pages::iterator first_in(std::uint64_t iova) REQUIRES(mutex_);
  Result<> tell(const Use& use, IovaRange range) const REQUIRES(mutex_);
  void forget(const Use& use, IovaRange range) const REQUIRES(mutex_);

  Pages pages_ GUARDED_BY(mutex_);  // by first address
};

}  // namespace softiommu::virtio_iommu
