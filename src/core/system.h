// SPDX-License-Identifier: BSD-3-Clause
// The IOMMU subsystem of one machine: drivers, devices, groups.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/device.h"
#include "core/driver.h"
#include "core/group.h"
#include "core/hardware.h"
#include "core/journal.h"
#include "core/rules.h"
#include "machine/machine.h"

namespace softiommu {

class PluggedDevice;

class System {
 public:
  struct Options {
    Rules rules = Rules::contract;
  };

  // Brings up every unit with the driver for its model, probes every device in bus order, makes groups and attaches
  // each to its default domain. A unit without a driver, or whose driver fails, is logged; its devices get no group.
  static Result<std::unique_ptr<System>> create(Machine& machine, std::span<const MakeDriver> drivers, Options options);
  // The same without a Machine: whoever has units and knows what is behind them. The units outlive the system.
  static Result<std::unique_ptr<System>> bring_up(const Hardware& hardware,
                                                  std::vector<std::unique_ptr<Driver>> drivers, Options options);
  // No domain of its drivers may be left, and no device does DMA any more. Every device is blocked.
  ~System();
  System(const System&) = delete;
  System& operator=(const System&) = delete;

  Machine& machine() { return *machine_; }  // only of a system that was made for one
  Rules rules() const { return options_.rules; }
  Journal& journal() { return journal_; }
  // Both may be read at any time: groups are added behind the last one, and none goes. Devices are all that can ever be
  // there. A group whose devices are gone has none; a device that is gone says so (Device::present).
  std::span<const std::unique_ptr<Group>> groups() const {
    return {groups_.data(), group_count_.load(std::memory_order_acquire)};
  }
  std::span<const std::unique_ptr<Device>> devices() const { return devices_; }
  std::span<const std::unique_ptr<Driver>> drivers() const { return drivers_; }
  Group* group(unsigned id) const;              // nullptr: none
  Device* device(std::string_view name) const;  // nullptr: none

  // Position of a driver among drivers().
  unsigned driver_number(const Driver& driver) const;

  // A driver without units in the machine: for devices that are plugged. Before anybody else uses the system.
  void add_driver(std::unique_ptr<Driver> driver) {
    driver->follow(options_.rules);
    drivers_.push_back(std::move(driver));
  }
  // A device of devices() appears: probed, in its group, which is that of its isolation set, on the group's domain.
  // EEXIST: it is there. Errors: Driver::probe, those of the default domain and of an attach. Then it is not there.
  Result<> bring_in(Device& device);
  // It goes: blocked, out of its group, released by its driver. Nobody uses it any more. ENOMEM: it stays.
  Result<> take_out(Device& device);
  // A device of its own that appears now, behind a unit of `driver` (or behind none that the machine knows): probed,
  // alone in a group, on its default domain. Errors: Driver::probe, and those of the default domain.
  Result<std::unique_ptr<PluggedDevice>> plug(Driver& driver, const Hardware::Function& function);

  // A fresh paging domain for a group: made for all its devices. ENOMEM, EOPNOTSUPP, ENODEV, ENOSPC.
  Result<std::unique_ptr<Domain>> allocate_domain(Group& group, const DomainRequest& request = {});

 private:
  class BringUp;
  friend class PluggedDevice;
  // Asks its driver to take it. Errors: Driver::probe.
  static Result<> probe(Device& device);
  static void drop(Device& device);
  // The group that it belongs to, perhaps a new one. EXDEV: it cannot be isolated from devices of another driver.
  Result<Group*> home_of(const Device& device);
  Result<> bring_into(Device& device, Group& group);
  explicit System(Options options) : options_(options) {}
  Machine* machine_ = nullptr;
  Options options_;
  Journal journal_;
  std::atomic<unsigned> next_group_{0};  // ids are never used again
  std::vector<std::unique_ptr<Driver>> drivers_;
  std::vector<std::unique_ptr<Device>> devices_;
  // Room for all that can come: it never moves. Added to during the boot, then under the lock.
  std::vector<std::unique_ptr<Group>> groups_;
  std::atomic<std::size_t> group_count_{0};
  std::vector<std::string> isolation_reasons_;
  Mutex plug_mutex_;               // one device at a time; outside of all groups' locks
  std::vector<IommuUnit*> units_;  // whose interrupts come here
};

}  // namespace softiommu
