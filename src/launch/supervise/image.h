// SPDX-License-Identifier: BSD-3-Clause
// What a supervised process has just executed.
#pragma once

#include <sys/types.h>

namespace softiommu::launch {

// Is the shim in the program that `process` is about to start? Where it cannot be, LD_PRELOAD is taken out of its
// environment, because another C library's dynamic linker would stumble over it.
bool is_entered_by_shim(pid_t process);

// Does the process have that tracer? For a program that is started within a supervised tree.
bool is_traced_by_supervisor();

}  // namespace softiommu::launch
