// SPDX-License-Identifier: BSD-3-Clause
// Isolation follows four rules, each of which joins nodes (functions and bridges) of the tree:
//   1. a PCIe-to-PCI bridge replaces the requester id: it and all below it look alike to the IOMMU
//   2. a function that also sends with another function's number is joined with that function
//   3. a root or downstream port without ACS may turn requests around: it and all below it are together
//   4. functions of one multifunction device that lack ACS are together
// Upstream ports and endpoints owe ACS only as part of a multifunction device, so they appear in rule 4 alone.
#include "machine/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "hw/pci.h"

namespace softiommu {
namespace {

using Kind = BridgeSpec::Kind;

std::uint16_t devfn_id(std::uint8_t bus, std::uint8_t devfn) { return static_cast<std::uint16_t>(bus << 8 | devfn); }

// A function or a bridge, as the isolation rules see it.
struct Node {
  Bdf bdf;
  const BridgeSpec* bridge = nullptr;  // nullptr: a function
  std::size_t function = 0;            // its position, if it is one
  bool acs = true;
};

// Joins nodes into sets and keeps, for each set, the sentences that say why.
class Sets {
 public:
  explicit Sets(std::size_t size) : parent_(size), reasons_(size) { std::iota(parent_.begin(), parent_.end(), 0u); }

  std::size_t root(std::size_t node) const {
    while (parent_[node] != node) node = parent_[node];
    return node;
  }
  void join(std::size_t a, std::size_t b, const std::string& reason) {
    const std::size_t kept = root(a), gone = root(b);
    auto& reasons = reasons_[kept];
    if (kept != gone) {
      parent_[gone] = kept;
      reasons.insert(reasons.end(), reasons_[gone].begin(), reasons_[gone].end());
    }
    if (std::ranges::find(reasons, reason) == reasons.end()) reasons.push_back(reason);
  }
  const std::vector<std::string>& reasons(std::size_t node) const { return reasons_[root(node)]; }

 private:
  std::vector<std::size_t> parent_;
  std::vector<std::vector<std::string>> reasons_;
};

std::vector<Node> nodes_in_bus_order(const MachineSpec& spec) {
  std::vector<Node> nodes;
  for (const BridgeSpec& bridge : spec.bridges)
    nodes.push_back({bridge.bdf, &bridge, 0, bridge.kind != Kind::pcie_to_pci && bridge.acs});
  for (std::size_t i = 0; i < spec.functions.size(); ++i)
    nodes.push_back({spec.functions[i].bdf, nullptr, i, spec.functions[i].acs});
  std::ranges::sort(nodes, {}, &Node::bdf);
  return nodes;
}

// Rules 1 and 3: what a bridge does to everything below it.
std::string bridge_reason(const BridgeSpec& bridge) {
  if (bridge.kind == Kind::pcie_to_pci)
    return fmt::format("behind {}, a PCIe-to-PCI bridge: all requests from below it arrive as {}", bridge.bdf.text(),
                       Bdf{bridge.bdf.segment, bridge.secondary_bus, 0, 0}.text());
  return fmt::format("behind {}, a {} without ACS: devices below it can reach each other without passing the IOMMU",
                     bridge.bdf.text(), kind_name(bridge.kind));
}

bool joins_all_below(const BridgeSpec& bridge) {
  if (bridge.kind == Kind::pcie_to_pci) return true;
  return bridge.kind != Kind::switch_upstream && !bridge.acs;
}

bool same_device(const Bdf& a, const Bdf& b) {
  return a.segment == b.segment && a.bus == b.bus && a.device == b.device;
}

void join_by_bridges(const Topology& topology, const std::vector<Node>& nodes, Sets& sets) {
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    for (const BridgeSpec* bridge : topology.path(nodes[i].bdf)) {
      if (!joins_all_below(*bridge)) continue;
      const auto at = std::ranges::find(nodes, bridge, &Node::bridge);
      sets.join(static_cast<std::size_t>(at - nodes.begin()), i, bridge_reason(*bridge));
    }
  }
}

void join_by_aliases(const MachineSpec& spec, const std::vector<Node>& nodes, Sets& sets) {
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].bridge) continue;
    const Bdf& bdf = nodes[i].bdf;
    for (const std::uint8_t devfn : spec.functions[nodes[i].function].dma_alias_devfns) {
      const Bdf alias = bdf.with_devfn(devfn);
      const auto at = std::ranges::find(nodes, alias, &Node::bdf);
      if (at == nodes.end() || alias == bdf) continue;
      sets.join(
          i, static_cast<std::size_t>(at - nodes.begin()),
          fmt::format("{} also sends as {} (dma_aliases): the IOMMU cannot tell them apart", bdf.text(), alias.text()));
    }
  }
}

void join_by_missing_acs(const std::vector<Node>& nodes, Sets& sets) {
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    for (std::size_t j = i + 1; j < nodes.size() && same_device(nodes[i].bdf, nodes[j].bdf); ++j) {
      if (nodes[i].acs || nodes[j].acs) continue;
      const Bdf& bdf = nodes[i].bdf;
      sets.join(
          i, j,
          fmt::format("functions of {:04x}:{:02x}:{:02x}, a multifunction device without ACS: they can reach each "
                      "other without passing the IOMMU",
                      bdf.segment, bdf.bus, bdf.device));
    }
  }
}

