// SPDX-License-Identifier: BSD-3-Clause
#include "pt_program.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "fuzzed.h"

namespace softiommu::test {
namespace {

std::vector<PtProgramCase>& cases() {
  static std::vector<PtProgramCase> all;
  return all;
}

}  // namespace

// Sorted, so that a first byte means the same however the program was linked.
void add_pt_program_case(const PtProgramCase& added) {
  const auto key = [](const PtProgramCase& a) { return std::tuple(a.format, a.config); };
  cases().insert(std::ranges::upper_bound(cases(), key(added), {}, key), added);
}

void run_program(std::span<const std::uint8_t> bytes) {
  if (bytes.empty()) return;
  const PtProgramCase& chosen = cases()[bytes.front() % cases().size()];
  chosen.run(bytes.subspan(1), chosen.config);
}
unsigned program_cases() { return static_cast<unsigned>(cases().size()); }

}  // namespace softiommu::test
