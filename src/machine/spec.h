// SPDX-License-Identifier: BSD-3-Clause
// A machine as data: what a machine file says after all checks. Machine::create builds it.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "machine/memory.h"
#include "machine/options.h"
#include "machine/pci_function.h"

namespace softiommu {

struct UnitModel;  // machine/machine.h
struct DeviceModel;

struct UnitSpec {
  std::string name;   // unique, e.g. "dmar0"
  std::string model;  // "intel-vtd", "arm-smmu-v3"
  Options options;
};

// A bridge makes a bus below itself. Without ACS its functions may talk to each other behind the IOMMU's back.
struct BridgeSpec {
  enum class Kind : std::uint8_t { root_port, switch_upstream, switch_downstream, pcie_to_pci };
  Bdf bdf;
  Kind kind = Kind::root_port;
  std::uint8_t secondary_bus = 0;
  bool acs = true;
  std::string unit;  // of the bridge itself and of what is below it; "" and "none" as for a function
};

struct FunctionSpec {
  Bdf bdf;
  std::string model;  // "edu", "ioat"
  std::string unit;   // the IOMMU in front; "none": no IOMMU; "": that of the bridge above, else the machine's first
  Options options;
  std::vector<std::uint8_t> dma_alias_devfns;  // also sends with these device.function numbers of its bus
  bool acs = true;                             // for a multifunction device: functions are isolated from each other
  TranslationServices services = {};
  std::string rom = {};              // a file with the image of its expansion ROM
  unsigned vfs = 0;                  // virtual functions that it can have
  std::optional<Bdf> physical = {};  // this is one of them: Machine::create adds them
};

// A device that is not on PCI: a DMA engine whose requests carry the given ids.
struct PlatformSpec {
  std::string name;               // "ff900000.vop"
  std::string unit;               // the IOMMU in front; "none": no IOMMU; "": the machine's first
  std::vector<StreamId> streams;  // one for each port
  bool stalls = false;            // its faults may wait for an answer
};

struct MachineSpec {
  std::string name;
  MemorySpec memory;
  bool isolated_msi = true;    // interrupt remapping; without it VFIO attach is EPERM
  bool cache_coherent = true;  // device DMA snoops the caches
  std::uint64_t device_latency_ns =
      100'000;  // DPDK loses a completion if an error is recovered and worked off sooner than it looks
  std::vector<UnitSpec> units;
  std::vector<BridgeSpec> bridges;
  std::vector<FunctionSpec> functions;
  std::vector<PlatformSpec> platform_devices = {};
};

// One finding about a machine file.
struct SpecError {
  std::string where;  // "file:line:column"
  std::string what;   // what is wrong and what would be right
};

// The machine that is used when no file is given: a VT-d unit with IOAT and edu devices.
std::string_view default_machine_toml();

// Every key of the file is checked, then the machine as a whole: what comes back can be built. The second form also
// knows hardware of the caller's own.
std::expected<MachineSpec, SpecError> parse_machine(std::string_view toml, std::string_view file_name);
std::expected<MachineSpec, SpecError> parse_machine(std::string_view toml, std::string_view file_name,
                                                    std::span<const UnitModel> extra_units,
                                                    std::span<const DeviceModel> extra_devices);
std::expected<MachineSpec, SpecError> load_machine(const std::string& path);

// The part of docs/machine-file.md that lists every key: Markdown, from the same tables that the parser checks with.
std::string machine_file_reference();

}  // namespace softiommu
