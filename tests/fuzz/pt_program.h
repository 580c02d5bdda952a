// SPDX-License-Identifier: BSD-3-Clause
// A program for one page table: the first byte chooses format and configuration, the rest are operations. Whatever they
// say, table and plain map must agree.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace softiommu::test {

struct PtProgramCase {
  std::string_view format;
  unsigned config = 0;
  void (*run)(std::span<const std::uint8_t> bytes, unsigned config) = nullptr;
};
void add_pt_program_case(const PtProgramCase& added);

}  // namespace softiommu::test
