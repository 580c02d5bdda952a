// SPDX-License-Identifier: BSD-3-Clause
#include "lint/tree.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace softiommu::lint {
namespace {

namespace fs = std::filesystem;

std::string contents(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return std::move(out).str();
}

std::string_view folder(std::string_view path) { return path.substr(0, path.rfind('/') + 1); }

std::string version_of(const std::string& makefile) {
  std::string version;
  for (const char* key : {"\nVERSION = ", "\nPATCHLEVEL = ", "\nSUBLEVEL = "}) {
    const std::size_t at = makefile.find(key);
    if (at == std::string::npos) return "unknown";
    const std::size_t begin = at + std::string_view(key).size();
    if (!version.empty()) version += '.';
    version += makefile.substr(begin, makefile.find('\n', begin) - begin);
  }
  return version;
}

std::size_t body_lines(const Function& function) { return function.last_line - function.line; }

}  // namespace

bool Tree::load(const std::string& root, std::string& why) {
  const fs::path base(root);
  std::error_code error;
  if (!fs::is_directory(base / "drivers/iommu", error)) {
    why = root + ": no drivers/iommu: not a Linux source tree";
    return false;
  }
  version_ = version_of(contents(base / "Makefile"));
  add_folder(root, "drivers/iommu", "");
  std::vector<std::string> architectures;
  for (const auto& entry : fs::directory_iterator(base / "arch", error))
    if (entry.is_directory()) architectures.push_back(entry.path().filename());
  std::sort(architectures.begin(), architectures.end());
  for (const std::string& name : architectures) {
    add_folder(root, "arch/" + name + "/pci", "");
    add_folder(root, "arch/" + name + "/kernel", "iommu_domain_ops");
  }
  index();
  return true;
}

void Tree::add_folder(const std::string& root, const std::string& below, std::string_view must_hold) {
  std::error_code error;
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(root) / below, error))
    if (entry.is_regular_file() && (entry.path().extension() == ".c" || entry.path().extension() == ".h"))
      paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) {
    std::string text = contents(path);
    if (text.find(must_hold) == std::string::npos) continue;
    add(fs::relative(path, root).generic_string(), std::move(text));
  }
}

void Tree::add(std::string path, std::string text) {
  SourceFile& file = files_.emplace_back();
  file.path = std::move(path);
  file.text = std::move(text);
  parse(file);
}

void Tree::index() {
  by_name_.clear();
  by_field_.clear();
  for (const SourceFile& file : files_) {
    for (const Function& function : file.functions) by_name_[function.name].push_back(&function);
    for (const OpsEntry& entry : file.ops) by_field_[entry.field].push_back(&entry);
  }
}

const Function* Tree::resolve(std::string_view name, const SourceFile* from) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return nullptr;
  const Function* best = nullptr;
  int best_rank = -1;
  for (const Function* candidate : found->second) {
    int rank = 0;
    if (candidate->file == from)
      rank = 4;
    else if (folder(candidate->file->path) == folder(from->path))
      rank = candidate->is_static ? 1 : 3;
    else if (!candidate->is_static)
      rank = 2;
    if (candidate->is_static && candidate->file != from && candidate->file->path.ends_with(".c")) continue;
    // Two definitions of one name are a real one and an empty one for a kernel without the feature.
    if (rank > best_rank || (rank == best_rank && body_lines(*candidate) > body_lines(*best))) {
      best = candidate;
      best_rank = rank;
    }
  }
  // An empty one in a header never hides the real function of another file.
  if (best != nullptr && best->file->path.ends_with(".h"))
    for (const Function* candidate : found->second)
      if (!candidate->is_static && candidate->file->path.ends_with(".c")) return candidate;
  return best;
}

std::vector<const Function*> Tree::resolve_field(std::string_view field, const SourceFile* from) const {
  std::vector<const Function*> out;
  for (const OpsEntry* entry : entries(field)) {
    if (folder(entry->file->path) != folder(from->path)) continue;
    if (folder(from->path) == "drivers/iommu/" && entry->file != from) continue;
    const Function* function = resolve(entry->function, entry->file);
    if (function != nullptr && std::find(out.begin(), out.end(), function) == out.end()) out.push_back(function);
  }
  return out;
}

std::vector<const OpsEntry*> Tree::entries(std::string_view field) const {
  const auto found = by_field_.find(field);
  return found == by_field_.end() ? std::vector<const OpsEntry*>{} : found->second;
}

std::string driver_of(std::string_view path) {
  constexpr std::string_view kHome = "drivers/iommu/";
  if (path.starts_with("arch/")) return std::string(path.substr(5, path.find('/', 5) - 5));
  if (!path.starts_with(kHome)) return std::string(path);
  path.remove_prefix(kHome.size());
  const std::string_view file = path.substr(path.rfind('/') + 1);
  if (file.starts_with("qcom_iommu")) return "qcom";
  if (path.starts_with("arm/arm-smmu-v3/")) return "arm-smmu-v3";
  if (path.starts_with("arm/arm-smmu/")) return "arm-smmu";
  if (const std::size_t slash = path.find('/'); slash != std::string_view::npos)
    return std::string(path.substr(0, slash));
  std::string stem(file.substr(0, file.find('.')));
  if (stem.starts_with("iommu")) return "core";
  for (std::string_view piece : {"-iommu", "_iommu", "_domain"})
    if (const std::size_t at = stem.find(piece); at != std::string::npos) stem.erase(at, piece.size());
  return stem;
}

}  // namespace softiommu::lint
