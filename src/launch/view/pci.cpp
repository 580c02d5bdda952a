// SPDX-License-Identifier: BSD-3-Clause
// /sys/devices/pci*, /sys/bus/pci: a folder for each function and bridge, all bound to vfio-pci.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "launch/view/tree.h"
#include "machine/machine.h"

namespace softiommu::launch {
namespace {

const std::string kDriver = "sys/bus/pci/drivers/vfio-pci";
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

struct Placed {
  std::uint64_t first = 0, last = 0, flags = 0;
};

// Firmware's part: bus addresses for the BARs, below 4 GiB for 32-bit ones, high for 64-bit ones.
class BarPlaces {
 public:
  std::array<Placed, PciFunction::kBars> place(const PciFunction& function) {
    std::array<Placed, PciFunction::kBars> out{};
    for (unsigned bar = 0; bar < PciFunction::kBars; ++bar) {
      const BarSpec& spec = function.bars()[bar];
      if (spec.bytes == 0) continue;
      std::uint64_t& next = spec.io ? next_io_ : spec.memory64 ? next64_ : next32_;
      const std::uint64_t step = std::max<std::uint64_t>(spec.bytes, spec.io ? 16 : kPageSize);
      next = (next + step - 1) & ~(step - 1);
      out[bar] = {next, next + spec.bytes - 1, flags_of(spec)};
      next += step;
    }
    return out;
  }

