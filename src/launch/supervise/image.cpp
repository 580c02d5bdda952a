// SPDX-License-Identifier: BSD-3-Clause
#include "launch/supervise/image.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>

#include "launch/shim/entry.h"

namespace softiommu::launch {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kPreload = "LD_PRELOAD=", kShim = "libsoftiommu-shim.so";

std::string read_proc(pid_t process, const char* name) {
  std::ifstream file("/proc/" + std::to_string(process) + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Where the program's environment begins: the 50th field of stat (proc(5)); the name before may hold spaces.
std::uint64_t environment_start(pid_t process) {
  constexpr int kStateField = 3, kEnvironmentStart = 50;
  const std::string text = read_proc(process, "stat");
  const std::size_t end = text.rfind(')');
  if (end == std::string::npos) return 0;
  std::istringstream fields(text.substr(end + 1));
  std::string field;
  for (int number = kStateField; number <= kEnvironmentStart; ++number) fields >> field;
  return std::strtoull(field.c_str(), nullptr, 10);
}

// The variable gets another name, in the new program's memory.
void drop_variable(pid_t process, std::size_t offset) {
  char other = '_';
  const std::uint64_t start = environment_start(process);
  const iovec here{&other, 1}, there{reinterpret_cast<void*>(start + offset), 1};
  if (start != 0) (void)::process_vm_writev(process, &here, 1, &there, 1, 0);
}

}  // namespace

bool is_entered_by_shim(pid_t process) {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/" + std::to_string(process) + "/exe", error);
  const std::string environment = read_proc(process, "environ");
  const std::string after = std::string(1, '\0') + std::string(kPreload);
  std::size_t at = environment.starts_with(kPreload) ? 0 : environment.find(after);
  if (at != 0 && at != std::string::npos) ++at;
  const std::string value = at == std::string::npos ? "" : environment.substr(at, environment.find('\0', at) - at);
  const bool preloaded = value.find(kShim) != std::string::npos;
  if (!shim::needs_of(AT_FDCWD, program.c_str()).supervisor) return preloaded;
  if (preloaded) drop_variable(process, at);
  return false;
}

bool is_traced_by_supervisor() {
  std::istringstream status(read_proc(::getpid(), "status"));
  for (std::string line; std::getline(status, line);) {
    constexpr std::string_view kTracer = "TracerPid:";
    if (!line.starts_with(kTracer)) continue;
    const auto tracer = static_cast<pid_t>(std::strtol(line.c_str() + kTracer.size(), nullptr, 10));
    std::error_code error;
    const fs::path program = fs::read_symlink("/proc/" + std::to_string(tracer) + "/exe", error);
    return tracer != 0 && !error && program.filename() == shim::kSupervisor;
  }
  return false;
}

}  // namespace softiommu::launch