std::string joined(const std::vector<std::string>& reasons) {
  std::string text;
  for (const std::string& reason : reasons) text += (text.empty() ? "" : "; ") + reason;
  return text.empty() ? "alone" : text;
}

}  // namespace

std::string_view kind_name(BridgeSpec::Kind kind) {
  switch (kind) {
    case Kind::root_port:
      return "root port";
    case Kind::switch_upstream:
      return "switch upstream port";
    case Kind::switch_downstream:
      return "switch downstream port";
    case Kind::pcie_to_pci:
      return "PCIe-to-PCI bridge";
  }
  return "bridge";
}

std::vector<FunctionSpec> virtual_functions_of(const FunctionSpec& physical) {
  std::vector<FunctionSpec> functions;
  for (unsigned number = 0; number < physical.vfs; ++number) {
    namespace io = hw::pci::sriov;
    const unsigned id = physical.bdf.requester_id() + io::kFirstOffset + number * io::kFunctionStride;
    FunctionSpec function = physical;
    function.bdf = physical.bdf.with_devfn(static_cast<std::uint8_t>(id));
    function.dma_alias_devfns.clear();
    function.acs = true;
    function.rom.clear();
    function.services.pasid_bits = 0;
    function.vfs = 0;
    function.physical = physical.bdf;
    functions.push_back(std::move(function));
  }
  return functions;
}

const BridgeSpec* Topology::bridge_above(const Bdf& bdf) const {
  if (bdf.bus == 0) return nullptr;
  for (const BridgeSpec& bridge : spec_.bridges)
    if (bridge.bdf.segment == bdf.segment && bridge.secondary_bus == bdf.bus && bridge.bdf.bus < bdf.bus)
      return &bridge;
  return nullptr;
}

// Ends, because a bridge's bus is below the bus that it makes.
std::vector<const BridgeSpec*> Topology::path(const Bdf& bdf) const {
  std::vector<const BridgeSpec*> bridges;
  for (const BridgeSpec* bridge = bridge_above(bdf); bridge; bridge = bridge_above(bridge->bdf))
    bridges.push_back(bridge);
  return bridges;
}

std::uint8_t Topology::subordinate_bus(const BridgeSpec& bridge) const {
  std::uint8_t highest = bridge.secondary_bus;
  for (const BridgeSpec& other : spec_.bridges)
    if (const auto above = path(other.bdf); std::ranges::find(above, &bridge) != above.end())
      highest = std::max(highest, other.secondary_bus);
  return highest;
}

// Virtual functions are found through their physical one, never by looking for more functions of a device.
bool Topology::multifunction(const Bdf& bdf) const {
  const auto here = [&](const auto& item) { return same_device(item.bdf, bdf); };
  const auto found = [&](const FunctionSpec& function) { return !function.physical && here(function); };
  return std::ranges::count_if(spec_.functions, found) + std::ranges::count_if(spec_.bridges, here) > 1;
}

std::string_view Topology::unit_of(const Bdf& bdf, const std::string& chosen) const {
  const std::string* name = &chosen;
  for (const BridgeSpec* bridge : path(bdf)) {
    if (!name->empty()) break;
    name = &bridge->unit;
  }
  return chosen_unit(*name);
}

std::string_view Topology::chosen_unit(const std::string& name) const {
  if (name == "none") return {};
  if (!name.empty()) return name;
  return spec_.units.empty() ? std::string_view{} : std::string_view{spec_.units.front().name};
}

std::vector<StreamId> Topology::stream_ids(const FunctionSpec& function) const {
  std::vector<StreamId> ids{function.bdf.requester_id()};
  const auto add = [&](StreamId id) {
    if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
  };
  for (const std::uint8_t devfn : function.dma_alias_devfns) add(devfn_id(function.bdf.bus, devfn));
  for (const BridgeSpec* bridge : path(function.bdf))
    if (bridge->kind == Kind::pcie_to_pci) add(devfn_id(bridge->secondary_bus, 0));
  return ids;
}

StreamId Topology::requester(const FunctionSpec& function) const {
  StreamId id = function.bdf.requester_id();
  for (const BridgeSpec* bridge : path(function.bdf))
    if (bridge->kind == Kind::pcie_to_pci) id = devfn_id(bridge->secondary_bus, 0);
  return id;
}

std::vector<IsolationGroup> Topology::isolation_groups() const {
  const std::vector<Node> nodes = nodes_in_bus_order(spec_);
  Sets sets(nodes.size());
  join_by_bridges(*this, nodes, sets);
  join_by_aliases(spec_, nodes, sets);
  join_by_missing_acs(nodes, sets);

  std::vector<IsolationGroup> groups;
  std::vector<std::size_t> roots;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].bridge) continue;
    const auto known = std::ranges::find(roots, sets.root(i));
    const auto at = static_cast<std::size_t>(known - roots.begin());
    if (known == roots.end()) {
      roots.push_back(sets.root(i));
      groups.push_back({{}, {}, joined(sets.reasons(i))});
    }
    groups[at].functions.push_back(nodes[i].function);
  }
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const auto known = std::ranges::find(roots, sets.root(i));
    if (nodes[i].bridge && known != roots.end())
      groups[static_cast<std::size_t>(known - roots.begin())].bridges.push_back(nodes[i].bdf);
  }
  return groups;
}

}  // namespace softiommu
