// SPDX-License-Identifier: BSD-3-Clause
// A copy that answers "the memory is not there" instead of crashing: for device DMA and for program addresses.
//
// The copy is one short routine of its own that keeps nothing on the stack. A SIGSEGV or SIGBUS handler that
// finds the program counter inside it moves the thread to the routine's failure exit: no state per thread, no set-up
// per copy, and use from within any signal handler is safe. Sanitizers do not look into it, which is right for DMA:
// a device's access is not an access of the C++ program.
// Other architectures than x86-64 copy without a guard: there a fault stays a crash, and recover() says false.
#pragma once

#include <ucontext.h>

#include <cstddef>

namespace softiommu {

// Copies `bytes`; false: a page fault ended it, part may be copied. The ranges do not overlap. Below 128 bytes each
// byte of the target is written once, in ascending order: a program that sees a completion word may write there at
// once. (1, 2, 4, 8 and 16 bytes are one store.) Of more, some may be written twice before the last byte is.
bool guarded_copy(void* to, const void* from, std::size_t bytes) noexcept;

// For a handler of SIGSEGV and SIGBUS (SA_SIGINFO): true if the fault was a guarded copy's; the handler returns and
// the copy answers false. `context` is the handler's third argument.
bool guarded_copy_recover(ucontext_t* context) noexcept;

}  // namespace softiommu
