// SPDX-License-Identifier: BSD-3-Clause
// `softiommu run`.
#pragma once

#include <string>
#include <vector>

#include "launch/run_options.h"

namespace softiommu::cli {

struct RunRequest {
  std::string machine_file;  // "": the built-in machine
  std::string view = "redirect";
  std::string trace_file;
  std::string rules = "contract";
  std::vector<std::string> fail;  // rules of fault injection
  launch::RunOptions options;
  std::vector<std::string> command;
};

// Our options, in the order that CLI11 wants them (last first); the program and what follows goes to `command`.
std::vector<std::string> split_command(int argc, char** argv, std::vector<std::string>& command);

// Runs the program and answers with its exit status.
int run(RunRequest& request);

}  // namespace softiommu::cli
