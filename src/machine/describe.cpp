// SPDX-License-Identifier: BSD-3-Clause
// Everything is printed from the machine's own tables: models print their options, the topology its reasons.
#include "machine/describe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "machine/option_text.h"
#include "machine/topology.h"

namespace softiommu {
namespace {

std::string options_text(const Options& options) {
  std::vector<std::string> parts;
  for (const Option& option : options.table())
    parts.push_back(fmt::format("{} = {}", option.key, written(option, options)));
  return fmt::format("{}", fmt::join(parts, ", "));
}

class Page {
 public:
  explicit Page(const Machine& machine) : machine_(machine), spec_(machine.spec()), topology_(spec_) {}

  std::string print() {
    line("machine {}: memory below {}{}, {}, {}", spec_.name, size_text(spec_.memory.top),
         spec_.memory.fragmented ? " (fragmented)" : "",
         spec_.isolated_msi ? "isolated MSI" : "MSI not isolated (VFIO needs allow_unsafe_interrupts)",
         spec_.cache_coherent ? "cache-coherent DMA" : "DMA is not cache-coherent");
    iommus();
    devices();
    platform_devices();
    groups();
    return std::move(text_);
  }

 private:
  template <class... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    text_ += fmt::format(format, std::forward<Args>(args)...);
    text_ += '\n';
  }

  void iommus() {
    line("");
    line("IOMMUs{}", spec_.units.empty() ? ": none" : "");
    for (const UnitSpec& unit : spec_.units) {
      line("  {} {}", unit.name, unit.model);
      for (const Option& option : unit.options.table()) line("    {} = {}", option.key, written(option, unit.options));
    }
  }

  void devices() {
    line("");
    line("PCI{}", spec_.functions.empty() && spec_.bridges.empty() ? ": nothing" : "");
    std::set<std::uint16_t> segments;
    for (const BridgeSpec& bridge : spec_.bridges) segments.insert(bridge.bdf.segment);
    for (const FunctionSpec& function : spec_.functions) segments.insert(function.bdf.segment);
    for (const std::uint16_t segment : segments) bus(segment, 0, 2);
  }

  // What is on one bus, in order, each bridge followed by what is below it. Depth: a bus number grows at each step.
  void bus(std::uint16_t segment, std::uint8_t number, std::size_t indent) {
    std::vector<std::pair<Bdf, const BridgeSpec*>> here;
    for (const BridgeSpec& bridge : spec_.bridges)
      if (bridge.bdf.segment == segment && bridge.bdf.bus == number) here.emplace_back(bridge.bdf, &bridge);
    for (const FunctionSpec& function : spec_.functions)
      if (function.bdf.segment == segment && function.bdf.bus == number) here.emplace_back(function.bdf, nullptr);
    std::ranges::sort(here, {}, [](const auto& item) { return item.first; });
    for (const auto& [bdf, bridge] : here) {
      if (!bridge) {
        device(bdf, indent);
        continue;
      }
      const bool may_have_acs = bridge->kind != BridgeSpec::Kind::pcie_to_pci;
      line("{:{}}{} {} to bus {:02x}{}", "", indent, bdf.text(), kind_name(bridge->kind), bridge->secondary_bus,
           may_have_acs && !bridge->acs ? ", without ACS" : "");
      bus(segment, bridge->secondary_bus, indent + 2);
    }
  }

  void device(const Bdf& bdf, std::size_t indent) {
    const auto spec = std::ranges::find(spec_.functions, bdf, &FunctionSpec::bdf);
    const PciFunction* function = machine_.function(bdf);
    if (spec->physical) {
      line("{:{}}{} {}, virtual function {} of {}", "", indent, bdf.text(), spec->model, function->virtual_number(),
           spec->physical->text());
      return;
    }
    const std::string_view unit = topology_.unit_of(*spec);
    const std::string options = options_text(spec->options);
    line("{:{}}{} {} [{:04x}:{:04x}]{}{}, behind {}", "", indent, bdf.text(), spec->model, function->identity().vendor,
         function->identity().device, options.empty() ? "" : " ", options, unit.empty() ? "no IOMMU" : unit);
    const std::vector<StreamId> ids = topology_.stream_ids(*spec);
    if (ids.size() > 1) line("{:{}}  may arrive as {:04x}", "", indent, fmt::join(ids, ", "));
  }

  void platform_devices() {
    if (spec_.platform_devices.empty()) return;
    line("");
    line("Platform devices");
    for (const PlatformSpec& device : spec_.platform_devices) {
      const std::string_view unit = topology_.unit_of(device);
      line("  {} sends as {}, behind {}", device.name, fmt::join(device.streams, ", "),
           unit.empty() ? "no IOMMU" : unit);
    }
  }

  void groups() {
    line("");
    line("Isolation{}", machine_.isolation_sets().empty() ? ": nothing to isolate" : "");
    for (const IsolationSet& set : machine_.isolation_sets()) {
      std::vector<std::string> names;
      for (const PciFunction* function : set.functions) names.push_back(function->bdf().text());
      line("  {}: {}", fmt::join(names, " "), set.reason);
      if (names.size() > 1)
        line("    to use one of them, give all {} to the same program (bind each to vfio-pci)", names.size());
    }
  }

  const Machine& machine_;
  const MachineSpec& spec_;
  Topology topology_;
  std::string text_;
};

}  // namespace

std::string describe(const Machine& machine) { return Page(machine).print(); }

}  // namespace softiommu
