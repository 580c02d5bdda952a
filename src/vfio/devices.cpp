// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/devices.h"

#include <algorithm>

#include "base/fault.h"
#include "base/log.h"

namespace softiommu::vfio {

Devices::Devices(System& system) : system_(system) {
  const auto devices = system.devices();
  devices_.resize(devices.size());
  groups_.reserve(devices.size());
  for (const auto& device : devices) {
    if (device->function() == nullptr) continue;
    PciFunction* const physical = device->function()->physical();
    PciDevice* const above = physical != nullptr ? find(*physical) : nullptr;
    devices_[device->number()] = std::make_unique<PciDevice>(system, *device, above);
  }
  for (const auto& device : devices_)
    if (device != nullptr && device->device().present()) std::ignore = add(*device);
}

Devices::~Devices() = default;

PciDevice* Devices::find(unsigned number) const {
  if (number >= devices_.size() || devices_[number] == nullptr) return nullptr;
  PciDevice* const device = devices_[number].get();
  return device->registration().registered() ? device : nullptr;
}

PciDevice* Devices::find(const PciFunction& function) const {
  const auto found = std::ranges::find_if(
      devices_, [&](const auto& device) { return device != nullptr && &device->function() == &function; });
  return found != devices_.end() ? found->get() : nullptr;
}

VfioGroup* Devices::group(unsigned id) const {
  const std::span groups(groups_.data(), group_count_.load(std::memory_order_acquire));
  const auto found = std::ranges::find_if(groups, [&](const auto& group) { return group->group().id() == id; });
  return found != groups.end() ? found->get() : nullptr;
}

bool Devices::any_registered(const VfioGroup& group) const {
  return std::ranges::any_of(devices_, [&](const auto& device) {
    return device != nullptr && device->device().group() == &group.group() && device->registration().registered();
  });
}

Result<VfioGroup*> Devices::make_group(Group& group) {
  const MutexLock lock(mutex_);
  if (VfioGroup* const known = this->group(group.id()); known != nullptr) return known;
  TRY(fault::pass("vfio.group"));
  groups_.push_back(std::make_unique<VfioGroup>(group, *this));
  group_count_.store(groups_.size(), std::memory_order_release);
  return groups_.back().get();
}

Result<> Devices::add(PciDevice& device) {
  if (!device.device().present() || device.device().group() == nullptr) return fail(EINVAL, "no IOMMU is in front");
  // Devices whose DMA does not snoop the caches cannot be given to programs.
  if (!system_.machine().spec().cache_coherent) return fail(EINVAL, "its DMA does not snoop the caches");
  if (device.function().enabled_virtual_functions() != 0) return fail(EBUSY, "its virtual functions are enabled");
  return without_throwing([&]() -> Result<> {
    TRY(make_group(*device.device().group()));
    if (!device.registration().enter()) return fail(EBUSY, "vfio-pci has it");
    return {};
  });
}

Result<> Devices::remove(PciDevice& device, std::function<void()> left, std::function<void()> told) {
  return without_throwing([&]() -> Result<> {
    VfioGroup& group = group_of(device);
    const auto end = [&group, then = std::move(left)] {
      group.device_left();
      then();
    };
    if (!device.registration().leave(end, std::move(told)))
      return fail(ENODEV, "vfio-pci does not have it, or it is leaving");
    if (device.leaving()) device.ask_to_leave();
    return {};
  });
}

}  // namespace softiommu::vfio
