// SPDX-License-Identifier: BSD-3-Clause
// /sys/class/iommu, /sys/kernel/iommu_groups, and the device files of VFIO.
#include <fmt/format.h>
#include <sys/sysmacros.h>

#include "launch/view/tree.h"
#include "machine/machine.h"
#include "vfio/vfio.h"

namespace softiommu::launch {
namespace {

// Registers that Linux's intel-iommu folder shows (VT-d 10.4.1-10.4.3).
enum VtdRegister : std::uint64_t { kVersion = 0x00, kCapability = 0x08, kExtendedCapability = 0x10 };
constexpr std::uint64_t kFirstUnitAddress = 0xfed9'0000, kUnitStep = 0x1'0000;

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
  tree.file(folder + "/version", fmt::format("{}:{}\n", version >> kMinorBits & kMinorMask, version & kMinorMask));
  tree.file(folder + "/address", fmt::format("{:x}\n", address));
  tree.file(folder + "/cap", fmt::format("{:x}\n", capability));
  tree.file(folder + "/ecap", fmt::format("{:x}\n", unit.read64(kExtendedCapability)));
  tree.file(folder + "/domains_supported", fmt::format("{}\n", 1ull << (4 + 2 * (capability & kDomainsField))));
  tree.file(folder + "/domains_used", "1\n");
}

std::string unit_of(const System& system, const Device& device) {
  if (device.driver() == nullptr) return {};
  unsigned index = 0;
  for (const auto& unit : const_cast<System&>(system).machine().units()) {
    if (unit->model() != device.driver()->unit_model()) continue;
    if (index++ == device.unit_index()) return unit->name();
  }
  return {};
}

}  // namespace

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
  for (const auto& device : system.devices()) {
    const std::string unit = unit_of(system, *device);
    if (unit.empty() || device->function() == nullptr) continue;
    const std::string folder = device_folder(system.machine().spec(), device->function()->bdf());
    tree.link(folder + "/iommu", "sys/devices/virtual/iommu/" + unit);
    tree.link("sys/devices/virtual/iommu/" + unit + "/devices/" + device->name(), folder);
  }
}

void add_groups(Tree& tree, System& system) {
  constexpr mode_t kEveryone = 0666, kOwner = 0600;
  tree.folder("sys/kernel/iommu_groups");
  tree.file("dev/vfio/vfio", "", kEveryone);
  for (const auto& group : system.groups()) {
    const std::string folder = fmt::format("sys/kernel/iommu_groups/{}", group->id());
    for (const Device* device : group->devices()) {
      if (device->function() == nullptr) continue;
      const std::string place = device_folder(system.machine().spec(), device->function()->bdf());
      tree.link(folder + "/devices/" + device->name(), place);
      tree.link(place + "/iommu_group", folder);
    }
    tree.file(folder + "/type", "DMA\n");
    std::string regions;
    if (const auto reserved = group->reserved_regions()) {
      for (const ReservedRegion& region : *reserved) {
        regions += fmt::format("{:#018x} {:#018x} {}\n", region.range.first.value, region.range.last.value,
                               name_of(region.kind));
      }
    }
    tree.file(folder + "/reserved_regions", regions);
    const dev_t number = Vfio::group_device_number(group->id());
    const std::string node = fmt::format("sys/devices/virtual/vfio/{}", group->id());
    tree.file(node + "/dev", fmt::format("{}:{}\n", major(number), minor(number)));
    tree.link(fmt::format("sys/class/vfio/{}", group->id()), node);
    tree.file(fmt::format("dev/vfio/{}", group->id()), "", kOwner);
  }
}

void add_device_files(Tree& tree, System& system) {
  constexpr mode_t kEveryone = 0666, kOwner = 0600;
  tree.file("dev/iommu", "", kEveryone);
  tree.folder("dev/vfio/devices");
  for (const auto& device : system.devices()) {
    if (device->group() == nullptr || device->function() == nullptr) continue;
    const unsigned number = Vfio::device_number(system, *device);
    const dev_t node = Vfio::device_file_number(number);
    const std::string name = fmt::format("vfio{}", number);
    const std::string place = device_folder(system.machine().spec(), device->function()->bdf());
    const std::string folder = place + "/vfio-dev/" + name;
    tree.file(folder + "/dev", fmt::format("{}:{}\n", major(node), minor(node)));
    tree.file(folder + "/uevent",
              fmt::format("MAJOR={}\nMINOR={}\nDEVNAME=vfio/devices/{}\n", major(node), minor(node), name));
    tree.link(folder + "/device", place);
    tree.link(folder + "/subsystem", "sys/class/vfio-dev");
    tree.link("sys/class/vfio-dev/" + name, folder);
    tree.file("dev/vfio/devices/" + name, "", kOwner);
  }
}

}  // namespace softiommu::launch
