// SPDX-License-Identifier: BSD-3-Clause
// Devices of a context: binding, and the attach of iommufd (core-rules sections 14, 16).
#include "iommufd/context.h"

#include <algorithm>
#include <new>

#include "base/log.h"
#include "machine/machine.h"

namespace softiommu::iommufd {

namespace {

Error error_of(const AttachError& error) { return {error.code, error.reason.property}; }

}  // namespace

Context::~Context() {
  // Domains before the address spaces whose areas they hold; bound devices are gone.
  std::vector<std::uint32_t> hwpts;
  objects_.for_each<Hwpt>([&](Hwpt& hwpt) { hwpts.push_back(hwpt.id()); });
  for (const std::uint32_t id : hwpts) (void)objects_.take(id);
}

Result<> Context::remove(std::uint32_t id) {
  const std::unique_ptr<Object> object = TRY(objects_.take(id));
  if (object.get() == compat_) compat_ = nullptr;
  return {};
}

// ---- binding

Result<BoundDevice*> Context::bind(const Device& device) {
  if (device.group() == nullptr) return fail(ENODEV, "the device has no IOMMU");
  Group& group = *device.group();
  if (!system_.machine().spec().isolated_msi) {
    if (!options_.allow_unsafe_interrupts) return fail(EPERM, "the group's interrupts are not isolated");
    log::warning("iommufd: interrupts of {} are not isolated; allow_unsafe_interrupts lets it be bound all the same",
                 device.name());
  }
  return without_throwing([&]() -> Result<BoundDevice*> {
    const MutexLock lock(mutex_);
    std::weak_ptr<BoundGroup>& place = groups_[group.id()];
    std::shared_ptr<BoundGroup> bound = place.lock();
    if (bound == nullptr) place = bound = std::make_shared<BoundGroup>(group);
    bound->attached.reserve(bound->group.devices().size());
    TRY(group.share_dma_owner(this));
    std::unique_ptr<BoundDevice> made(new (std::nothrow) BoundDevice(device, std::move(bound)));
    if (made == nullptr) {
      group.release_dma_owner();
      return fail(ENOMEM, "memory for the bound device");
    }
    BoundDevice* const added = TRY(objects_.add(std::move(made)));
    added->use();
    return added;
  });
}

void Context::unbind(BoundDevice& device) {
  const MutexLock lock(mutex_);
  if (device.attached()) leave(device);
  device.unuse();
  (void)objects_.take(device.id());
}

// ---- attaching

Result<std::uint32_t> Context::attach(BoundDevice& device, std::uint32_t pt_id) {
  return without_throwing([&]() -> Result<std::uint32_t> {
    const MutexLock lock(mutex_);
    if (objects_.find(pt_id) == nullptr) return fail(ENOENT, "no object has this id");
    if (auto* const hwpt = objects_.find<Hwpt>(pt_id)) {
      TRY(attach_to(device, *hwpt));
    } else if (auto* const ioas = objects_.find<Ioas>(pt_id)) {
      return TRY(attach_to_ioas(device, *ioas))->id();
    } else {
      return fail(EINVAL, "the object is neither an IOAS nor a hardware page table");
    }
    return pt_id;
  });
}

Result<> Context::attach_to(BoundDevice& device, Hwpt& hwpt) {
  return device.attached() ? replace(device, hwpt) : join(device, hwpt);
}

Result<> Context::reserve_for(const Device& device, Ioas& ioas) {
  for (const ReservedRegion& region : device.group()->driver().reserved_regions(device)) {
    if (region.kind == ReservedRegion::Kind::relaxable) continue;
    const auto reserved = without_throwing([&] { return ioas.table().reserve(region.range, &device); });
    if (reserved) continue;
    ioas.table().release_reserved(&device);
    return reserved;
  }
  return {};
}

Result<> Context::join(BoundDevice& device, Hwpt& hwpt) {
  BoundGroup& bound = device.group();
  if (bound.hwpt != nullptr && bound.hwpt != &hwpt) return fail(EINVAL, "the group is on another page table");
  TRY(reserve_for(device.device(), hwpt.ioas()));
  if (bound.hwpt == nullptr) {
    if (const auto attached = bound.group.attach(hwpt.domain()); !attached) {
      hwpt.ioas().table().release_reserved(&device.device());
      return std::unexpected(error_of(attached.error()));
    }
    bound.hwpt = &hwpt;
  }
  bound.attached.push_back(&device);
  hwpt.use();
  device.use();
  return {};
}

Result<> Context::replace(BoundDevice& device, Hwpt& hwpt) {
  BoundGroup& bound = device.group();
  Hwpt& old = *bound.hwpt;
  if (&old == &hwpt) return {};
  const bool moves = &old.ioas() != &hwpt.ioas();
  const auto release = [&](Ioas& ioas) {
    for (BoundDevice* member : bound.attached) ioas.table().release_reserved(&member->device());
  };
  if (moves) {
    for (BoundDevice* member : bound.attached) {
      if (const auto reserved = reserve_for(member->device(), hwpt.ioas()); !reserved) {
        release(hwpt.ioas());
        return reserved;
      }
    }
  }
  if (const auto replaced = bound.group.replace(hwpt.domain()); !replaced) {
    if (moves) release(hwpt.ioas());
    return std::unexpected(error_of(replaced.error()));
  }
  if (moves) release(old.ioas());
  bound.hwpt = &hwpt;
  for (std::size_t i = 0; i < bound.attached.size(); ++i) hwpt.use();
  drop(old, bound.attached.size());
  return {};
}

// The search: automatic domains in the order they were made; only `incompatible` goes on to the next.
Result<Hwpt*> Context::attach_to_ioas(BoundDevice& device, Ioas& ioas) {
  for (std::size_t i = 0; i < ioas.hwpts().size(); ++i) {
    Hwpt& hwpt = *ioas.hwpts()[i];
    if (hwpt.life() != Hwpt::Life::automatic) continue;
    const auto attached = attach_to(device, hwpt);
    if (attached) return &hwpt;
    if (attached.error().code != EINVAL) return std::unexpected(attached.error());
  }
  Hwpt* const fresh = TRY(make_hwpt(device, ioas, {}, Hwpt::Life::automatic));
  if (const auto attached = attach_to(device, *fresh); !attached) {
    (void)remove(fresh->id());
    return std::unexpected(attached.error());
  }
  return fresh;
}

Result<Hwpt*> Context::make_hwpt(BoundDevice& device, Ioas& ioas, const DomainRequest& request, Hwpt::Life life) {
  Group& group = device.group().group;
  auto domain = TRY(system_.allocate_domain(group, request));
  // Before anything is mapped: mappings that do not snoop could not be told apart later.
  const auto can_enforce = [&](const Device* member) { return group.driver().can_enforce_cache_coherency(*member); };
  if (std::ranges::all_of(group.devices(), can_enforce)) domain->enforce_cache_coherency();
  Hwpt* const hwpt = TRY(objects_.add(std::make_unique<Hwpt>(ioas, std::move(domain), life)));
  const auto published = without_throwing([&] { return hwpt->publish(); });
  if (published) return hwpt;
  (void)remove(hwpt->id());
  return std::unexpected(published.error());
}

void Context::detach(BoundDevice& device) {
  const MutexLock lock(mutex_);
  if (device.attached()) leave(device);
}

void Context::leave(BoundDevice& device) {
  BoundGroup& bound = device.group();
  Hwpt& hwpt = *bound.hwpt;
  std::erase(bound.attached, &device);
  if (bound.attached.empty()) {
    bound.group.detach();
    bound.hwpt = nullptr;
  }
  hwpt.ioas().table().release_reserved(&device.device());
  device.unuse();
  drop(hwpt, 1);
}

// `users` devices have left it.
void Context::drop(Hwpt& hwpt, std::size_t users) {
  while (users-- > 0) hwpt.unuse();
  if (hwpt.life() == Hwpt::Life::automatic && !hwpt.in_use()) (void)remove(hwpt.id());
}

std::optional<std::uint32_t> Context::owned_id(const Device& device) {
  const MutexLock lock(mutex_);
  std::optional<std::uint32_t> found;
  objects_.for_each<BoundDevice>([&](BoundDevice& bound) {
    if (&bound.device() == &device) found = bound.id();
    if (!found && &bound.group().group == device.group()) found = 0;
  });
  return found;
}

// ---- VFIO compatibility

Result<> Context::make_compat_ioas() {
  return without_throwing([&]() -> Result<> {
    const MutexLock lock(mutex_);
    if (compat_ != nullptr) return {};
    compat_ = TRY(objects_.add(std::make_unique<Ioas>()));
    return {};
  });
}

Result<std::uint32_t> Context::compat_ioas() {
  const MutexLock lock(mutex_);
  if (compat_ == nullptr) return fail(ENODEV, "no group was given to this context");
  return compat_->id();
}

}  // namespace softiommu::iommufd
