// SPDX-License-Identifier: BSD-3-Clause
#include "cli/lint.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include "cli/say.h"

namespace softiommu::cli {

int lint(char** argv) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string program = (self.parent_path() / "softiommu-lint").string();
  argv[1] = argv[0];
  ::execv(program.c_str(), argv + 1);
  const char* why = errno == ENOENT ? "this softiommu was built without it (SOFTIOMMU_LINT)" : std::strerror(errno);
  complain("cannot start " + program + ": " + why);
  return kInvalid;
}

}  // namespace softiommu::cli
