// SPDX-License-Identifier: BSD-3-Clause
// The PCI tree of a machine file: bridges and the buses they make, the ids under which requests arrive at an
// IOMMU, and which functions the fabric cannot keep apart (the rules of Linux's pci_device_group).
//
// Works on the file's data alone, so that the parser can ask it before any hardware exists. Bus 00 of a segment is
// its root bus; every other bus is made by exactly one bridge.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "machine/spec.h"

namespace softiommu {

std::string_view kind_name(BridgeSpec::Kind kind);  // "root port", "PCIe-to-PCI bridge", ...

// What the physical function of a machine file brings with it, in the order of their numbers: models and unit as its
// own, each isolated from the others on their bus.
std::vector<FunctionSpec> virtual_functions_of(const FunctionSpec& physical);

// Functions that must be given away together. `functions` are positions in MachineSpec::functions, in bus order;
// `bridges` are the bridges that Linux puts into the same group (they hold no program back from using it).
struct IsolationGroup {
  std::vector<std::size_t> functions;
  std::vector<Bdf> bridges;
  std::string reason;  // "alone", or which address is at fault and why
};

class Topology {
 public:
  // `spec` is kept by reference. Wrong trees (a bus that no bridge makes) are answered as if the bus were a root bus.
  explicit Topology(const MachineSpec& spec) : spec_(spec) {}

  // The bridge that makes the bus of `bdf`; nullptr on a root bus.
  const BridgeSpec* bridge_above(const Bdf& bdf) const;
  // All bridges between `bdf` and its root bus, the nearest first.
  std::vector<const BridgeSpec*> path(const Bdf& bdf) const;
  // The highest bus number below `bridge`.
  std::uint8_t subordinate_bus(const BridgeSpec& bridge) const;
  // More than one function answers at this device number (configuration space says so in its header type).
  bool multifunction(const Bdf& bdf) const;

  // Name of the IOMMU in front of a function or bridge: its own choice, else that of the bridge above, else the
  // machine's first. Empty: none.
  std::string_view unit_of(const FunctionSpec& function) const { return unit_of(function.bdf, function.unit); }
  std::string_view unit_of(const BridgeSpec& bridge) const { return unit_of(bridge.bdf, bridge.unit); }
  // Of a platform device: its own choice, else the machine's first.
  std::string_view unit_of(const PlatformSpec& device) const { return chosen_unit(device.unit); }

  // Every id under which the requests of `function` may arrive: its own first, then its aliases on its bus, then
  // what PCIe-to-PCI bridges put in its place (secondary bus, devfn 0), the nearest bridge first.
  std::vector<StreamId> stream_ids(const FunctionSpec& function) const;
  // The one under which they do arrive: the last PCIe-to-PCI bridge's, else its own.
  StreamId requester(const FunctionSpec& function) const;

  // In bus order of their first function. Sets of bridges alone are left out.
  std::vector<IsolationGroup> isolation_groups() const;

 private:
  std::string_view unit_of(const Bdf& bdf, const std::string& chosen) const;
  std::string_view chosen_unit(const std::string& name) const;
  const MachineSpec& spec_;
};

}  // namespace softiommu
