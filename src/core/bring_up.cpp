// SPDX-License-Identifier: BSD-3-Clause
// Units get their drivers, devices are probed in bus order and put into groups, groups get their default domains.
//
// What fails is logged and left out; the rest of the machine works.
#include <algorithm>

#include "base/log.h"
#include "base/trace.h"
#include "core/bus_of.h"
#include "core/plugged_device.h"
#include "core/system.h"

namespace softiommu {

class System::BringUp {
 public:
  BringUp(System& system, const Hardware& hardware) : system_(system), hardware_(hardware) {}

  void run() {
    for (IommuUnit* unit : hardware_.units) add_unit(*unit);
    for (const Hardware::Function& function : hardware_.functions) add_device(function);
    std::erase_if(system_.groups_, [this](const auto& group) { return !has_default_domain(*group); });
  }

 private:
  struct Served {
    IommuUnit* unit;
    Driver* driver;
    unsigned index;  // among the driver's units
  };

  void add_unit(IommuUnit& unit);
  void add_device(const Hardware::Function& function);
  bool probed(Device& device);
  bool join_group(Device& device);
  bool has_default_domain(Group& group);

  System& system_;
  const Hardware& hardware_;
  std::vector<Served> served_;
};

void System::BringUp::add_unit(IommuUnit& unit) {
  const auto driver = std::ranges::find(system_.drivers_, unit.model(), &Driver::unit_model);
  if (driver == system_.drivers_.end()) {
    log::warning("iommu {}: no driver for {}", unit.name(), unit.model());
    return;
  }
  const auto index = static_cast<unsigned>(std::ranges::count(served_, driver->get(), &Served::driver));
  const UnitHardware parts{index, unit.name(), unit, hardware_.tables, hardware_.memory_top};
  served_.reserve(served_.size() + 1);
  system_.units_.reserve(system_.units_.size() + 1);
  if (const auto added = without_throwing([&] { return (*driver)->add_unit(parts); }); !added) {
    log::error("iommu {}: driver {} failed: {} (errno {})", unit.name(), (*driver)->name(), added.error().why,
               added.error().code);
    return;
  }
  served_.push_back({&unit, driver->get(), index});
  system_.units_.push_back(&unit);
  unit.on_interrupt([to = driver->get(), index](unsigned line) { to->interrupt(index, line); });
}

void System::BringUp::add_device(const Hardware::Function& function) {
  system_.devices_.push_back(
      std::make_unique<Device>(function.name, function.function, function.stream_ids, function.isolation_set));
  Device& device = *system_.devices_.back();
  device.can_stall_ = function.can_stall;
  if (function.unit == nullptr) return;
  const auto served = std::ranges::find(served_, function.unit, &Served::unit);
  if (served == served_.end()) {
    log::warning("{} {}: its iommu {} has no driver", bus_of(device), device.name(), function.unit->name());
    return;
  }
  device.driver_ = served->driver;
  device.unit_index_ = served->index;
  if (!probed(device)) {
    device.driver_ = nullptr;
    return;
  }
  if (!join_group(device)) System::drop(device);
}

bool System::BringUp::probed(Device& device) {
  const auto done = system_.probe(device);
  if (done) return true;
  log::error("{} {}: driver {} does not serve it: {} (errno {})", bus_of(device), device.name(),
             device.driver()->name(), done.error().why, done.error().code);
  return false;
}

// Neither the fabric nor the driver may be overruled: devices of one isolation set are in one group, and so are
// devices with one key. A group never mixes drivers.
bool System::BringUp::join_group(Device& device) {
  Driver& driver = *device.driver_;
  const std::uint64_t key = driver.group_key(device);
  const auto belongs = [&](const std::unique_ptr<Group>& group) {
    const Device& member = *group->devices().front();
    const bool same_key = &group->driver() == &driver && driver.group_key(member) == key;
    return same_key || member.isolation_set() == device.isolation_set();
  };
  auto found = std::ranges::find_if(system_.groups_, belongs);
  if (found == system_.groups_.end()) {
    system_.groups_.push_back(std::make_unique<Group>(system_, driver, system_.next_group_++));
    found = std::prev(system_.groups_.end());
    if (device.isolation_set() < hardware_.isolation_reasons.size())
      (*found)->reason_ = hardware_.isolation_reasons[device.isolation_set()];
  }
  Group& group = **found;
  if (&group.driver() != &driver) {
    log::error("{} {}: it cannot be isolated from {}, which driver {} serves: it is left out", bus_of(device),
               device.name(), group.devices().front()->name(), group.driver().name());
    return false;
  }
  group.add(device);
  log::info("{} {}: Adding to iommu group {}", bus_of(device), device.name(), group.id());
  if (trace::on()) trace::event("groups", "add_device_to_group", {{"device", device.name()}, {"group", group.id()}});
  return true;
}

bool System::BringUp::has_default_domain(Group& group) {
  const auto done = without_throwing([&] { return group.set_up_default_domain(); });
  if (done) return true;
  log::error("iommu group {}: {} (errno {}): its devices ({}) are left out", group.id(), done.error().why,
             done.error().code, group.device_names());
  for (Device* device : group.devices()) System::drop(*device);
  return false;
}

Result<> System::probe(Device& device) {
  Driver& driver = *device.driver_;
  device.data_ = TRY(without_throwing([&] { return driver.probe(device); }));
  device.attach_deferred_ = driver.attach_is_deferred(device);
  device.requires_direct_ = std::ranges::any_of(driver.reserved_regions(device), [](const ReservedRegion& region) {
    return region.kind == ReservedRegion::Kind::direct;
  });
  return {};
}

// The device stays blocked: nothing is attached to it.
void System::drop(Device& device) {
  device.driver_->release(device);
  device.data_.reset();
  device.driver_ = nullptr;
  device.group_ = nullptr;
}

Result<std::unique_ptr<PluggedDevice>> System::plug(Driver& driver, const Hardware::Function& function) {
  return without_throwing([&]() -> Result<std::unique_ptr<PluggedDevice>> {
    // From here on its end takes the device out.
    std::unique_ptr<PluggedDevice> plugged(new PluggedDevice(
        std::make_unique<Device>(function.name, function.function, function.stream_ids, function.isolation_set),
        std::make_unique<Group>(*this, driver, next_group_++)));
    Device& device = *plugged->device_;
    device.driver_ = &driver;
    if (const auto done = probe(device); !done) {
      device.driver_ = nullptr;
      return std::unexpected(done.error());
    }
    plugged->group_->add(device);
    TRY(plugged->group_->set_up_default_domain());
    return plugged;
  });
}

PluggedDevice::~PluggedDevice() {
  if (device_->driver() == nullptr) return;
  group_->shut_down();
  System::drop(*device_);
}

Result<std::unique_ptr<System>> System::bring_up(const Hardware& hardware, std::vector<std::unique_ptr<Driver>> drivers,
                                                 Options options) {
  return without_throwing([&]() -> Result<std::unique_ptr<System>> {
    std::unique_ptr<System> system(new System(options));
    system->drivers_ = std::move(drivers);
    std::erase(system->drivers_, nullptr);
    for (const auto& driver : system->drivers_) driver->follow(options.rules);
    BringUp(*system, hardware).run();
    return system;
  });
}

}  // namespace softiommu
