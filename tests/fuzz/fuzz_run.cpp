// SPDX-License-Identifier: BSD-3-Clause
#include "fuzz_run.h"

#include <cstdio>
#include <cstdlib>

namespace softiommu::test {

std::uint64_t fuzz_seed() {
  const char* const asked = std::getenv("SOFTIOMMU_FUZZ_SEED");
  const std::uint64_t seed = asked != nullptr ? std::strtoull(asked, nullptr, 0) : std::random_device{}();
  std::printf("SOFTIOMMU_FUZZ_SEED=%llu repeats this run\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  return seed;
}

std::chrono::seconds fuzz_seconds(std::chrono::seconds usual) {
  const char* const asked = std::getenv("SOFTIOMMU_FUZZ_SECONDS");
  return asked != nullptr ? std::chrono::seconds(std::strtol(asked, nullptr, 10)) : usual;
}

}  // namespace softiommu::test
