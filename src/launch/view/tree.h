// SPDX-License-Identifier: BSD-3-Clause
// Files, links and folders below a root.
#pragma once

#include <sys/stat.h>

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace softiommu::launch {

// Paths are relative to the root. The first failure is kept, later calls do nothing.
class Tree {
 public:
  // What files of sysfs that take writes were last made to show, by path.
  using Shown = std::map<std::string, std::string, std::less<>>;

  explicit Tree(std::string root) : root_(std::move(root)) {}
  // Notes in `shown` what it writes.
  Tree(std::string root, Shown& shown) : root_(std::move(root)), shown_(&shown) {}
  void folder(const std::string& path);
  // Exactly these permissions. What is there is written in place: a program that has it open sees the new contents.
  void file(const std::string& path, std::string_view contents, mode_t mode = 0644);
  // A file of sysfs, marked as such (launch/control/control_abi.h).
  void attribute(const std::string& path, std::string_view contents, mode_t mode = 0444);
  // A relative link at `path` to `target`, both named from the root.
  void link(const std::string& path, const std::string& target);
  // With all that is below it; what is not there is removed already.
  void remove(const std::string& path);
  Result<> result() const { return error_ == 0 ? Result<>{} : fail(error_, "the view cannot be written"); }

 private:
  int open_for_writing(const std::string& path, mode_t mode);  // -1: errno

  std::string root_;
  Shown* shown_ = nullptr;
  int error_ = 0;
};

}  // namespace softiommu::launch
