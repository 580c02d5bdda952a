// SPDX-License-Identifier: BSD-3-Clause
#include "machine/spec_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <vector>

#include "hw/pci.h"
#include "machine/option_text.h"
#include "machine/topology.h"

namespace softiommu {
namespace {

using Section = Complaint::Section;
using BridgeKind = BridgeSpec::Kind;
using Fault = std::optional<Complaint>;

// Keys say buses in decimal, addresses in hexadecimal.
std::string bus_text(unsigned bus) {
  return bus < 10 ? fmt::format("{}", bus) : fmt::format("{} (0x{:02x})", bus, bus);
}

class Checker {
 public:
  explicit Checker(const MachineSpec& spec) : spec_(spec) {}

  Fault run() {
    if (spec_.memory.table_arena >= spec_.memory.top)
      return Complaint{Section::memory, 0, "table_arena",
                       fmt::format("table_arena must be smaller than top ({})", size_text(spec_.memory.top))};
    if (spec_.memory.pages_first() >= align_down(spec_.memory.top, kGiB))
      return Complaint{Section::memory, 0, "table_arena",
                       fmt::format("table_arena leaves no whole GiB below top ({}) for the pages of programs",
                                   size_text(spec_.memory.top))};
    if (Fault fault = each(spec_.units, &Checker::iommu)) return fault;
    if (Fault fault = each(spec_.bridges, &Checker::bridge)) return fault;
    if (Fault fault = each(spec_.bridges, &Checker::bridge_place)) return fault;
    if (Fault fault = each(spec_.bridges, &Checker::bus_range)) return fault;
    if (Fault fault = each(spec_.functions, &Checker::device)) return fault;
    if (Fault fault = each(spec_.functions, &Checker::function_zero)) return fault;
    if (Fault fault = each(spec_.functions, &Checker::virtual_functions)) return fault;
    if (Fault fault = each(spec_.platform_devices, &Checker::platform_device)) return fault;
    return isolation();
  }

 private:
  template <class Item>
  Fault each(const std::vector<Item>& items, Fault (Checker::*rule)(const Item&, std::size_t)) {
    for (std::size_t i = 0; i < items.size(); ++i)
      if (Fault fault = (this->*rule)(items[i], i)) return fault;
    return std::nullopt;
  }

