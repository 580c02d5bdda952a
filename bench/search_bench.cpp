// SPDX-License-Identifier: BSD-3-Clause
// Groups that join one address space behind 64 instances of four kinds: what one of them costs, by how many there are.
#include <benchmark/benchmark.h>

#include "ioas/crowd.h"

namespace softiommu {
namespace {

void Join(benchmark::State& state) {
  const auto groups = static_cast<std::size_t>(state.range(0));
  testing::Crowd crowd(groups);
  for (auto _ : state) {
    if (!crowd.join()) state.SkipWithError("a group was refused");
    state.PauseTiming();
    crowd.leave();
    state.ResumeTiming();
  }
  state.counters["per_group"] = benchmark::Counter(
      static_cast<double>(groups), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(Join)->Arg(16)->Arg(256)->Arg(4096);

}  // namespace
}  // namespace softiommu

BENCHMARK_MAIN();
