// SPDX-License-Identifier: BSD-3-Clause
// Where runs have their folders, and how one is found again.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace softiommu::cli {

// In the order in which they are tried.
std::vector<std::string> run_folder_bases();
// Template for mkdtemp below a base.
inline constexpr char kRunFolderName[] = "/softiommu-XXXXXX";

// Runs of this user that go on.
std::vector<std::string> present_runs();
// That of a process of a run, or of its launcher; "": it has none.
std::string run_of(pid_t process);

}  // namespace softiommu::cli
