// SPDX-License-Identifier: BSD-3-Clause
// The view put over the real /sys and /dev in a mount namespace of the calling process (`--view namespace`).
#pragma once

#include <string>

#include "base/result.h"

namespace softiommu::launch {

// EPERM and others: namespaces or mounts are not allowed here. On failure the process is of no further use.
Result<> enter_namespace(const std::string& view);

}  // namespace softiommu::launch
