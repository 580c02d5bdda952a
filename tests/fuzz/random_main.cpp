// SPDX-License-Identifier: BSD-3-Clause
// Random programs, for builds without libFuzzer.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "fuzz_run.h"
#include "fuzzed.h"

namespace softiommu::test {
namespace {

using namespace std::chrono_literals;

std::string text_of(const std::vector<std::uint8_t>& bytes) {
  std::string text;
  for (const std::uint8_t byte : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return text;
}

TEST(RandomPrograms, MeetEveryExpectation) {
  Choice choice(fuzz_seed());
  const auto end = std::chrono::steady_clock::now() + fuzz_seconds(2s);
  std::vector<std::uint8_t> bytes;
  // Each case at least once, however short the time is.
  unsigned run = 0;
  for (; (std::chrono::steady_clock::now() < end || run < program_cases()) && !HasFailure(); ++run) {
    bytes.resize(choice.one_in(4) ? choice.below(4000) : choice.below(400));
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(choice.any());
    bytes.insert(bytes.begin(), static_cast<std::uint8_t>(run % program_cases()));
    SCOPED_TRACE(text_of(bytes));
    run_program(bytes);
  }
  EXPECT_GE(run, program_cases()) << "stopped at the first case that failed";
}

}  // namespace
}  // namespace softiommu::test
