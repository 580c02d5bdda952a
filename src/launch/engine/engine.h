// SPDX-License-Identifier: BSD-3-Clause
// The engine's entry: once in a process, called by the shim after dlopen.
#pragma once

#include "base/result.h"
#include "launch/engine/world.h"
#include "launch/engine_abi.h"

namespace softiommu::launch {

// nullptr: the shim is of another version, or there is no memory.
const SoftiommuEngine* start_engine(const SoftiommuShim* shim);

// The run's machine; made at the first call.
Result<World*> the_world();

}  // namespace softiommu::launch
