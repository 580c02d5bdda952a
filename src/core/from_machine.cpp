// SPDX-License-Identifier: BSD-3-Clause
// From a Machine to what the core needs to know of it.
#include <algorithm>

#include "core/system.h"
#include "machine/machine.h"

namespace softiommu {

namespace {

unsigned isolation_set_of(const Machine& machine, const PciFunction* function) {
  const auto& sets = machine.isolation_sets();
  for (unsigned i = 0; i < sets.size(); ++i)
    for (const PciFunction* member : sets[i].functions)
      if (member == function) return i;
  return static_cast<unsigned>(sets.size());
}

// Platform devices are alone unless they send under one id behind one IOMMU. Their sets come after those of PCI.
unsigned isolation_set_of(const Machine& machine, std::size_t position) {
  const auto devices = machine.platform_devices();
  const PlatformDevice& device = *devices[position];
  std::size_t first = 0;
  const auto collides = [&](const PlatformDevice& other) {
    return other.dma().unit() == device.dma().unit() &&
           std::ranges::find_first_of(other.streams(), device.streams()) != other.streams().end();
  };
  while (first < position && !collides(*devices[first])) ++first;
  return static_cast<unsigned>(machine.isolation_sets().size() + 1 + first);
}

Hardware hardware_of(Machine& machine) {
  Hardware hardware{.tables = machine.memory().tables(), .memory_top = machine.memory().top()};
  for (const auto& unit : machine.units()) hardware.units.push_back(unit.get());
  for (const auto& function : machine.functions())
    hardware.functions.push_back({.name = function->bdf().text(),
                                  .stream_ids = machine.stream_ids(*function),
                                  .unit = function->dma().unit(),
                                  .isolation_set = isolation_set_of(machine, function.get()),
                                  .function = function.get(),
                                  .can_stall = function->can_stall(),
                                  .present = function->present()});
  for (std::size_t i = 0; i < machine.platform_devices().size(); ++i) {
    const PlatformDevice& device = *machine.platform_devices()[i];
    hardware.functions.push_back({.name = device.name(),
                                  .stream_ids = {device.streams().begin(), device.streams().end()},
                                  .unit = device.dma().unit(),
                                  .isolation_set = isolation_set_of(machine, i),
                                  .can_stall = device.can_stall()});
  }
  for (const IsolationSet& set : machine.isolation_sets()) hardware.isolation_reasons.push_back(set.reason);
  return hardware;
}

}  // namespace

Result<std::unique_ptr<System>> System::create(Machine& machine, std::span<const MakeDriver> drivers, Options options) {
  return without_throwing([&]() -> Result<std::unique_ptr<System>> {
    std::vector<std::unique_ptr<Driver>> made;
    for (const MakeDriver make : drivers) made.push_back(make());
    auto system = TRY(bring_up(hardware_of(machine), std::move(made), options));
    system->machine_ = &machine;
    return system;
  });
}

}  // namespace softiommu
