// SPDX-License-Identifier: BSD-3-Clause
// A Linux source tree: the files that can take part in an attach, and who calls whom between them.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lint/ast.h"

namespace softiommu::lint {

class Tree {
 public:
  // Reads drivers/iommu, the architectures' PCI folders and every arch file with IOMMU domain operations.
  // False when `root` holds no drivers/iommu (message in `why`).
  bool load(const std::string& root, std::string& why);
  // For tests and samples: one file given as text.
  void add(std::string path, std::string text);
  void index();
  bool knows_macro(std::string_view name) const { return macros_.contains(name); }

  // The definition that a call by name in `from` means: same file, same folder, then anywhere.
  const Function* resolve(std::string_view name, const SourceFile* from) const;
  // The functions that a call through `->field` can reach from `from`: those of its folder.
  std::vector<const Function*> resolve_field(std::string_view field, const SourceFile* from) const;
  std::vector<const OpsEntry*> entries(std::string_view field) const;
  // The variable that takes the place of `holder` in an ops pointer, or `holder`.
  const std::deque<SourceFile>& files() const { return files_; }
  const std::string& version() const { return version_; }

 private:
  void add_folder(const std::string& root, const std::string& folder, std::string_view must_hold);
  void add_unread(std::string path, std::string why);

  std::deque<SourceFile> files_;
  std::unordered_map<std::string_view, std::vector<const Function*>> by_name_;
  std::unordered_map<std::string_view, std::vector<const OpsEntry*>> by_field_;
  std::unordered_set<std::string_view> macros_;
  std::string version_ = "unknown";
};

// "drivers/iommu/arm/arm-smmu-v3/x.c" is "arm-smmu-v3".
std::string driver_of(std::string_view path);
// Does `name` match a shell pattern of * and ?.
bool matches(std::string_view pattern, std::string_view name);

}  // namespace softiommu::lint
