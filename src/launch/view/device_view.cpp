// SPDX-License-Identifier: BSD-3-Clause
#include "launch/view/device_view.h"

namespace softiommu::launch {
namespace {

const ShownFunction* find(const DeviceView::Functions& functions, std::string_view bdf) {
  const auto at = functions.find(bdf);
  return at == functions.end() ? nullptr : &at->second;
}

// Calls `remove` for what is only in `before`, `add` for what is only in `now`.
template <typename Remove, typename Add>
void follow(std::set<unsigned>& before, std::set<unsigned> now, Remove&& remove, Add&& add) {
  for (const unsigned id : before) {
    if (!now.contains(id)) remove(id);
  }
  for (const unsigned id : now) {
    if (!before.contains(id)) add(id);
  }
  before = std::move(now);
}

}  // namespace

Result<> DeviceView::show(Functions now) {
  Tree tree(root_, texts_);
  for (const auto& [bdf, before] : shown_) take_away(tree, before, find(now, bdf));
  for (const auto& [bdf, function] : now) put(tree, find(shown_, bdf), function);
  shown_ = std::move(now);
  show_groups(tree);
  return tree.result();
}

std::vector<std::string> DeviceView::device_folders() const {
  std::vector<std::string> folders;
  for (const auto& [bdf, shown] : shown_) folders.push_back(device_folder(system_.machine().spec(), shown.function));
  return folders;
}

// Links that lead to a thing go before the thing.
void DeviceView::take_away(Tree& tree, const ShownFunction& before, const ShownFunction* now) {
  const PciControl::Function& old = before.function;
  const bool gone = now == nullptr;
  if (old.vfio_number && (gone || now->function.vfio_number != old.vfio_number)) remove_device_file(tree, system_, old);
  if (!old.driver.empty() && (gone || now->function.driver != old.driver)) remove_driver(tree, system_, old);
  if (gone) remove_function(tree, system_, old);
}

void DeviceView::put(Tree& tree, const ShownFunction* before, const ShownFunction& now) {
  const PciControl::Function& function = now.function;
  const bool fresh = before == nullptr;
  const PlacedBars& bars = places_.of(*function.hardware);
  if (fresh) {
    add_function(tree, system_, now, bars);
  } else {
    const PciControl::Function& old = before->function;
    if (old.driver != function.driver || old.virtfns != function.virtfns || old.num_vfs != function.num_vfs ||
        before->driver_override != now.driver_override || before->vf_autoprobe != now.vf_autoprobe)
      update_function(tree, system_, now, bars);
  }
  if (!function.driver.empty() && (fresh || before->function.driver != function.driver))
    add_driver(tree, system_, function);
  if (function.vfio_number && (fresh || before->function.vfio_number != function.vfio_number))
    add_device_file(tree, system_, function);
}

void DeviceView::show_groups(Tree& tree) {
  std::set<unsigned> groups, nodes;
  for (const auto& [bdf, shown] : shown_) {
    if (!shown.function.group) continue;
    groups.insert(*shown.function.group);
    if (shown.function.vfio_number) nodes.insert(*shown.function.group);
  }
  follow(
      groups_, std::move(groups), [&](unsigned id) { remove_group(tree, id); },
      [&](unsigned id) { add_group(tree, *system_.group(id)); });
  follow(
      group_nodes_, std::move(nodes), [&](unsigned id) { remove_group_node(tree, id); },
      [&](unsigned id) { add_group_node(tree, id); });
}

}  // namespace softiommu::launch
