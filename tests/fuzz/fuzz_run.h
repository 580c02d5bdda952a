// SPDX-License-Identifier: BSD-3-Clause
// What a random run needs: its seed and length from the environment, and choices that come from the seed alone.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>

namespace softiommu::test {

// SOFTIOMMU_FUZZ_SEED, or a new one; printed either way.
std::uint64_t fuzz_seed();
// SOFTIOMMU_FUZZ_SECONDS, or `usual`.
std::chrono::seconds fuzz_seconds(std::chrono::seconds usual);

class Choice {
 public:
  explicit Choice(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t any() { return engine_(); }
  std::uint64_t below(std::uint64_t limit) { return engine_() % limit; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  template <typename T, std::size_t N>
  const T& of(const std::array<T, N>& values) {
    return values[below(N)];
  }
  // Small ones mostly, then any number of bits.
  std::uint64_t number() { return one_in(2) ? below(16) : any() >> below(64); }

 private:
  std::mt19937_64 engine_;
};

}  // namespace softiommu::test
