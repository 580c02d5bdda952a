// SPDX-License-Identifier: BSD-3-Clause
// The hardware of one computer: memory, IOMMUs, the PCI fabric, device models and their executor.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "machine/executor.h"
#include "machine/findings.h"
#include "machine/iommu/unit.h"
#include "machine/memory.h"
#include "machine/pci_function.h"
#include "machine/platform_device.h"
#include "machine/spec.h"

namespace softiommu {

// A kind of IOMMU hardware: a row of machine/iommu/registry.inc.
struct UnitModel {
  std::string_view name;  // "intel-vtd"
  std::string_view doc;
  std::span<const Option> options;
  Result<std::unique_ptr<IommuUnit>> (*create)(const UnitContext&, const Options&);
  // What a table of options cannot say. `why` begins with the key at fault: "domain_id_bits: must be even".
  Result<> (*check)(const Options&) = nullptr;
};

// A kind of device: a row of machine/device/registry.inc.
struct DeviceModel {
  std::string_view name;  // "edu"
  std::string_view doc;
  std::span<const Option> options;
  Result<std::unique_ptr<PciFunction>> (*create)(const PciFunction::Context&, const Options&);
  Result<> (*check)(const Options&) = nullptr;  // as for a UnitModel
  bool virtual_functions = false;               // it may have some: its BARs and its interrupts are made for that
};

std::span<const UnitModel> unit_models();
std::span<const DeviceModel> device_models();

// Functions that the fabric cannot keep apart, and why (the rules of Linux's pci_device_group).
struct IsolationSet {
  std::vector<PciFunction*> functions;  // in bus order
  std::vector<Bdf> bridges;             // that Linux puts into the same group; they are not PciFunctions
  std::string
      reason;  // "alone", "behind 0000:01:00.0, a PCIe-to-PCI bridge: all requests from below it arrive as ...", ...
};

struct MachineOptions {
  Executor::Time time = Executor::Time::real;
  bool paranoid = false;
  std::span<const UnitModel> extra_unit_models = {};  // tests bring hardware of their own
  std::span<const DeviceModel> extra_device_models = {};
};

class Machine {
 public:
  static Result<std::unique_ptr<Machine>> create(const MachineSpec& spec, const MachineOptions& options);
  ~Machine();

  const MachineSpec& spec() const;
  Memory& memory();
  Executor& executor();
  Findings& findings();
  std::span<const std::unique_ptr<IommuUnit>> units() const;
  // Every function that can ever be there, in bus order; bridges are not among them. PciFunction::present() says
  // which are: the list stays as it is.
  std::span<const std::unique_ptr<PciFunction>> functions() const;
  IommuUnit* unit(std::string_view name) const;                               // nullptr: none
  PciFunction* function(const Bdf& bdf) const;                                // nullptr: none
  std::span<const std::unique_ptr<PlatformDevice>> platform_devices() const;  // in the file's order
  PlatformDevice* platform_device(std::string_view name) const;               // nullptr: none
  // All ids under which `function`'s transactions reach its unit: its own first, then aliases.
  std::vector<StreamId> stream_ids(const PciFunction& function) const;
  const std::vector<IsolationSet>& isolation_sets() const;  // in bus order of their first function

 private:
  struct Impl;
  explicit Machine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace softiommu
