// SPDX-License-Identifier: BSD-3-Clause
// Threads of the engine's own: the program's signals are not for them, and nothing they call is redirected.
#pragma once

#include <pthread.h>

#include "launch/engine/shim_services.h"

namespace softiommu::launch {

// Faults of a guarded copy are the engine's thread's; every other signal goes to the program's.
bool start_engine_thread(pthread_t& thread, void* (*run)(void*), void* argument);

}  // namespace softiommu::launch
