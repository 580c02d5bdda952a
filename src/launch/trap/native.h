// SPDX-License-Identifier: BSD-3-Clause
// Runs an instruction on the processor itself: for arithmetic of the vector units, the x87 and all else that needs no
// emulation of its own.
//
// What runs is a copy of the instruction whose memory operand is a register that points at a buffer. The interrupted
// thread's registers are loaded before and stored after it, all but the stack pointer, which such a copy never names.
#pragma once

#include <cstdint>
#include <span>

#include "launch/trap/registers.h"

namespace softiommu::launch {

inline constexpr std::size_t kOperandBytes = 64;

// Keeps a copy for ever, equal ones once. 0: there is no room, or no memory that is executable. Takes no lock and
// allocates nothing.
std::uint16_t keep_code(std::span<const std::uint8_t> code);

// What a copy ended with instead of running through; no signal: it ran.
struct Exception {
  int signal = 0, code = 0;
};

// `pointer` is the register that stands for the memory operand; it keeps its value. After an exception the general
// registers are as before.
Exception run_code(std::uint16_t code, Registers& registers, unsigned pointer, void* operand);

// For a handler of SIGFPE and SIGSEGV: true if a copy has raised it (a division by zero, a value that a register cannot
// take); the handler returns, and run_code() answers.
bool native_recover(Exception exception, ucontext_t* context);

}  // namespace softiommu::launch
