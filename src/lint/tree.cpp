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

bool read(const fs::path& path, std::string& text) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return false;
  std::ostringstream out;
  out << in.rdbuf();
  text = std::move(out).str();
  return !in.bad();
}

std::string_view folder(std::string_view path) { return path.substr(0, path.rfind('/') + 1); }

std::string version_of(std::string makefile) {
  makefile.insert(0, "\n");
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

// What was given instead of a tree, in words.
std::string not_a_tree(const fs::path& given) {
  std::error_code error;
  const std::string name = given.string();
  if (!fs::exists(given, error)) return name + ": there is no such folder";
  if (!fs::is_directory(given, error)) return name + " is a file; the folder of a Linux source tree is needed";
  const fs::path whole = fs::weakly_canonical(given, error);
  for (fs::path above = whole.parent_path(); above != above.root_path(); above = above.parent_path())
    if (fs::is_directory(above / "drivers/iommu", error))
      return name + " is a part of a source tree; give the tree itself: " + above.string();
  return name + ": no drivers/iommu: not a Linux source tree";
}

}  // namespace

bool Tree::load(const std::string& root, std::string& why) {
  const fs::path base(root);
  std::error_code error;
  if (!fs::is_directory(base / "drivers/iommu", error)) {
    why = not_a_tree(base);
    return false;
  }
  if (std::string makefile; read(base / "Makefile", makefile)) version_ = version_of(std::move(makefile));
  add_folder(root, "drivers/iommu", "");
  std::vector<std::string> architectures;
  for (fs::directory_iterator entry(base / "arch", error), end; !error && entry != end; entry.increment(error))
    if (entry->is_directory(error)) architectures.push_back(entry->path().filename());
  std::sort(architectures.begin(), architectures.end());
  for (const std::string& name : architectures) {
    add_folder(root, "arch/" + name + "/pci", "");
    add_folder(root, "arch/" + name + "/kernel", "iommu_domain_ops");
  }
  index();
  return true;
}

void Tree::add_unread(std::string path, std::string why) {
  SourceFile& file = files_.emplace_back();
  file.path = std::move(path);
  file.complaints.push_back({0, "cannot be read (" + std::move(why) + ")"});
}

void Tree::add_folder(const std::string& root, const std::string& below, std::string_view must_hold) {
  std::error_code error;
  std::vector<fs::path> paths;
  const fs::path top = fs::path(root) / below;
  if (!fs::is_directory(top, error)) return;
  for (fs::recursive_directory_iterator entry(top, error), end; !error && entry != end; entry.increment(error))
    if (entry->path().extension() == ".c" || entry->path().extension() == ".h") paths.push_back(entry->path());
  if (error) add_unread(below, error.message());
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) {
    std::string text, name = path.lexically_relative(root).generic_string();
    if (!fs::is_regular_file(path, error)) {
      add_unread(std::move(name), error ? error.message() : "not a file");
    } else if (!read(path, text)) {
      add_unread(std::move(name), "no permission");
    } else if (text.find(must_hold) != std::string::npos) {
      add(std::move(name), std::move(text));
    }
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
  macros_.clear();
  for (const SourceFile& file : files_) {
    for (const Macro& macro : file.macros) macros_.insert(macro.name);
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

bool matches(std::string_view pattern, std::string_view name) {
  std::size_t p = 0, n = 0, star = std::string_view::npos, retry = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      retry = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p, ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++retry;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace softiommu::lint
