// SPDX-License-Identifier: BSD-3-Clause
// The program's signal handlers, behind ours (DESIGN D13 d).
//
// Every handler that the program installs is recorded and replaced by one of ours. While its thread is inside the
// engine, a signal is sent again to the thread and left blocked: the kernel delivers it, with its own siginfo, when the
// thread leaves. SIGSEGV, SIGBUS, SIGILL and SIGFPE are always ours: BAR accesses and guarded copies
// first, then the program.
#pragma once

#include <signal.h>
#include <ucontext.h>

namespace softiommu::launch {

// Answers a fault: true if it was ours and the thread can go on. May change `info` to what the program shall see.
using FaultHandler = bool (*)(int signal, siginfo_t* info, ucontext_t* context);

// Takes over what the program has installed so far.
void take_signals(FaultHandler faults);
// As the system call: 0 or a negative errno.
long program_sigaction(int signal, const struct sigaction* action, struct sigaction* old);
// The thread leaves the engine: what was postponed is delivered.
void deliver_postponed();

}  // namespace softiommu::launch
