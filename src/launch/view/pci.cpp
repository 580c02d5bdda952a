// SPDX-License-Identifier: BSD-3-Clause
// /sys/devices/pci*, /sys/bus/pci: a folder for each function and bridge, and one for each driver.
#include <fmt/format.h>

#include <algorithm>

#include "hw/pci.h"
#include "launch/view/parts.h"
#include "machine/machine.h"

namespace softiommu::launch {
namespace {

constexpr mode_t kRead = 0444, kReadWrite = 0644, kWrite = 0200, kRemove = 0220,
                 kSriov = 0664;          // of sysfs's files, as Linux has them
constexpr unsigned kResourceLines = 13;  // six BARs, the ROM, six that only bridges and SR-IOV use

// enum of linux/ioport.h, as the `resource` file shows it.
enum ResourceFlag : std::uint64_t {
  kMem64Type = 0x4,
  kPrefetchType = 0x8,
  kIo = 0x100,
  kMem = 0x200,
  kPrefetch = 0x2000,
  kSizeAlign = 0x40000,
  kMem64 = 0x100000
};

std::uint64_t flags_of(const BarSpec& spec) {
  if (spec.io) return kIo | kSizeAlign | 1;
  return kMem | kSizeAlign | (spec.memory64 ? kMem64 | kMem64Type : 0) |
         (spec.prefetchable ? kPrefetch | kPrefetchType : 0);
}

std::string config_bytes(PciFunction& function, const PlacedBars& bars) {
  constexpr unsigned kBar0 = 0x10, kTypeBits = 0xf;
  std::string bytes(function.config_bytes(), '\0');
  const auto put32 = [&](unsigned at, std::uint32_t value) {
    for (unsigned i = 0; i < 4; ++i) bytes[at + i] = static_cast<char>(value >> (8 * i) & 0xff);
  };
  for (unsigned at = 0; at < bytes.size(); at += 4) put32(at, function.config_read(at, 4));
  for (unsigned bar = 0; bar < bars.size(); ++bar) {
    if (bars[bar].flags == 0) continue;
    const std::uint32_t type = function.config_read(kBar0 + bar * 4, 4) & kTypeBits;
    put32(kBar0 + bar * 4, static_cast<std::uint32_t>(bars[bar].first) | type);
    if (function.bars()[bar].memory64) put32(kBar0 + bar * 4 + 4, static_cast<std::uint32_t>(bars[bar].first >> 32));
  }
  return bytes;
}

std::string resource_text(const PlacedBars& bars) {
  std::string text;
  for (unsigned i = 0; i < kResourceLines; ++i) {
    const PlacedBar row = i < bars.size() ? bars[i] : PlacedBar{};
    text += fmt::format("{:#018x} {:#018x} {:#018x}\n", row.first, row.last, row.flags);
  }
  return text;
}

std::string modalias(const FunctionIdentity& id) {
  return fmt::format("pci:v{:08X}d{:08X}sv{:08X}sd{:08X}bc{:02X}sc{:02X}i{:02X}", id.vendor, id.device,
                     id.subsystem_vendor, id.subsystem_device, id.class_code >> 16 & 0xff, id.class_code >> 8 & 0xff,
                     id.class_code & 0xff);
}

std::string driver_folder(std::string_view driver) { return fmt::format("sys/bus/pci/drivers/{}", driver); }

std::string uevent_text(const PciControl::Function& function) {
  const FunctionIdentity& id = function.hardware->identity();
  const std::string driver = function.driver.empty() ? "" : fmt::format("DRIVER={}\n", function.driver);
  return driver + fmt::format(
                      "PCI_CLASS={:X}\nPCI_ID={:04X}:{:04X}\nPCI_SUBSYS_ID={:04X}:{:04X}\nPCI_SLOT_NAME={}\n"
                      "MODALIAS={}\n",
                      id.class_code, id.vendor, id.device, id.subsystem_vendor, id.subsystem_device, function.bdf,
                      modalias(id));
}

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

std::string folder_of(const MachineSpec& spec, const Bdf& bdf) {
  for (const BridgeSpec& bridge : spec.bridges) {
    const bool above = bridge.bdf.segment == bdf.segment && bridge.secondary_bus == bdf.bus && bdf.bus != 0;
    if (above && bridge.bdf.bus < bdf.bus) return folder_of(spec, bridge.bdf) + "/" + bdf.text();
  }
  return fmt::format("sys/devices/pci{:04x}:{:02x}/{}", bdf.segment, 0, bdf.text());
}

struct FileRow {
  std::string_view name;
  std::string text;
  mode_t mode = kRead;
};

void add_files(Tree& tree, const std::string& folder, std::span<const FileRow> rows) {
  for (const FileRow& row : rows) tree.attribute(fmt::format("{}/{}", folder, row.name), row.text, row.mode);
}

void add_identity(Tree& tree, const std::string& folder, const FunctionIdentity& id) {
  const FileRow rows[] = {
      {"vendor", fmt::format("{:#06x}\n", id.vendor)},
      {"device", fmt::format("{:#06x}\n", id.device)},
      {"subsystem_vendor", fmt::format("{:#06x}\n", id.subsystem_vendor)},
      {"subsystem_device", fmt::format("{:#06x}\n", id.subsystem_device)},
      {"class", fmt::format("{:#08x}\n", id.class_code)},
      {"revision", fmt::format("{:#04x}\n", id.revision)},
      {"modalias", modalias(id) + "\n"},
  };
  add_files(tree, folder, rows);
}

void add_function_files(Tree& tree, const std::string& folder, const FunctionIdentity& id, const PlacedBars& bars) {
  const FileRow rows[] = {
      {"resource", resource_text(bars)},
      {"irq", "0\n"},
      {"enable", "0\n", kReadWrite},
      {"numa_node", "-1\n", kReadWrite},
      {"local_cpus", "1\n"},
      {"local_cpulist", "0\n"},
      {"msi_bus", "1\n", kReadWrite},
      {"broken_parity_status", "0\n", kReadWrite},
      {"dma_mask_bits", "64\n"},
      {"consistent_dma_mask_bits", "64\n"},
      {"power_state", "D0\n"},
      {"ari_enabled", "0\n"},
      {"remove", "", kRemove},
      {"rescan", "", kWrite},
      {"reset", "", kWrite},
  };
  add_identity(tree, folder, id);
  add_files(tree, folder, rows);
  if (!id.pcie) return;
  for (const char* speed : {"max_link_speed", "current_link_speed"})
    tree.attribute(folder + "/" + speed, "8.0 GT/s PCIe\n");
  for (const char* width : {"max_link_width", "current_link_width"}) tree.attribute(folder + "/" + width, "1\n");
}

void update_sriov(Tree& tree, const std::string& folder, const ShownFunction& shown) {
  const PciControl::Function& function = shown.function;
  if (function.total_vfs == 0) return;
  const FileRow rows[] = {
      {"sriov_totalvfs", fmt::format("{}\n", function.total_vfs)},
      {"sriov_numvfs", fmt::format("{}\n", function.num_vfs), kSriov},
      {"sriov_offset", fmt::format("{}\n", function.vf_offset)},
      {"sriov_stride", fmt::format("{}\n", function.vf_stride)},
      {"sriov_vf_device", fmt::format("{:x}\n", function.hardware->identity().device)},
      {"sriov_vf_total_msix", "0\n"},
      {"sriov_drivers_autoprobe", shown.vf_autoprobe ? "1\n" : "0\n", kSriov},
  };
  add_files(tree, folder, rows);
  for (unsigned number = 0; number < function.total_vfs; ++number) {
    const std::string link = fmt::format("{}/virtfn{}", folder, number);
    if (number < function.virtfns.size() && !function.virtfns[number].empty()) {
      tree.link(link, parent_of(folder) + "/" + function.virtfns[number]);
    } else {
      tree.remove(link);
    }
  }
}

// A bridge has no model behind its configuration space: its identity and bus numbers are what programs look at.
void add_bridge(Tree& tree, const MachineSpec& spec, const BridgeSpec& bridge) {
  constexpr unsigned kVendor = 0, kDevice = 2, kClass = 10, kHeaderType = 14, kPrimary = 24, kSecondary = 25,
                     kSubordinate = 26;
  constexpr std::uint8_t kBridgeSubclass = 0x04, kBridgeClass = 0x06, kBridgeHeader = 0x01;
  constexpr std::uint16_t kRedHat = 0x1b36, kPciePort = 0x000c, kPciBridge = 0x0001;
  const std::uint16_t device = bridge.kind == BridgeSpec::Kind::pcie_to_pci ? kPciBridge : kPciePort;
  const std::string folder = folder_of(spec, bridge.bdf);
  std::string config(256, '\0');
  const auto put = [&](unsigned at, unsigned value) { config[at] = static_cast<char>(value & 0xff); };
  put(kVendor, kRedHat), put(kVendor + 1, kRedHat >> 8), put(kDevice, device), put(kDevice + 1, device >> 8);
  put(kClass, kBridgeSubclass), put(kClass + 1, kBridgeClass), put(kHeaderType, kBridgeHeader);
  put(kPrimary, bridge.bdf.bus), put(kSecondary, bridge.secondary_bus), put(kSubordinate, bridge.secondary_bus);
  const FileRow rows[] = {
      {"vendor", fmt::format("{:#06x}\n", kRedHat)},
      {"device", fmt::format("{:#06x}\n", device)},
      {"subsystem_vendor", "0x0000\n"},
      {"subsystem_device", "0x0000\n"},
      {"class", "0x060400\n"},
      {"revision", "0x00\n"},
      {"resource", resource_text({})},
      {"irq", "0\n"},
      {"enable", "1\n"},
      {"numa_node", "-1\n"},
      {"msi_bus", "1\n"},
  };
  add_files(tree, folder, rows);
  tree.file(folder + "/config", config);
  tree.link(folder + "/subsystem", "sys/bus/pci");
  tree.link("sys/bus/pci/devices/" + bridge.bdf.text(), folder);
}

}  // namespace

const PlacedBars& BarPlaces::of(const PciFunction& function) {
  const auto [known, fresh] = known_.try_emplace(function.bdf().text());
  for (unsigned bar = 0; fresh && bar < PciFunction::kBars; ++bar) {
    const BarSpec& spec = function.bars()[bar];
    if (spec.bytes == 0) continue;
    std::uint64_t& next = spec.io ? next_io_ : spec.memory64 ? next64_ : next32_;
    const std::uint64_t step = std::max<std::uint64_t>(spec.bytes, spec.io ? 16 : kPageSize);
    next = (next + step - 1) & ~(step - 1);
    known->second[bar] = {next, next + spec.bytes - 1, flags_of(spec)};
    next += step;
  }
  return known->second;
}

std::string device_folder(const MachineSpec& spec, const PciControl::Function& function) {
  if (function.physfn.empty()) return folder_of(spec, function.hardware->bdf());
  const auto physical = Bdf::parse(function.physfn);
  return parent_of(folder_of(spec, physical ? *physical : function.hardware->bdf())) + "/" + function.bdf;
}

void add_bus(Tree& tree, System& system) {
  for (const std::string_view driver : PciControl::drivers()) {
    const FileRow rows[] = {
        {"bind", "", kWrite}, {"unbind", "", kWrite}, {"new_id", "", kWrite}, {"remove_id", "", kWrite}};
    add_files(tree, driver_folder(driver), rows);
  }
  tree.link(driver_folder("vfio-pci") + "/module", "sys/module/vfio_pci");
  const FileRow rows[] = {
      {"drivers_autoprobe", "1\n", kReadWrite}, {"drivers_probe", "", kWrite}, {"rescan", "", kWrite}};
  add_files(tree, "sys/bus/pci", rows);
  const MachineSpec& spec = system.machine().spec();
  for (const BridgeSpec& bridge : spec.bridges) add_bridge(tree, spec, bridge);
}

void add_function(Tree& tree, System& system, const ShownFunction& shown, const PlacedBars& bars) {
  const PciControl::Function& function = shown.function;
  const MachineSpec& spec = system.machine().spec();
  const std::string folder = device_folder(spec, function);
  add_function_files(tree, folder, function.hardware->identity(), bars);
  update_function(tree, system, shown, bars);
  tree.link(folder + "/subsystem", "sys/bus/pci");
  if (!function.physfn.empty()) tree.link(folder + "/physfn", parent_of(folder) + "/" + function.physfn);
  if (const std::string unit = unit_folder(system, *function.device); !unit.empty()) {
    tree.link(folder + "/iommu", unit);
    tree.link(unit + "/devices/" + function.bdf, folder);
  }
  if (function.group) {
    const std::string group = fmt::format("sys/kernel/iommu_groups/{}", *function.group);
    tree.link(group + "/devices/" + function.bdf, folder);
    tree.link(folder + "/iommu_group", group);
  }
  tree.link("sys/bus/pci/devices/" + function.bdf, folder);
}

void remove_function(Tree& tree, System& system, const PciControl::Function& function) {
  tree.remove("sys/bus/pci/devices/" + function.bdf);
  if (function.group) tree.remove(fmt::format("sys/kernel/iommu_groups/{}/devices/{}", *function.group, function.bdf));
  if (const std::string unit = unit_folder(system, *function.device); !unit.empty())
    tree.remove(unit + "/devices/" + function.bdf);
  tree.remove(device_folder(system.machine().spec(), function));
}

void update_function(Tree& tree, System& system, const ShownFunction& shown, const PlacedBars& bars) {
  const PciControl::Function& function = shown.function;
  const std::string folder = device_folder(system.machine().spec(), function);
  tree.attribute(folder + "/uevent", uevent_text(function), kReadWrite);
  tree.attribute(folder + "/driver_override", shown.driver_override + "\n", kReadWrite);
  tree.file(folder + "/config", config_bytes(*function.hardware, bars));
  update_sriov(tree, folder, shown);
}

void add_driver(Tree& tree, System& system, const PciControl::Function& function) {
  const std::string folder = device_folder(system.machine().spec(), function);
  tree.link(folder + "/driver", driver_folder(function.driver));
  tree.link(driver_folder(function.driver) + "/" + function.bdf, folder);
}

void remove_driver(Tree& tree, System& system, const PciControl::Function& function) {
  tree.remove(device_folder(system.machine().spec(), function) + "/driver");
  tree.remove(driver_folder(function.driver) + "/" + function.bdf);
}

}  // namespace softiommu::launch
