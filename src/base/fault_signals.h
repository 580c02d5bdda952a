// SPDX-License-Identifier: BSD-3-Clause
// The signals of a thread's own faults. Blocked ones end the process, so no mask of ours has them: a register access is
// a fault, and so is a copy from memory that is gone.
#pragma once

#include <signal.h>

namespace softiommu {

inline constexpr int kFaultSignals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};

// For a thread that runs none of the program's handlers. SIGTRAP is a debugger's.
inline sigset_t all_but_faults() {
  sigset_t set;
  sigfillset(&set);
  for (const int fault : kFaultSignals) sigdelset(&set, fault);
  sigdelset(&set, SIGTRAP);
  return set;
}

}  // namespace softiommu