 private:
  static std::uint64_t flags_of(const BarSpec& spec) {
    if (spec.io) return kIo | kSizeAlign | 1;
    return kMem | kSizeAlign | (spec.memory64 ? kMem64 | kMem64Type : 0) |
           (spec.prefetchable ? kPrefetch | kPrefetchType : 0);
  }
  std::uint64_t next32_ = 0xe000'0000, next64_ = 0x38'0000'0000, next_io_ = 0xc000;
};

std::string config_bytes(PciFunction& function, const std::array<Placed, PciFunction::kBars>& bars) {
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

std::string resource_text(const std::array<Placed, PciFunction::kBars>& bars) {
  std::string text;
  for (unsigned i = 0; i < kResourceLines; ++i) {
    const Placed row = i < bars.size() ? bars[i] : Placed{};
    text += fmt::format("{:#018x} {:#018x} {:#018x}\n", row.first, row.last, row.flags);
  }
  return text;
}

std::string modalias(const FunctionIdentity& id) {
  return fmt::format("pci:v{:08X}d{:08X}sv{:08X}sd{:08X}bc{:02X}sc{:02X}i{:02X}", id.vendor, id.device,
                     id.subsystem_vendor, id.subsystem_device, id.class_code >> 16 & 0xff, id.class_code >> 8 & 0xff,
                     id.class_code & 0xff);
}

void add_function_files(Tree& tree, const std::string& folder, PciFunction& function, BarPlaces& places) {
  const FunctionIdentity& id = function.identity();
  const auto bars = places.place(function);
  const std::map<std::string, std::string> files = {
      {"vendor", fmt::format("{:#06x}\n", id.vendor)},
      {"device", fmt::format("{:#06x}\n", id.device)},
      {"subsystem_vendor", fmt::format("{:#06x}\n", id.subsystem_vendor)},
      {"subsystem_device", fmt::format("{:#06x}\n", id.subsystem_device)},
      {"class", fmt::format("{:#08x}\n", id.class_code)},
      {"revision", fmt::format("{:#04x}\n", id.revision)},
      {"modalias", modalias(id) + "\n"},
      {"uevent", fmt::format("DRIVER=vfio-pci\nPCI_CLASS={:X}\nPCI_ID={:04X}:{:04X}\nPCI_SUBSYS_ID={:04X}:{:04X}\n"
                             "PCI_SLOT_NAME={}\nMODALIAS={}\n",
                             id.class_code, id.vendor, id.device, id.subsystem_vendor, id.subsystem_device,
                             function.bdf().text(), modalias(id))},
      {"resource", resource_text(bars)},
      {"config", config_bytes(function, bars)},
      {"irq", "0\n"},
      {"enable", "0\n"},
      {"numa_node", "-1\n"},
      {"local_cpus", "1\n"},
      {"local_cpulist", "0\n"},
      {"msi_bus", "1\n"},
      {"broken_parity_status", "0\n"},
      {"dma_mask_bits", "64\n"},
      {"consistent_dma_mask_bits", "64\n"},
      {"driver_override", "vfio-pci\n"},
      {"power_state", "D0\n"},
      {"ari_enabled", "0\n"},
  };
  for (const auto& [name, text] : files) tree.file(folder + "/" + name, text);
  if (!id.pcie) return;
  for (const char* speed : {"max_link_speed", "current_link_speed"}) tree.file(folder + "/" + speed, "8.0 GT/s PCIe\n");
  for (const char* width : {"max_link_width", "current_link_width"}) tree.file(folder + "/" + width, "1\n");
}

// A bridge has no model behind its configuration space: its identity and bus numbers are what programs look at.
void add_bridge(Tree& tree, const MachineSpec& spec, const BridgeSpec& bridge) {
  constexpr unsigned kVendor = 0, kDevice = 2, kClass = 10, kHeaderType = 14, kPrimary = 24, kSecondary = 25,
                     kSubordinate = 26;
  constexpr std::uint8_t kBridgeSubclass = 0x04, kBridgeClass = 0x06, kBridgeHeader = 0x01;
  constexpr std::uint16_t kRedHat = 0x1b36, kPciePort = 0x000c, kPciBridge = 0x0001;
  const std::uint16_t device = bridge.kind == BridgeSpec::Kind::pcie_to_pci ? kPciBridge : kPciePort;
  const std::string folder = device_folder(spec, bridge.bdf);
  std::string config(256, '\0');
  const auto put = [&](unsigned at, unsigned value) { config[at] = static_cast<char>(value & 0xff); };
  put(kVendor, kRedHat), put(kVendor + 1, kRedHat >> 8), put(kDevice, device), put(kDevice + 1, device >> 8);
  put(kClass, kBridgeSubclass), put(kClass + 1, kBridgeClass), put(kHeaderType, kBridgeHeader);
  put(kPrimary, bridge.bdf.bus), put(kSecondary, bridge.secondary_bus), put(kSubordinate, bridge.secondary_bus);
  const std::map<std::string, std::string> files = {
      {"vendor", fmt::format("{:#06x}\n", kRedHat)},
      {"device", fmt::format("{:#06x}\n", device)},
      {"subsystem_vendor", "0x0000\n"},
      {"subsystem_device", "0x0000\n"},
      {"class", "0x060400\n"},
      {"revision", "0x00\n"},
      {"resource", resource_text({})},
      {"config", config},
      {"irq", "0\n"},
      {"enable", "1\n"},
      {"numa_node", "-1\n"},
      {"msi_bus", "1\n"},
  };
  for (const auto& [name, text] : files) tree.file(folder + "/" + name, text);
  tree.link(folder + "/subsystem", "sys/bus/pci");
  tree.link("sys/bus/pci/devices/" + bridge.bdf.text(), folder);
}

}  // namespace

std::string device_folder(const MachineSpec& spec, const Bdf& bdf) {
  for (const BridgeSpec& bridge : spec.bridges) {
    const bool above = bridge.bdf.segment == bdf.segment && bridge.secondary_bus == bdf.bus && bdf.bus != 0;
    if (above && bridge.bdf.bus < bdf.bus) return device_folder(spec, bridge.bdf) + "/" + bdf.text();
  }
  return fmt::format("sys/devices/pci{:04x}:{:02x}/{}", bdf.segment, 0, bdf.text());
}

void add_pci(Tree& tree, System& system) {
  const MachineSpec& spec = system.machine().spec();
  for (const char* name : {"bind", "unbind", "new_id", "remove_id"}) tree.file(kDriver + "/" + name, "", 0200);
  tree.link(kDriver + "/module", "sys/module/vfio_pci");
  tree.file("sys/bus/pci/drivers_autoprobe", "1\n");
  tree.file("sys/bus/pci/drivers_probe", "", 0200);
  for (const BridgeSpec& bridge : spec.bridges) add_bridge(tree, spec, bridge);
  BarPlaces places;
  for (const auto& function : system.machine().functions()) {
    const std::string name = function->bdf().text(), folder = device_folder(spec, function->bdf());
    add_function_files(tree, folder, *function, places);
    tree.link(folder + "/subsystem", "sys/bus/pci");
    tree.link(folder + "/driver", kDriver);
    tree.link("sys/bus/pci/devices/" + name, folder);
    tree.link(kDriver + "/" + name, folder);
  }
}

}  // namespace softiommu::launch
