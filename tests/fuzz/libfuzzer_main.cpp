// SPDX-License-Identifier: BSD-3-Clause
// Programs made by libFuzzer. A first failed expectation stops it.
#include <gtest/gtest.h>

#include <cstdlib>

#include "fuzzed.h"

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int LLVMFuzzerInitialize(int* count, char*** arguments) {
  ::testing::InitGoogleTest(count, *arguments);
  return 0;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  softiommu::test::run_program({data, size});
  if (::testing::Test::HasFailure()) std::abort();  // so that libFuzzer keeps the program
  return 0;
}
