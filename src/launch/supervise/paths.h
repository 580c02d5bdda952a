// SPDX-License-Identifier: BSD-3-Clause
// Calls of a supervised program that name a file: our device files, and the view's place of /sys and /dev.
//
// The names are the shim's matter (shim/paths.cpp), asked for another process. What stat, access and links say of the
// view is found here and written into the program; what must be the program's own (a descriptor, its folder) it
// does itself, with the name replaced.
#pragma once

#include <sys/stat.h>

#include <optional>

#include "launch/supervise/tracee.h"

namespace softiommu::launch {

// False: the call has nothing of ours and is to be made as it is. True: it has been answered.
bool answer_path_call(Tracee& thread, const SystemCall& call);

// What stands behind one of the program's descriptors, for stat: as the call's result. nullopt: not a handle.
std::optional<long> describe_handle(Tracee& thread, int descriptor, struct stat& out);

}  // namespace softiommu::launch
