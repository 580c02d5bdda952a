// SPDX-License-Identifier: BSD-3-Clause
// The parts of the view: what is written once, and what of a function comes and goes.
#pragma once

#include <array>
#include <map>
#include <string>

#include "core/system.h"
#include "launch/view/tree.h"
#include "vfio/pci_control.h"

namespace softiommu::launch {

// Written once --------------------------------------------------------------------------------------------------------

void add_bus(Tree& tree, System& system);     // /sys/bus/pci, its drivers, and the bridges
void add_iommus(Tree& tree, System& system);  // /sys/class/iommu
void add_device_nodes(Tree& tree);            // /dev/vfio/vfio and /dev/iommu

// A function ----------------------------------------------------------------------------------------------------------

// What sysfs shows of a function, and the bus knows beside it.
struct ShownFunction {
  PciControl::Function function;
  std::string driver_override = "(null)";
  bool vf_autoprobe = true;
};

struct PlacedBar {
  std::uint64_t first = 0, last = 0, flags = 0;
};
using PlacedBars = std::array<PlacedBar, PciFunction::kBars>;

// Firmware's part: bus addresses for the BARs, below 4 GiB for 32-bit ones, high for 64-bit ones. A function that comes
// again has those it had.
class BarPlaces {
 public:
  const PlacedBars& of(const PciFunction& function);

 private:
  std::map<std::string, PlacedBars> known_;
  std::uint64_t next32_ = 0xe000'0000, next64_ = 0x38'0000'0000, next_io_ = 0xc000;
};

// Where the IOMMU in front of a device has its folder; "": there is none.
std::string unit_folder(System& system, const Device& device);
// Where a function's folder is: "sys/devices/pci0000:00/0000:00:1c.0/0000:01:00.0". A virtual one lies beside its
// physical one.
std::string device_folder(const MachineSpec& spec, const PciControl::Function& function);

// The folder with its files, the links to and from bus, IOMMU and physical function.
void add_function(Tree& tree, System& system, const ShownFunction& shown, const PlacedBars& bars);
void remove_function(Tree& tree, System& system, const PciControl::Function& function);
// What writes change: the driver's name, driver_override, virtual functions.
void update_function(Tree& tree, System& system, const ShownFunction& shown, const PlacedBars& bars);
void add_driver(Tree& tree, System& system, const PciControl::Function& function);
void remove_driver(Tree& tree, System& system, const PciControl::Function& function);
// vfio-dev/vfioN and /dev/vfio/devices/vfioN
void add_device_file(Tree& tree, System& system, const PciControl::Function& function);
void remove_device_file(Tree& tree, System& system, const PciControl::Function& function);

// Groups --------------------------------------------------------------------------------------------------------------

void add_group(Tree& tree, const Group& group);  // /sys/kernel/iommu_groups/N
void remove_group(Tree& tree, unsigned id);
void add_group_node(Tree& tree, unsigned id);  // /dev/vfio/N
void remove_group_node(Tree& tree, unsigned id);

}  // namespace softiommu::launch
