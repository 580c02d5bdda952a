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

// `pointer` is the register that stands for the memory operand; it keeps its value. 0, or the si_code of the arithmetic
// exception (SIGFPE) that the instruction ended with: then general registers are as before.
int run_code(std::uint16_t code, Registers& registers, unsigned pointer, void* operand);

// For a handler of SIGFPE: true if a copy has raised it; the handler returns, and run_code() answers.
bool native_recover(int code, ucontext_t* context);

}  // namespace softiommu::launch
