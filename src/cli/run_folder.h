// SPDX-License-Identifier: BSD-3-Clause
// Where runs have their folders, and how one is found again.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace softiommu::cli {

// One run's folder: private, gone with the last process of the run.
class RunFolder {
 public:
  RunFolder();  // path() is empty: none could be made
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  const std::string& path() const { return path_; }
  void leave() { path_.clear(); }  // someone else removes it

 private:
  void try_in(const std::string& base);
  std::string path_;
};

// Runs of this user that go on.
std::vector<std::string> present_runs();
// That of a process of a run, or of its launcher; "": it has none.
std::string run_of(pid_t process);

// Processes of a run have its folder in this one.
inline constexpr char kRunVariable[] = "SOFTIOMMU_RUN";
// The value of a variable in a process's environment; "": it is not there.
std::string variable_of(pid_t process, std::string_view name);

}  // namespace softiommu::cli
