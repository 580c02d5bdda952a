// SPDX-License-Identifier: BSD-3-Clause
// What a SIGSEGV, SIGBUS, SIGILL or SIGFPE means: an access to a mapped BAR, a guarded copy that hit a hole, or the
// program's own fault.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <cstdint>
#include <span>

#include "launch/trap/regions.h"

namespace softiommu::launch {

// True: the fault was ours and the thread goes on. False: it is the program's; `info` says what it shall see, which
// for a BAR whose memory decode is off is SIGBUS. Takes no lock and allocates nothing.
bool handle_fault(const TrapRegions& regions, int signal, siginfo_t* info, ucontext_t* context);

// Names the instruction `code` at `rip` on standard error as one that cannot be done on the device registers at
// `address`. For signal handlers, too.
void say_unknown(std::uintptr_t rip, std::uintptr_t address, std::span<const std::uint8_t> code);

}  // namespace softiommu::launch
