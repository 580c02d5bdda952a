// SPDX-License-Identifier: BSD-3-Clause
// The part of the view that follows the bus: folders of functions and groups, links to drivers, device nodes.
#pragma once

#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "launch/view/parts.h"

namespace softiommu::launch {

class DeviceView {
 public:
  // Below `root`, where write_view() has been. What files show is noted in `texts`.
  DeviceView(std::string root, System& system, Tree::Shown& texts)
      : root_(std::move(root)), system_(system), texts_(texts) {}

  using Functions = std::map<std::string, ShownFunction, std::less<>>;  // by their addresses
  // Makes the view show these functions and nothing else: only what differs is touched. Errno of the file system.
  Result<> show(Functions now);
  std::vector<std::string> device_folders() const;  // below the root

 private:
  void take_away(Tree& tree, const ShownFunction& before, const ShownFunction* now);
  void put(Tree& tree, const ShownFunction* before, const ShownFunction& now);
  void show_groups(Tree& tree);

  std::string root_;
  System& system_;
  Tree::Shown& texts_;
  BarPlaces places_;
  Functions shown_;
  std::set<unsigned> groups_, group_nodes_;
};

}  // namespace softiommu::launch
