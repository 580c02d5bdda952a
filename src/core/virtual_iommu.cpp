// SPDX-License-Identifier: BSD-3-Clause
#include "core/virtual_iommu.h"

namespace softiommu {

Result<std::unique_ptr<Domain>> VirtualIommu::allocate_nested(const DomainRequest&, const UserData&) {
  return fail(EOPNOTSUPP, "this virtual IOMMU makes no nested domains");
}

Result<> VirtualIommu::invalidate(UserArray&) { return fail(EOPNOTSUPP, "this virtual IOMMU takes no invalidations"); }

Result<std::unique_ptr<VirtualDevice>> VirtualIommu::make_device(const Device&, std::uint64_t) {
  return std::make_unique<VirtualDevice>();
}

Result<std::unique_ptr<HardwareQueue>> VirtualIommu::make_queue(const HardwareQueueRequest&) {
  return fail(EOPNOTSUPP, "this virtual IOMMU has no hardware queues");
}

Result<> VirtualIommu::add_device(const Device& device, std::uint64_t virtual_id) {
  {
    const MutexLock lock(mutex_);
    if (!devices_.try_emplace(virtual_id).second) return fail(EEXIST, "the name is taken");
  }
  auto notes = without_throwing([&] { return make_device(device, virtual_id); });
  const MutexLock lock(mutex_);
  if (!notes) {
    devices_.erase(virtual_id);
    return std::unexpected(notes.error());
  }
  devices_[virtual_id] = {&device, *std::move(notes)};
  return {};
}

void VirtualIommu::remove_device(std::uint64_t virtual_id) {
  Named gone;
  {
    const MutexLock lock(mutex_);
    const auto found = devices_.find(virtual_id);
    if (found == devices_.end()) return;
    gone = std::move(found->second);
    devices_.erase(found);
  }
}

std::optional<std::uint64_t> VirtualIommu::virtual_id(const Device& device) const {
  const MutexLock lock(mutex_);
  for (const auto& [id, named] : devices_)
    if (named.device == &device) return id;
  return std::nullopt;
}

}  // namespace softiommu
