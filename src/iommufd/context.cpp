// SPDX-License-Identifier: BSD-3-Clause
// What a context holds: bound devices, objects whose files it knows, mapped pages. How devices attach is in attach.cpp.
#include "iommufd/context.h"

#include <sys/mman.h>

#include <new>

#include "base/file.h"
#include "base/log.h"
#include "core/shared_memory.h"
#include "iommufd/queue_file.h"
#include "machine/machine.h"

namespace softiommu::iommufd {

Context::~Context() { objects_.clear(); }

Result<> Context::remove(std::uint32_t id) {
  const std::unique_ptr<Object> object = TRY(objects_.take(id));
  if (object.get() == compat_) compat_ = nullptr;
  return {};
}

Result<> Context::keep_made(const Result<>& responded, std::uint32_t id) {
  if (responded) return {};
  const MutexLock lock(mutex_);
  (void)remove(id);
  return responded;
}

void Context::unuse(Object& object) {
  const MutexLock lock(mutex_);
  object.unuse();
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
  unbind_locked(device);
}

void Context::unbind_locked(BoundDevice& device) {
  for (bool found = true; found;) {
    found = false;
    for (const auto& [pasid, attachment] : device.group().attachments) {
      if (!attachment.has(device)) continue;
      leave(device, pasid);
      found = true;
      break;
    }
  }
  if (device.vdevice() != nullptr) (void)objects_.bury(device.vdevice()->id());
  device.unuse();
  (void)objects_.take(device.id());
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

// ---- mapped pages

int Context::mmap(std::uint64_t offset, std::uint64_t bytes, int prot, int flags, MmapPlan& out) {
  if (!is_aligned(bytes, kPageSize) || (flags & MAP_TYPE) == MAP_PRIVATE) return -EINVAL;
  if ((prot & PROT_EXEC) != 0) return -EPERM;
  const auto planned = without_throwing([&]() -> Result<> {
    const MutexLock lock(mutex_);
    const auto offered = mmaps_.find(offset);
    if (offered == mmaps_.end() || offered->second.memory->bytes() != bytes)
      return fail(ENXIO, "nothing is offered at this offset, in this length");
    offered->second.owner->use();
    struct NotMapped {
      Object* owner;
      ~NotMapped() {
        if (owner != nullptr) owner->unuse();
      }
    } undo{offered->second.owner};
    out.keeps_alive = std::make_shared<MappedUse>(shared_from_this(), *offered->second.owner);
    undo.owner = nullptr;
    out.kind = MmapPlan::Kind::memory;
    out.descriptor = offered->second.memory->descriptor();
    return {};
  });
  return planned ? 0 : -planned.error().code;
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
