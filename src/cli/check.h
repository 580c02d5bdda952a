// SPDX-License-Identifier: BSD-3-Clause
// `softiommu check`: its options, and what is printed where.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "check/check.h"

namespace softiommu::cli {

struct CheckRequest {
  std::string driver, machine, shard = "1/1", format = "text", steps;
  std::vector<std::string> merge, plugins;
  unsigned jobs = 0;  // 0: as many as there are processors
  check::CheckOptions options;
};

void add_check_options(CLI::App& app, CheckRequest& request);

// 0: every law kept; 1: one was not; 2: a file or an option that is not valid.
int check(CheckRequest& request);

}  // namespace softiommu::cli
