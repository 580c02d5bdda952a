// SPDX-License-Identifier: BSD-3-Clause
// Calls of a supervised program on descriptors of our files, and on the addresses where their registers are mapped.
#pragma once

#include "launch/engine/descriptors.h"
#include "launch/supervise/tracee.h"

namespace softiommu::launch {

// The open file behind a descriptor of the program; empty if it is not ours.
Descriptors::Use handle_of(Tracee& thread, int descriptor);

// Opens one of our device files for the program: the new descriptor or a negative errno.
long open_device(Tracee& thread, const char* path, int flags);

// Hands a descriptor of ours over to the program: its number there or a negative errno.
long give_away(Tracee& thread, int descriptor, int flags);

// False: the call is not ours and is to be made as it is. True: it has been answered.
bool answer_handle_call(Tracee& thread, const SystemCall& call);

// Files whose last handle is closed are released now: an open, an ioctl or an end that follows a close must find them
// closed, as in a kernel. Other calls do not tell, and shall not look at every open file.
void release_closed();

}  // namespace softiommu::launch
