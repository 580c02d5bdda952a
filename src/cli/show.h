// SPDX-License-Identifier: BSD-3-Clause
// `softiommu show`, and bringing up a machine for the launcher.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/system.h"
#include "machine/machine.h"

namespace softiommu::cli {

struct BroughtUp {
  std::string text;  // of the machine file
  std::string name;
  std::unique_ptr<Machine> machine;
  std::unique_ptr<System> system;
};

// Says what is wrong on standard error and sets `status` (2: the file, 125: the machine cannot be built).
std::optional<BroughtUp> bring_up(const std::string& machine_file, Rules rules, int& status);

struct ShowRequest {
  std::string machine_file;
  std::string memory;  // a size: also what an address space of that size costs; "": not asked for
  Rules rules = Rules::contract;
};
int show(const ShowRequest& request);

}  // namespace softiommu::cli
