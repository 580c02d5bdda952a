// SPDX-License-Identifier: BSD-3-Clause
// Units get their drivers, devices are probed in bus order and put into groups, groups get their default domains.
//
// What fails is logged and left out; the rest of the machine works.
#include <algorithm>

#include "base/log.h"
#include "core/announce.h"
#include "core/bus_of.h"
#include "core/system.h"

namespace softiommu {

class System::BringUp {
 public:
  BringUp(System& system, const Hardware& hardware) : system_(system), hardware_(hardware) {}

  void run() {
    system_.isolation_reasons_ = hardware_.isolation_reasons;
    system_.groups_.reserve(hardware_.functions.size());
    system_.devices_.reserve(hardware_.functions.size());
    for (IommuUnit* unit : hardware_.units) add_unit(*unit);
    for (const Hardware::Function& function : hardware_.functions) add_device(function);
    std::erase_if(system_.groups_, [this](const auto& group) { return !has_default_domain(*group); });
    system_.group_count_.store(system_.groups_.size());
  }

 private:
  struct Served {
    IommuUnit* unit;
    Driver* driver;
    unsigned index;  // among the driver's units
  };

  void add_unit(IommuUnit& unit);
  void add_device(const Hardware::Function& function);
  static void leave_out(Device& device);
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
  device.number_ = static_cast<unsigned>(system_.devices_.size() - 1);
  device.can_stall_ = function.can_stall;
  device.present_ = function.present;
  if (function.unit == nullptr) return;
  const auto served = std::ranges::find(served_, function.unit, &Served::unit);
  if (served == served_.end()) {
    log::warning("{} {}: its iommu {} has no driver", bus_of(device), device.name(), function.unit->name());
    return;
  }
  device.driver_ = served->driver;
  device.unit_index_ = served->index;
  if (!function.present) return;
  if (!probed(device)) {
    device.driver_ = nullptr;
    return;
  }
  if (!join_group(device)) leave_out(device);
}

void System::BringUp::leave_out(Device& device) {
  System::drop(device);
  device.driver_ = nullptr;
  device.group_ = nullptr;
}

bool System::BringUp::probed(Device& device) {
  const auto done = system_.probe(device);
  if (done) return true;
  log::error("{} {}: driver {} does not serve it: {} (errno {})", bus_of(device), device.name(),
             device.driver()->name(), done.error().why, done.error().code);
  return false;
}

bool System::BringUp::join_group(Device& device) {
  const auto home = system_.home_of(device);
  if (!home) return false;
  (*home)->add(device);
  announce_member(device, **home);
  return true;
}

bool System::BringUp::has_default_domain(Group& group) {
  const auto done = without_throwing([&] { return group.set_up_default_domain(); });
  if (done) return true;
  log::error("iommu group {}: {} (errno {}): its devices ({}) are left out", group.id(), done.error().why,
             done.error().code, group.device_names());
  for (Device* device : group.devices()) leave_out(*device);
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
