// SPDX-License-Identifier: BSD-3-Clause
// Files, links and folders below a root, and the parts of the view that are made of them.
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>

#include "base/result.h"
#include "core/system.h"

namespace softiommu::launch {

// Paths are relative to the root. The first failure is kept, later calls do nothing.
class Tree {
 public:
  explicit Tree(std::string root) : root_(std::move(root)) {}
  void folder(const std::string& path);
  void file(const std::string& path, std::string_view contents, mode_t mode = 0644);
  // A relative link at `path` to `target`, both named from the root.
  void link(const std::string& path, const std::string& target);
  Result<> result() const { return error_ == 0 ? Result<>{} : fail(error_, "the view cannot be written"); }

 private:
  std::string root_;
  int error_ = 0;
};

// Where a device's folder is: "sys/devices/pci0000:00/0000:00:1c.0/0000:01:00.0".
std::string device_folder(const MachineSpec& spec, const Bdf& bdf);

void add_pci(Tree& tree, System& system);
void add_iommus(Tree& tree, System& system);
void add_groups(Tree& tree, System& system);
void add_device_files(Tree& tree, System& system);  // for programs that use an iommufd

}  // namespace softiommu::launch
