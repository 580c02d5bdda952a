// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/virtio_iommu/domain.h"

#include <bit>

#include "base/log.h"

namespace softiommu::virtio_iommu {

PagingDomain::PagingDomain(Driver& owner, IovaRange aperture, std::uint64_t page_sizes) : SharedTableDomain(owner) {
  aperture_ = aperture;
  page_sizes_ = page_sizes;
}

AttachResult<> PagingDomain::fits(const Unit& unit) const {
  using enum AttachFailure;
  const Features& features = unit.features();
  const auto granule = [](std::uint64_t sizes) { return static_cast<std::uint64_t>(std::countr_zero(sizes)); };
  if (granule(page_sizes()) < granule(features.page_sizes))
    return driver_says(incompatible, {"granule", granule(page_sizes()), granule(features.page_sizes)});
  if (!features.input.contains(aperture()))
    return driver_says(incompatible, {"input range", aperture().last.value, features.input.last.value});
  return {};
}

// ---- Mappings ---------------------------------------------------------------------------------------------------

Result<> PagingDomain::check(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) const {
  const std::uint64_t inside = (page_sizes_ & -page_sizes_) - 1;
  if (bytes == 0 || ((iova.value | pa.value | bytes) & inside) != 0)
    return fail(EINVAL, "a mapping is made of whole pages");
  if (!aperture_.contains(iova) || bytes - 1 > aperture_.last - iova)
    return fail(EINVAL, "the range leaves the domain's aperture");
  if (!prot.read && !prot.write) return fail(EINVAL, "a mapping must allow reading or writing");
  if (prot.coherent) return fail(EINVAL, "the device cannot force snooping");
  const std::uint64_t last = iova.value + (bytes - 1);
  const auto next = pages_.upper_bound(last);
  if (next != pages_.begin() && std::prev(next)->second.last >= iova.value)
    return fail(EEXIST, "a page of the range is mapped already");
  return {};
}

std::uint64_t PagingDomain::largest_page(std::uint64_t iova, std::uint64_t pa, std::uint64_t bytes) const {
  const std::uint64_t smallest = page_sizes_ & -page_sizes_;
  const std::uint64_t fits = std::bit_floor(bytes), aligned = (iova | pa) & -(iova | pa);
  const std::uint64_t most = aligned == 0 ? fits : std::min(fits, aligned);
  const std::uint64_t usable = page_sizes_ & (most | (most - 1));
  return usable == 0 ? smallest : std::bit_floor(usable);
}

PagingDomain::Pages::iterator PagingDomain::first_in(std::uint64_t iova) {
  const auto next = pages_.upper_bound(iova);
  return next != pages_.begin() && std::prev(next)->second.last >= iova ? std::prev(next) : next;
}

// Tells the unit of all that is mapped in the range, if the domain is there.
Result<> PagingDomain::tell(const Use& use, IovaRange range) const {
  if (use.unit->filling(use.id) != this) return {};
  for (auto at = pages_.lower_bound(range.first.value); at != pages_.end() && at->first <= range.last.value; ++at) {
    const auto told = use.unit->map(use.id, {Iova{at->first}, Iova{at->second.last}}, at->second.pa, at->second.prot);
    if (told) continue;
    if (at != pages_.begin() && at->first != range.first.value)
      forget(use, {range.first, Iova{std::prev(at)->second.last}});
    return told;
  }
  return {};
}

void PagingDomain::forget(const Use& use, IovaRange range) const {
  if (use.unit->filling(use.id) != this) return;
  const auto done = use.unit->unmap(use.id, range);
  if (!done && done.error().code != ENOENT) log::error("virtio-iommu: {}: {}", use.unit->name(), done.error().why);
}

Result<> PagingDomain::map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) {
  return without_throwing([&]() -> Result<> {
    const MutexLock lock(mutex_);
    TRY(check(iova, pa, bytes, prot));
    Pages fresh;
    for (std::uint64_t done = 0; done < bytes;) {
      const std::uint64_t page = largest_page(iova.value + done, pa.value + done, bytes - done);
      fresh.emplace(iova.value + done, Page{iova.value + done + (page - 1), pa + done, prot});
      done += page;
    }
    const auto range = IovaRange::of(iova, bytes);
    pages_.merge(fresh);
    for (std::size_t i = 0; i < uses_.size(); ++i) {
      const auto told = tell(uses_[i], range);
      if (told) continue;
      while (i-- > 0) forget(uses_[i], range);
      pages_.erase(pages_.lower_bound(range.first.value), pages_.upper_bound(range.last.value));
      return fail(told.error().code == ENOMEM ? ENOMEM : ENODEV, told.error().why);
    }
    return {};
  });
}

std::uint64_t PagingDomain::unmap(Iova iova, std::uint64_t bytes) {
  if (bytes == 0) return 0;
  const MutexLock lock(mutex_);
  const std::uint64_t last = bytes - 1 > ~iova.value ? ~std::uint64_t{0} : iova.value + (bytes - 1);
  const auto from = first_in(iova.value), to = pages_.upper_bound(last);
  if (from == to) return 0;
  const IovaRange range{Iova{from->first}, Iova{std::prev(to)->second.last}};
  for (const Use& use : uses_) forget(use, range);
  std::uint64_t unmapped = 0;
  for (auto at = from; at != to; ++at) unmapped += at->second.last - at->first + 1;
  pages_.erase(from, to);
  return unmapped;
}

std::optional<PhysAddr> PagingDomain::iova_to_phys(Iova iova) const {
  const MutexLock lock(mutex_);
  const auto next = pages_.upper_bound(iova.value);
  if (next == pages_.begin() || std::prev(next)->second.last < iova.value) return std::nullopt;
  return std::prev(next)->second.pa + (iova.value - std::prev(next)->first);
}

// A domain id that was handed on still holds the old domain's mappings.
Result<> PagingDomain::enter(Unit& unit, UnitId id, StreamId endpoint) const {
  const MutexLock lock(mutex_);
  if (unit.is_in(endpoint, id, this)) return {};
  TRY(unit.attach(endpoint, id, this));
  if (unit.filling(id) == this) return {};
  if (unit.filling(id) != nullptr) TRY(unit.unmap(id, unit.features().input));
  unit.set_filling(id, this);
  return tell({&unit, id, {}}, aperture_);
}

}  // namespace softiommu::virtio_iommu
