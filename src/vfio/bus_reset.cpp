// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/bus_reset.h"

#include <algorithm>
#include <bitset>

namespace softiommu::vfio {

namespace {

using Buses = std::bitset<256>;

// `bus` and all buses behind bridges on it.
Buses buses_below(std::span<const BridgeSpec> bridges, std::uint16_t segment, std::uint8_t bus) {
  Buses buses;
  buses.set(bus);
  for (std::size_t found = 0; found != buses.count();) {
    found = buses.count();
    for (const BridgeSpec& bridge : bridges) {
      if (bridge.bdf.segment == segment && buses.test(bridge.bdf.bus)) buses.set(bridge.secondary_bus);
    }
  }
  return buses;
}

BusResetVictim find(const VfioGroup::All& groups, const PciFunction& function) {
  for (const auto& group : groups) {
    for (const auto& device : group->devices()) {
      if (&device->function() == &function) return {group.get(), device.get()};
    }
  }
  return {nullptr, nullptr};
}

}  // namespace

Result<std::vector<BusResetVictim>> bus_reset_victims(VfioGroup& group, const PciDevice& device) {
  Machine& machine = device.system().machine();
  const Bdf own = device.function().bdf();
  const auto& bridges = machine.spec().bridges;
  if (std::ranges::none_of(bridges, [&](const BridgeSpec& bridge) {
        return bridge.bdf.segment == own.segment && bridge.secondary_bus == own.bus;
      })) {
    return fail(ENODEV, "the device is on a root bus, which has no reset");
  }
  const Buses buses = buses_below(bridges, own.segment, own.bus);
  std::vector<BusResetVictim> victims;
  for (const auto& function : machine.functions()) {
    if (function->bdf().segment != own.segment || !buses.test(function->bdf().bus)) continue;
    const BusResetVictim victim = find(group.all(), *function);
    if (victim.device == nullptr) return fail(EPERM, "a device on the bus is in no group");
    victims.push_back(victim);
  }
  return victims;
}

abi::DependentDevice describe(const BusResetVictim& victim) {
  const Bdf& bdf = victim.device->function().bdf();
  constexpr unsigned kFunctionBits = 3;
  return {victim.group->group().id(), bdf.segment, bdf.bus,
          static_cast<std::uint8_t>(bdf.device << kFunctionBits | bdf.function)};
}

}  // namespace softiommu::vfio
