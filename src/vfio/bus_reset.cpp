// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/bus_reset.h"

#include <algorithm>
#include <bitset>

#include "vfio/devices.h"

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
    PciDevice* const victim = group.devices().find(*function);
    if (!victim->device().present()) continue;
    if (victim->device().group() == nullptr) return fail(EPERM, "a device on the bus is in no group");
    const bool ours = victim->registration().state() != Registration::State::none;
    victims.push_back({ours ? &group.devices().group_of(*victim) : nullptr, victim});
  }
  return victims;
}

abi::DependentDevice describe(const BusResetVictim& victim) {
  const Bdf& bdf = victim.device->function().bdf();
  return {victim.device->device().group()->id(), bdf.segment, bdf.bus, bdf.devfn()};
}

}  // namespace softiommu::vfio