  static bool is_name(const std::string& name) {
    const auto allowed = [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-' || c == '.'; };
    return !name.empty() && std::ranges::all_of(name, allowed);
  }

  Fault iommu(const UnitSpec& unit, std::size_t index) {
    std::string what;
    if (unit.name == "none")
      what = "an IOMMU cannot be called \"none\": that means no IOMMU at all";
    else if (!is_name(unit.name))
      what = fmt::format("\"{}\" is no name for an IOMMU: use letters, digits, '-', '_' and '.'", unit.name);
    else if (!unit_names_.insert(unit.name).second)
      what = fmt::format("there is an IOMMU \"{}\" already: names are unique", unit.name);
    if (what.empty()) return std::nullopt;
    return Complaint{Section::iommu, index, "name", std::move(what)};
  }

  // Rules about one bridge alone; sets of buses and addresses grow on the way.
  Fault bridge(const BridgeSpec& bridge, std::size_t index) {
    if (Fault fault = address_taken(bridge.bdf, Section::bridge, index)) return fault;
    if (Fault fault = unit_known(bridge.unit, Section::bridge, index)) return fault;
    const auto complain = [&](std::string what) { return Complaint{Section::bridge, index, "bus", std::move(what)}; };
    if (bridge.secondary_bus <= bridge.bdf.bus)
      return complain(fmt::format(
          "bus {} is not above the bridge's own bus {}: buses are numbered downwards from the root, so use {} to 255",
          bus_text(bridge.secondary_bus), bus_text(bridge.bdf.bus), bridge.bdf.bus + 1));
    if (const auto [at, fresh] = bus_maker_.try_emplace({bridge.bdf.segment, bridge.secondary_bus}, bridge.bdf); !fresh)
      return complain(fmt::format("bus {} is made by {} already: each bridge makes a bus of its own",
                                  bus_text(bridge.secondary_bus), at->second.text()));
    return std::nullopt;
  }

  Fault bridge_place(const BridgeSpec& bridge, std::size_t index) {
    if (Fault fault = bus_exists(bridge.bdf, Section::bridge, index)) return fault;
    const BridgeSpec* above = topology_.bridge_above(bridge.bdf);
    const auto complain = [&](std::string_view right) {
      return Complaint{Section::bridge, index, "kind",
                       fmt::format("a {} cannot be at {}, which is {}: {}", kind_name(bridge.kind), bridge.bdf.text(),
                                   above ? fmt::format("below {}, a {}", above->bdf.text(), kind_name(above->kind))
                                         : "on a root bus",
                                   right)};
    };
    const bool below_link =
        above && (above->kind == BridgeKind::root_port || above->kind == BridgeKind::switch_downstream);
    const bool below_upstream = above && above->kind == BridgeKind::switch_upstream;
    switch (bridge.kind) {
      case BridgeKind::root_port:
        if (above) return complain("root ports are on bus 00");
        break;
      case BridgeKind::switch_upstream:
        if (!below_link) return complain("a switch hangs below a root port or another switch's downstream port");
        break;
      case BridgeKind::switch_downstream:
        if (!below_upstream) return complain("downstream ports are on the bus of their switch's upstream port");
        break;
      case BridgeKind::pcie_to_pci:
        if (above && !below_link) return complain("it goes on a root bus or below a root port or downstream port");
        break;
    }
    if (below_upstream && bridge.kind != BridgeKind::switch_downstream)
      return complain("only downstream ports are on the bus inside a switch");
    return link_has_one_device(bridge.bdf, Section::bridge, index);
  }

  // A bridge forwards a range of buses, its own and all below it; nobody else's bus may lie in between.
  Fault bus_range(const BridgeSpec& bridge, std::size_t index) {
    const unsigned last = topology_.subordinate_bus(bridge);
    for (const BridgeSpec& other : spec_.bridges) {
      if (other.bdf.segment != bridge.bdf.segment || &other == &bridge) continue;
      const auto above = topology_.path(other.bdf);
      if (std::ranges::find(above, &bridge) != above.end()) continue;
      if (other.secondary_bus < bridge.secondary_bus || other.secondary_bus > last) continue;
      return Complaint{
          Section::bridge, index, "bus",
          fmt::format("{} forwards buses {} to {}, but bus {} in between is made by {}, which is not below it: number "
                      "the buses below a bridge without gaps",
                      bridge.bdf.text(), bus_text(bridge.secondary_bus), bus_text(last), bus_text(other.secondary_bus),
                      other.bdf.text())};
    }
    return std::nullopt;
  }

  Fault device(const FunctionSpec& device, std::size_t index) {
    if (Fault fault = address_taken(device.bdf, Section::device, index)) return fault;
    if (Fault fault = bus_exists(device.bdf, Section::device, index)) return fault;
    if (Fault fault = unit_known(device.unit, Section::device, index)) return fault;
    if (const BridgeSpec* above = topology_.bridge_above(device.bdf);
        above && above->kind == BridgeKind::switch_upstream)
      return Complaint{
          Section::device, index, "address",
          fmt::format(
              "bus {} is inside the switch at {}: only its downstream ports are there; put the device below one",
              bus_text(device.bdf.bus), above->bdf.text())};
    if (Fault fault = link_has_one_device(device.bdf, Section::device, index)) return fault;
    return one_segment(device, index);
  }

  Fault virtual_functions(const FunctionSpec& device, std::size_t index) {
    if (device.vfs == 0) return std::nullopt;
    const auto complain = [&](std::string what) { return Complaint{Section::device, index, "vfs", std::move(what)}; };
    for (const BridgeSpec* bridge : topology_.path(device.bdf))
      if (bridge->kind == BridgeKind::pcie_to_pci)
        return complain(fmt::format("below {}, a {}, is conventional PCI: there are no virtual functions there",
                                    bridge->bdf.text(), kind_name(bridge->kind)));
    const unsigned devices = hw::pci::sriov::kFirstOffset >> 3;
    if (device.bdf.device >= devices)
      return complain(fmt::format("device {:02x}: virtual functions follow 0x{:02x} ids behind, so use 00 to {:02x}",
                                  device.bdf.device, hw::pci::sriov::kFirstOffset, devices - 1));
    Bdf before = device.bdf;
    for (const FunctionSpec& function : virtual_functions_of(device)) {
      if (function.bdf < before) return complain("the last virtual function would be beyond the bus: use fewer");
      before = function.bdf;
      if (!places_.insert(function.bdf).second)
        return complain(
            fmt::format("something is at {} already, where a virtual function would be: move it, or use "
                        "fewer",
                        function.bdf.text()));
    }
    return std::nullopt;
  }

  Fault function_zero(const FunctionSpec& device, std::size_t index) {
    Bdf zero = device.bdf;
    zero.function = 0;
    if (places_.contains(zero)) return std::nullopt;
    return Complaint{Section::device, index, "address",
                     fmt::format("{} has no function 0: software that looks for devices never finds the others; add {}",
                                 device.bdf.text(), zero.text())};
  }

  Fault platform_device(const PlatformSpec& device, std::size_t index) {
    const auto complain = [&](std::string_view key, std::string what) {
      return Complaint{Section::platform, index, key, std::move(what)};
    };
    if (!is_name(device.name))
      return complain("name", fmt::format("\"{}\" is no name for a platform device: use letters, digits, '-', '_' and "
                                          "'.', as in \"ff900000.vop\"",
                                          device.name));
    if (!platform_names_.insert(device.name).second)
      return complain("name", fmt::format("there is a platform device \"{}\" already: names are unique", device.name));
    if (device.streams.empty()) return complain("streams", "streams needs at least one id: that of its only port");
    if (Fault fault = unit_known(device.unit, Section::platform, index)) return fault;
    for (const FunctionSpec& function : spec_.functions) {
      if (topology_.unit_of(function).empty() || topology_.unit_of(function) != topology_.unit_of(device)) continue;
      for (const StreamId id : topology_.stream_ids(function))
        if (std::ranges::find(device.streams, id) != device.streams.end())
          return complain("streams",
                          fmt::format("id {} is that of {} behind the same IOMMU: they could not be told apart", id,
                                      function.bdf.text()));
    }
    return std::nullopt;
  }

  // A group never mixes IOMMU drivers, and a device without an IOMMU would open a way around one.
  Fault isolation() {
    for (const IsolationGroup& group : topology_.isolation_groups()) {
      const FunctionSpec& first = spec_.functions[group.functions.front()];
      const std::string_view wanted = topology_.unit_of(first);
      for (const std::size_t position : group.functions) {
        const std::string_view has = topology_.unit_of(spec_.functions[position]);
        if (model_of(has) == model_of(wanted)) continue;
        return Complaint{
            Section::device, position, "iommu",
            fmt::format(
                "{} is behind {}, but shares an isolation set with {}, which is behind {}; one set needs one kind of "
                "IOMMU ({})",
                spec_.functions[position].bdf.text(), named(has), first.bdf.text(), named(wanted), group.reason)};
      }
    }
    return std::nullopt;
  }

  std::string named(std::string_view unit) const {
    return unit.empty() ? "no IOMMU" : fmt::format("\"{}\" ({})", unit, model_of(unit));
  }
  std::string_view model_of(std::string_view unit) const {
    const auto at = std::ranges::find(spec_.units, unit, &UnitSpec::name);
    return at == spec_.units.end() ? std::string_view{} : std::string_view{at->model};
  }

  Fault address_taken(const Bdf& bdf, Section section, std::size_t index) {
    if (places_.insert(bdf).second) return std::nullopt;
    return Complaint{section, index, "address",
                     fmt::format("something is at {} already: addresses are unique", bdf.text())};
  }

  Fault bus_exists(const Bdf& bdf, Section section, std::size_t index) const {
    if (bdf.bus == 0 || bus_maker_.contains({bdf.segment, bdf.bus})) return std::nullopt;
    return Complaint{
        section, index, "address",
        fmt::format("{} is on bus {}, which no bridge makes: add a [[bridge]] with bus = {}, or use bus 00", bdf.text(),
                    bus_text(bdf.bus), bdf.bus)};
  }

  Fault link_has_one_device(const Bdf& bdf, Section section, std::size_t index) const {
    const BridgeSpec* above = topology_.bridge_above(bdf);
    if (!above || bdf.device == 0 || above->kind == BridgeKind::pcie_to_pci ||
        above->kind == BridgeKind::switch_upstream)
      return std::nullopt;
    return Complaint{section, index, "address",
                     fmt::format("below {}, a {}, is a PCI Express link with one device: its number is 00, not {:02x}",
                                 above->bdf.text(), kind_name(above->kind), bdf.device)};
  }

  Fault unit_known(const std::string& name, Section section, std::size_t index) const {
    if (name.empty() || name == "none" || unit_names_.contains(name)) return std::nullopt;
    std::vector<std::string_view> known(unit_names_.begin(), unit_names_.end());
    known.push_back("none");
    return Complaint{section, index, "iommu", fmt::format("there is no IOMMU \"{}\"{}", name, suggestion(name, known))};
  }

  // Requester ids are unique only within a segment, so an IOMMU serves one.
  Fault one_segment(const FunctionSpec& device, std::size_t index) {
    const std::string unit{topology_.unit_of(device)};
    if (unit.empty()) return std::nullopt;
    const auto [at, fresh] = segment_of_.try_emplace(unit, device.bdf.segment);
    if (at->second == device.bdf.segment) return std::nullopt;
    return Complaint{
        Section::device, index, "address",
        fmt::format("{} is behind \"{}\", which serves segment {:04x}: give each segment an IOMMU of its own",
                    device.bdf.text(), unit, at->second)};
  }

  const MachineSpec& spec_;
  Topology topology_{spec_};
  std::set<std::string> unit_names_, platform_names_;
  std::set<Bdf> places_;
  std::map<std::pair<unsigned, unsigned>, Bdf> bus_maker_;  // segment and bus
  std::map<std::string, unsigned> segment_of_;
};

}  // namespace

std::optional<Complaint> first_fault(const MachineSpec& spec) { return Checker(spec).run(); }

}  // namespace softiommu
