// SPDX-License-Identifier: BSD-3-Clause
#include "cli/remains.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "cli/run_folder.h"

namespace softiommu::cli {
namespace {

namespace fs = std::filesystem;

// Nobody waits for the end of a pipe that we hold; the standard descriptors lead nowhere.
void close_all_but(const std::set<int>& kept) {
  unsigned next = 0;
  for (const int fd : kept) {
    const auto number = static_cast<unsigned>(fd);
    if (number > next) ::close_range(next, number - 1, 0);
    next = number + 1;
  }
  ::close_range(next, ~0u, 0);
  for (int standard = 0; standard < 3; ++standard) ::open("/dev/null", O_RDWR);
}

}  // namespace

bool anyone_remains(const std::string& run_dir) {
  std::error_code error;
  for (fs::directory_iterator at("/proc", error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name[0] < '1' || name[0] > '9' || name == std::to_string(::getpid())) continue;
    if (variable_of(std::atoi(name.c_str()), kRunVariable) == run_dir) return true;
  }
  return false;
}

bool remove_later(const std::string& run_dir, launch::ControlServer& control) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid > 0;
  ::setsid();
  for (const int signal : {SIGINT, SIGQUIT, SIGHUP, SIGTERM}) ::signal(signal, SIG_IGN);
  close_all_but(control.descriptors());
  constexpr std::chrono::milliseconds kLongest(1000);
  for (std::chrono::milliseconds pause(10); anyone_remains(run_dir); pause = std::min(2 * pause, kLongest))
    control.serve_for(pause);
  std::error_code ignored;
  fs::remove_all(run_dir, ignored);
  std::_Exit(0);
}

}  // namespace softiommu::cli
