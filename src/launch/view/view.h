// SPDX-License-Identifier: BSD-3-Clause
// The generated /sys and /dev of a machine: a folder tree with the names, links and contents that programs read. What
// comes and goes with devices is DeviceView's.
#pragma once

#include <string>

#include "base/result.h"
#include "core/system.h"

namespace softiommu::launch {

struct ViewOptions {
  bool allow_unsafe_interrupts = false;
  bool fault_injection = false;
};

// Writes the tree below `root` (an existing empty folder). EIO and other errnos of the file system.
Result<> write_view(const std::string& root, System& system, const ViewOptions& options);

}  // namespace softiommu::launch
