// SPDX-License-Identifier: BSD-3-Clause
// Devices that come and go while the system is in use: into their groups and out of them.
//
// Readers of groups() and Group::devices() take no lock, so nothing that they can see is changed or freed: members of a
// group are replaced as a whole, groups are only added. One device comes or goes at a time.
#include <algorithm>
#include <tuple>

#include "base/fault.h"
#include "base/log.h"
#include "core/announce.h"
#include "core/bus_of.h"
#include "core/plugged_device.h"
#include "core/switching.h"
#include "core/system.h"

namespace softiommu {

// ---- members of a group

// In the order of their numbers, however they came: as few different sets as can be.
Group::Members Group::members_of(std::vector<Device*> devices) {
  std::ranges::sort(devices, {}, &Device::number);
  Members members{.devices = std::move(devices), .names = {}};
  for (const Device* const member : members.devices)
    members.names += (members.names.empty() ? "" : ", ") + member->name();
  return members;
}

Group::Members Group::with(Device& device) const {
  std::vector<Device*> all = members_.load()->devices;
  all.push_back(&device);
  return members_of(std::move(all));
}

Group::Members Group::without(const Device& device) const {
  std::vector<Device*> rest = members_.load()->devices;
  std::erase(rest, &device);
  return members_of(std::move(rest));
}

// What was published once is published again, so that a device that comes and goes for days costs nothing.
const Group::Members& Group::keep_locked(Members members) {
  const auto same = [&](const auto& former) { return former->devices == members.devices; };
  auto known = std::ranges::find_if(all_members_, same);
  if (known == all_members_.end()) {
    all_members_.push_back(std::make_unique<Members>(std::move(members)));
    known = std::prev(all_members_.end());
  }
  return **known;
}

bool Group::belongs(const Driver& driver, const Device& device) const {
  const bool same_key = &driver_ == &driver && key_ == driver.group_key(device);
  return same_key || founder_.isolation_set() == device.isolation_set();
}

Result<> Group::admit(Device& device) {
  return without_throwing([&]() -> Result<> {
    TRY(fault::pass("core.admit"));
    bool first = false;
    {
      const MutexLock lock(mutex_);
      first = default_domain_ == nullptr;
      const Members& joined = keep_locked(with(device));
      switches_.resize(std::max(switches_.size(), joined.devices.size()));
      if (!first) TRY(attach_newcomer_locked(device));
      device.group_ = this;  // before the device can be found in it
      members_.store(&joined, std::memory_order_release);
    }
    if (!first) return {};
    const auto done = set_up_default_domain();
    if (!done) TRY(dismiss(device));
    return done;
  });
}

// Its 1:1 regions join those of the default domain. PASIDs that the group has attached are not attached to it: no
// program can have asked for that (Linux does the same).
Result<> Group::attach_newcomer_locked(Device& device) {
  if (owned_default_ != nullptr) TRY(map_direct_regions(*owned_default_, device));
  if (domain_ == nullptr || device.attach_deferred()) return {};
  const std::span<Switch> change = std::span(switches_).first(1);
  change[0] = Switch{.device = &device, .from = nullptr, .to = domain_};
  const SwitchAnswer answer = try_switch(driver_, change, {.enforce = system_.rules() == Rules::contract});
  if (answer.result) return {};
  block_device(driver_, device);
  return fail(answer.result.error().code, "the group's domain cannot be attached to the device");
}

Result<> Group::dismiss(Device& device) {
  return without_throwing([&]() -> Result<> {
    const Members* left = nullptr;
    {
      const MutexLock lock(mutex_);
      left = &keep_locked(without(device));
    }
    if (left->devices.empty()) shut_down();
    const MutexLock lock(mutex_);
    if (!left->devices.empty()) block_leaver_locked(device);
    members_.store(left, std::memory_order_release);
    return {};
  });
}

void Group::block_leaver_locked(Device& device) {
  Domain* const blocked = driver_.static_domain(DomainType::blocked);
  if (domain_ == blocked) return;
  const std::span<Switch> change = std::span(switches_).first(1);
  change[0] = Switch{.device = &device, .from = domain_, .to = blocked};
  if (force_switch(driver_, change) == Forced::not_prepared) block_device(driver_, device);
}

// ---- devices of the system

// Neither the fabric nor the driver may be overruled: devices of one isolation set are in one group, and so are
// devices with one key. A group never mixes drivers.
Result<Group*> System::home_of(const Device& device) {
  Driver& driver = *device.driver_;
  const auto found = std::ranges::find_if(groups_, [&](const auto& group) { return group->belongs(driver, device); });
  if (found == groups_.end()) {
    groups_.push_back(std::make_unique<Group>(*this, driver, next_group_++, device));
    if (device.isolation_set() < isolation_reasons_.size())
      groups_.back()->reason_ = isolation_reasons_[device.isolation_set()];
    return groups_.back().get();
  }
  Group& group = **found;
  if (&group.driver() == &driver) return &group;
  log::error("{} {}: it cannot be isolated from {}, which driver {} serves: it is left out", bus_of(device),
             device.name(), group.founder_.name(), group.driver().name());
  return fail(EXDEV, "it cannot be isolated from a device of another driver");
}

Result<> System::bring_into(Device& device, Group& group) {
  device.data_.reset();
  TRY(probe(device));
  if (const auto admitted = group.admit(device); !admitted) {
    drop(device);
    return admitted;
  }
  device.present_.store(true, std::memory_order_release);
  announce_member(device, group);
  return {};
}

Result<> System::bring_in(Device& device) {
  const MutexLock lock(plug_mutex_);
  if (device.present()) return fail(EEXIST, "the device is there");
  if (device.driver_ == nullptr) {
    device.present_.store(true, std::memory_order_release);
    return {};
  }
  return without_throwing([&]() -> Result<> {
    Group* const home = TRY(home_of(device));
    group_count_.store(groups_.size(), std::memory_order_release);
    return bring_into(device, *home);
  });
}

Result<> System::take_out(Device& device) {
  const MutexLock lock(plug_mutex_);
  if (!device.present()) return {};
  if (device.driver_ != nullptr) {
    TRY(device.group()->dismiss(device));
    // What the driver knew of it stays until it comes back: another thread may have read the group's members before.
    device.driver_->release(device);
  }
  device.present_.store(false, std::memory_order_release);
  return {};
}

// The device stays blocked: nothing is attached to it.
void System::drop(Device& device) {
  device.driver_->release(device);
  device.data_.reset();
}

// ---- devices with a group of their own

Result<std::unique_ptr<PluggedDevice>> System::plug(Driver& driver, const Hardware::Function& function) {
  return without_throwing([&]() -> Result<std::unique_ptr<PluggedDevice>> {
    auto device =
        std::make_unique<Device>(function.name, function.function, function.stream_ids, function.isolation_set);
    device->driver_ = &driver;
    auto group = std::make_unique<Group>(*this, driver, next_group_++, *device);
    // From here on its end takes the device out.
    std::unique_ptr<PluggedDevice> plugged(new PluggedDevice(*this, std::move(device), std::move(group)));
    TRY(bring_into(*plugged->device_, *plugged->group_));
    return plugged;
  });
}

PluggedDevice::~PluggedDevice() {
  const fault::Paused must_succeed;
  std::ignore = system_.take_out(*device_);
}

}  // namespace softiommu
