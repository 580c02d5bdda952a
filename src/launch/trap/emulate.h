// SPDX-License-Identifier: BSD-3-Clause
// Executes one decoded instruction on the interrupted thread's registers and a bus.
//
// All memory accesses of an instruction come before any register changes, so that a fault leaves it restartable; a
// string instruction advances element by element, as the processor does. A `lock` prefix is not atomic against
// other threads: between the read and the write of a device register there is no lock, as on a real bus.
#pragma once

#include "launch/trap/bus.h"
#include "launch/trap/instruction.h"
#include "launch/trap/registers.h"

namespace softiommu::launch {

// True: done, the instruction pointer is behind it. False: bus.fault() says why not.
bool emulate(const Instruction& instruction, Registers& registers, Bus& bus);

std::uintptr_t effective_address(const Instruction& instruction, const Registers& registers);

}  // namespace softiommu::launch
