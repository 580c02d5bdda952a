// SPDX-License-Identifier: BSD-3-Clause
// `softiommu ctl`: the operator's hand on the devices of a run that goes on.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace softiommu::cli {

struct CtlRequest {
  std::string run;  // its folder, or a process of it; "": the only one of this user
  std::vector<std::string> words;
};

void add_ctl_options(CLI::App& ctl, CtlRequest& request);
// Exit status: 0, 1: the run refuses or there is none, 2: no such command.
int ctl(const CtlRequest& request);

}  // namespace softiommu::cli
