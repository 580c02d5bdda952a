// SPDX-License-Identifier: BSD-3-Clause
#include "cli/run_folder.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string_view>

#include <fmt/format.h>

#include "launch/control/channel.h"

namespace softiommu::cli {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kPrefix = "softiommu-";

std::string whole(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Who answers for the run: its launcher. 0: nobody.
pid_t launcher_of(const std::string& folder) {
  const auto socket = launch::connect_control(folder);
  if (!socket) return 0;
  ucred credentials{};
  socklen_t bytes = sizeof credentials;
  const int known = ::getsockopt(*socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes);
  ::close(*socket);
  return known == 0 ? credentials.pid : 0;
}

// In the order in which they are tried.
std::vector<std::string> run_folder_bases() {
  std::vector<std::string> bases;
  for (const char* variable : {"XDG_RUNTIME_DIR", "TMPDIR"}) {
    if (const char* base = std::getenv(variable); base != nullptr && base[0] == '/') bases.emplace_back(base);
  }
  bases.emplace_back("/dev/shm");  // memory: the view's few hundred files cost no disk
  bases.emplace_back("/tmp");
  return bases;
}

}  // namespace

RunFolder::RunFolder() {
  for (const std::string& base : run_folder_bases()) {
    if (path_.empty()) try_in(base);
  }
}

RunFolder::~RunFolder() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

void RunFolder::try_in(const std::string& base) {
  std::string name = fmt::format("{}/{}XXXXXX", base, kPrefix);
  if (::mkdtemp(name.data()) == nullptr) return;
  std::error_code error;
  const fs::path real = fs::canonical(name, error);
  path_ = error ? name : real.string();
}

std::vector<std::string> present_runs() {
  std::set<std::string> found;
  for (const std::string& base : run_folder_bases()) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(base, error)) {
      struct stat status{};
      const bool mine = ::stat(entry.path().c_str(), &status) == 0 && status.st_uid == ::geteuid();
      if (mine && entry.path().filename().string().starts_with(kPrefix) && launcher_of(entry.path()) != 0)
        found.insert(fs::canonical(entry.path(), error).string());
    }
  }
  return {found.begin(), found.end()};
}

std::string run_of(pid_t process) {
  const std::string own = variable_of(process, kRunVariable);
  if (!own.empty()) return own;
  const auto runs = present_runs();
  const auto launched = std::ranges::find(runs, process, launcher_of);
  return launched == runs.end() ? "" : *launched;
}

std::string variable_of(pid_t process, std::string_view name) {
  const std::string text = '\0' + whole(fs::path("/proc") / std::to_string(process) / "environ");
  const std::string key = '\0' + std::string(name) + "=";
  const std::size_t at = text.find(key);
  return at == std::string::npos ? "" : text.c_str() + at + key.size();
}

}  // namespace softiommu::cli
