// SPDX-License-Identifier: BSD-3-Clause
// Bytes as a program for one page table: the first chooses format and configuration, the rest are operations. Whatever
// they say, table and plain map must agree, with gtest's expectations as judges.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace softiommu::test {

void run_pt_program(std::span<const std::uint8_t> bytes);
// How many first bytes mean different things.
unsigned pt_program_cases();

struct PtProgramCase {
  std::string_view format;
  unsigned config = 0;
  void (*run)(std::span<const std::uint8_t> bytes, unsigned config) = nullptr;
};
void add_pt_program_case(const PtProgramCase& added);

}  // namespace softiommu::test
