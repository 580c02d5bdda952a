// SPDX-License-Identifier: BSD-3-Clause
// The engine's entry: once in a process, called by the shim after dlopen.
#pragma once

#include "launch/engine_abi.h"

namespace softiommu::launch {

// nullptr: the shim is of another version, or there is no memory.
const SoftiommuEngine* start_engine(const SoftiommuShim* shim);

}  // namespace softiommu::launch
