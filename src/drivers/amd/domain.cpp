// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/amd/domain.h"

#include <algorithm>

#include "base/log.h"
#include "drivers/amd/device.h"

namespace softiommu::amd {

// ---- Host tables ------------------------------------------------------------------------------------------------

Result<std::unique_ptr<HostDomain>> HostDomain::create(Driver& owner, TableMemory& memory, unsigned input_bits,
                                                       bool dirty_tracking) {
  std::unique_ptr<HostDomain> domain(new HostDomain(owner, memory, dirty_tracking));
  domain->table_ = TRY(Table::create(memory, {.input_bits = input_bits}, {.root = domain.get()}));
  domain->publish(domain->table_->root(), domain->table_->top_level() + 1);
  domain->aperture_ = domain->table_->aperture();
  domain->page_sizes_ = domain->table_->page_sizes();
  return domain;
}

void HostDomain::publish(PhysAddr root, unsigned levels) { root_.store(root.value | levels); }

HostDomain::Root HostDomain::root() const {
  const std::uint64_t word = root_.load();
  return {PhysAddr{align_down(word, kPageSize)}, static_cast<unsigned>(word % kPageSize)};
}

// Under the table's lock. A device that enters meanwhile reads the new root: it was published before.
void HostDomain::root_changed(PhysAddr root, unsigned top_level) {
  publish(root, top_level + 1);
  update_devices();
}

void HostDomain::update_devices() {
  const MutexLock lock(mutex_);
  for (AmdDevice* device : devices_)
    if (const auto done = device->refresh(*this); !done)
      log::error("AMD-Vi: {}: {}", device->unit().name(), done.error().why);
}

Result<> HostDomain::map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) {
  prot.coherent = prot.coherent || enforces_cache_coherency_;
  return table_->map(iova, pa, bytes, prot);
}

std::uint64_t HostDomain::unmap(Iova iova, std::uint64_t bytes) {
  return pt::unmap_and(*table_, memory_, iova, bytes, [&](const pt::Gather& gather) { invalidate(gather); });
}

std::optional<PhysAddr> HostDomain::iova_to_phys(Iova iova) const { return table_->iova_to_phys(iova); }

void HostDomain::invalidate(const pt::Gather& gather) {
  const MutexLock lock(mutex_);
  for (const Use& use : uses_) {
    const auto done = use.unit->invalidate_pages({.id = use.id}, gather.range(), !gather.tables_freed());
    if (!done) log::error("AMD-Vi: {}: {}", use.unit->name(), done.error().why);
  }
}

// Entries have the bit FC on every unit.
bool HostDomain::enforce_cache_coherency() {
  enforces_cache_coherency_ = true;
  return true;
}

// The devices' entries say whether hardware keeps dirty bits. What is cached as writable would let writes pass
// unnoticed.
Result<> HostDomain::set_dirty_tracking(bool on) {
  if (!dirty_tracking_) return fail(EOPNOTSUPP, "the domain was not made for dirty tracking");
  if (keeps_dirty_.exchange(on) == on) return {};
  update_devices();
  const MutexLock lock(mutex_);
  for (const Use& use : uses_) TRY(use.unit->flush_id(use.id));
  return {};
}

Result<> HostDomain::read_dirty(IovaRange range, bool clear, const std::function<void(Iova, std::uint64_t)>& dirty) {
  if (!dirty_tracking_) return fail(EOPNOTSUPP, "the domain was not made for dirty tracking");
  pt::Gather gather;
  table_->read_dirty(range, clear, dirty, &gather);
  if (!gather.empty()) invalidate(gather);
  return {};
}

AttachResult<> HostDomain::fits(const Unit& unit) const {
  using enum AttachFailure;
  if (unit.host_levels() == 0) return driver_says(incompatible, {"host tables", 1, 0});
  const auto bits = static_cast<unsigned>(std::bit_width(aperture_.last.value));
  if (bits > host_bits(unit)) return driver_says(incompatible, {"address width", bits, host_bits(unit)});
  if (dirty_tracking_ && !unit.tracks_dirty()) return driver_says(incompatible, {"dirty tracking", 1, 0});
  return {};
}

Result<> HostDomain::enter(AmdDevice& device, DomainId id) {
  TRY(hold(device.unit(), id));
  const auto listed = without_throwing([&]() -> Result<> {
    const MutexLock lock(mutex_);
    devices_.push_back(&device);
    return {};
  });
  if (!listed) drop(device.unit());
  return listed;
}

std::optional<DomainId> HostDomain::leave(AmdDevice& device) {
  {
    const MutexLock lock(mutex_);
    if (const auto found = std::ranges::find(devices_, &device); found != devices_.end()) devices_.erase(found);
  }
  return drop(device.unit());
}

// ---- Guest tables -----------------------------------------------------------------------------------------------

GuestDomain::GuestDomain(Driver& owner, Table table, TableMemory& memory)
    : Domain(owner, DomainType::paging), table_(std::move(table)), memory_(memory) {
  aperture_ = table_.aperture();
  page_sizes_ = table_.page_sizes();
}

Result<> GuestDomain::map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) {
  return table_.map(iova, pa, bytes, prot);
}

std::uint64_t GuestDomain::unmap(Iova iova, std::uint64_t bytes) {
  return pt::unmap_and(table_, memory_, iova, bytes, [&](const pt::Gather& gather) {
    const MutexLock lock(mutex_);
    for (const Use& use : uses_) {
      const auto done = use.device->invalidate_pages(use.pasid, gather.range(), !gather.tables_freed());
      if (!done) log::error("AMD-Vi: {}: {}", use.device->unit().name(), done.error().why);
    }
  });
}

std::optional<PhysAddr> GuestDomain::iova_to_phys(Iova iova) const { return table_.iova_to_phys(iova); }

AttachResult<> GuestDomain::fits(const Unit& unit, Pasid pasid) const {
  using enum AttachFailure;
  if (levels() > unit.guest_levels())
    return driver_says(incompatible, {"guest table levels", levels(), unit.guest_levels()});
  if (pasid == 0 && !unit.guest_without_pasid()) return driver_says(incompatible, {"guest table without PASID", 1, 0});
  return {};
}

Result<> GuestDomain::enter(AmdDevice& device, Pasid pasid) {
  return without_throwing([&]() -> Result<> {
    const MutexLock lock(mutex_);
    uses_.push_back({&device, pasid});
    return {};
  });
}

void GuestDomain::leave(AmdDevice& device, Pasid pasid) {
  const MutexLock lock(mutex_);
  if (const auto found = std::ranges::find(uses_, Use{&device, pasid}); found != uses_.end()) uses_.erase(found);
}

}  // namespace softiommu::amd
