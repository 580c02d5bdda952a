// SPDX-License-Identifier: BSD-3-Clause
// A supervised thread's SIGSEGV that is an access to a mapped BAR: the instruction is emulated on its registers.
#pragma once

#include "launch/supervise/tracee.h"

namespace softiommu::launch {

// The thread has stopped before the delivery of SIGSEGV. The signal that it is to get: 0 if the access has been made.
int answer_fault(Tracee& thread);

}  // namespace softiommu::launch
