// SPDX-License-Identifier: BSD-3-Clause
// /sys/class/iommu, /sys/kernel/iommu_groups, and the device files of VFIO.
#include <fmt/format.h>
#include <sys/sysmacros.h>

#include "launch/view/parts.h"
#include "machine/machine.h"
#include "vfio/vfio.h"

namespace softiommu::launch {
namespace {

// Registers that Linux's intel-iommu folder shows (VT-d 10.4.1-10.4.3).
enum VtdRegister : std::uint64_t { kVersion = 0x00, kCapability = 0x08, kExtendedCapability = 0x10 };
constexpr std::uint64_t kFirstUnitAddress = 0xfed9'0000, kUnitStep = 0x1'0000;

constexpr mode_t kOwner = 0600;  // of a device node

const char* name_of(ReservedRegion::Kind kind) {
  switch (kind) {
    case ReservedRegion::Kind::direct:
      return "direct";
    case ReservedRegion::Kind::relaxable:
      return "direct-relaxable";
    case ReservedRegion::Kind::reserved:
      return "reserved";
    case ReservedRegion::Kind::msi:
    case ReservedRegion::Kind::software_msi:
      return "msi";
  }
  return "reserved";
}

void add_vtd_files(Tree& tree, const std::string& folder, IommuUnit& unit, std::uint64_t address) {
  constexpr unsigned kMinorBits = 4, kMinorMask = 0xf;
  constexpr std::uint64_t kDomainsField = 0x7;  // CAP.ND: 2^(4 + 2 ND) domain ids
  const std::uint32_t version = unit.read32(kVersion);
  const std::uint64_t capability = unit.read64(kCapability);
  tree.attribute(folder + "/version", fmt::format("{}:{}\n", version >> kMinorBits & kMinorMask, version & kMinorMask));
  tree.attribute(folder + "/address", fmt::format("{:x}\n", address));
  tree.attribute(folder + "/cap", fmt::format("{:x}\n", capability));
  tree.attribute(folder + "/ecap", fmt::format("{:x}\n", unit.read64(kExtendedCapability)));
  tree.attribute(folder + "/domains_supported", fmt::format("{}\n", 1ull << (4 + 2 * (capability & kDomainsField))));
  tree.attribute(folder + "/domains_used", "1\n");
}

}  // namespace

std::string unit_folder(System& system, const Device& device) {
  if (device.driver() == nullptr) return {};
  unsigned index = 0;
  for (const auto& unit : system.machine().units()) {
    if (unit->model() != device.driver()->unit_model()) continue;
    if (index++ == device.unit_index()) return "sys/devices/virtual/iommu/" + unit->name();
  }
  return {};
}

void add_iommus(Tree& tree, System& system) {
  std::uint64_t address = kFirstUnitAddress;
  for (const auto& unit : system.machine().units()) {
    const std::string folder = "sys/devices/virtual/iommu/" + unit->name();
    tree.folder(folder + "/devices");
    tree.link(folder + "/subsystem", "sys/class/iommu");
    tree.link("sys/class/iommu/" + unit->name(), folder);
    if (unit->model() == "intel-vtd") add_vtd_files(tree, folder + "/intel-iommu", *unit, address);
    address += kUnitStep;
  }
}

void add_group(Tree& tree, const Group& group) {
  const std::string folder = fmt::format("sys/kernel/iommu_groups/{}", group.id());
  tree.folder(folder + "/devices");
  tree.attribute(folder + "/type", "DMA\n", 0644);
  std::string regions;
  if (const auto reserved = group.reserved_regions()) {
    for (const ReservedRegion& region : *reserved) {
      regions += fmt::format("{:#018x} {:#018x} {}\n", region.range.first.value, region.range.last.value,
                             name_of(region.kind));
    }
  }
  tree.attribute(folder + "/reserved_regions", regions);
}

void remove_group(Tree& tree, unsigned id) { tree.remove(fmt::format("sys/kernel/iommu_groups/{}", id)); }

void add_group_node(Tree& tree, unsigned id) {
  const dev_t number = Vfio::group_device_number(id);
  const std::string node = fmt::format("sys/devices/virtual/vfio/{}", id);
  tree.attribute(node + "/dev", fmt::format("{}:{}\n", major(number), minor(number)));
  tree.link(fmt::format("sys/class/vfio/{}", id), node);
  tree.file(fmt::format("dev/vfio/{}", id), "", kOwner);
}

void remove_group_node(Tree& tree, unsigned id) {
  tree.remove(fmt::format("dev/vfio/{}", id));
  tree.remove(fmt::format("sys/class/vfio/{}", id));
  tree.remove(fmt::format("sys/devices/virtual/vfio/{}", id));
}

void add_device_nodes(Tree& tree) {
  constexpr mode_t kEveryone = 0666;
  for (const char* folder : {"dev/vfio/devices", "sys/kernel/iommu_groups", "sys/devices/virtual/vfio"})
    tree.folder(folder);
  for (const char* node : {"dev/vfio/vfio", "dev/iommu"}) tree.file(node, "", kEveryone);
}

void add_device_file(Tree& tree, System& system, const PciControl::Function& function) {
  const dev_t node = Vfio::device_file_number(*function.vfio_number);
  const std::string name = fmt::format("vfio{}", *function.vfio_number);
  const std::string place = device_folder(system.machine().spec(), function);
  const std::string folder = place + "/vfio-dev/" + name;
  tree.attribute(folder + "/dev", fmt::format("{}:{}\n", major(node), minor(node)));
  tree.attribute(folder + "/uevent",
                 fmt::format("MAJOR={}\nMINOR={}\nDEVNAME=vfio/devices/{}\n", major(node), minor(node), name), 0644);
  tree.link(folder + "/device", place);
  tree.link(folder + "/subsystem", "sys/class/vfio-dev");
  tree.link("sys/class/vfio-dev/" + name, folder);
  tree.file("dev/vfio/devices/" + name, "", kOwner);
}

void remove_device_file(Tree& tree, System& system, const PciControl::Function& function) {
  const std::string name = fmt::format("vfio{}", *function.vfio_number);
  tree.remove("dev/vfio/devices/" + name);
  tree.remove("sys/class/vfio-dev/" + name);
  tree.remove(device_folder(system.machine().spec(), function) + "/vfio-dev");
}

}  // namespace softiommu::launch
