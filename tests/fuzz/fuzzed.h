// SPDX-License-Identifier: BSD-3-Clause
// Bytes as a program: what a fuzz target defines. libfuzzer_main.cpp and random_main.cpp run it, gtest's expectations
// are the judges.
#pragma once

#include <cstdint>
#include <span>

namespace softiommu::test {

void run_program(std::span<const std::uint8_t> bytes);
// How many first bytes mean different things.
unsigned program_cases();

}  // namespace softiommu::test
