// SPDX-License-Identifier: BSD-3-Clause
// Mapping bookkeeping beside the maps that others would use: a call on 1 k, 100 k and 1 M live areas, at random or in
// order. Every second page of a space of twice as many is in use, so that an insert always finds a hole beside it.
//
// LookUp finds the area of an address; Churn takes a random page, and maps it if it is free, else unmaps it; Ring maps
// ahead and unmaps behind; Allocate frees a random range and allocates one anew wherever the allocator likes.
#include <benchmark/benchmark.h>

#include <iterator>
#include <map>
#include <random>
#include <vector>

#if __has_include(<absl/container/btree_map.h>)
#include <absl/container/btree_map.h>
#undef GUARDED_BY  // an old name in there, and a name of ours
#endif

#include "ioas/area_map.h"
#include "ioas/iova_allocator.h"

namespace softiommu {
namespace {

constexpr std::uint64_t kPlace = 2 * kPageSize;  // an area and the hole behind it

// How the benchmarks drive each map.
struct OurAreas {
  AreaMap map;
  void insert(std::uint64_t iova) { benchmark::DoNotOptimize(map.insert(IovaRange::of(Iova{iova}, kPageSize))); }
  void erase(std::uint64_t iova) { map.erase(map.seek(Iova{iova})); }
  bool find(std::uint64_t iova) const { return map.find(IovaRange::of(Iova{iova}, 1)) != nullptr; }
};

struct Value {
  std::uint64_t last, user, pa;
};

template <class Map>
struct SortedMap {
  Map map;
  void insert(std::uint64_t iova) {
    const auto above = map.lower_bound(iova);
    if (above != map.end() && above->first <= iova + (kPageSize - 1)) return;
    if (above != map.begin() && std::prev(above)->second.last >= iova) return;
    map.emplace_hint(above, iova, Value{iova + (kPageSize - 1), iova, iova});
  }
  void erase(std::uint64_t iova) { map.erase(map.find(iova)); }
  bool find(std::uint64_t iova) const {
    const auto above = map.upper_bound(iova);
    return above != map.begin() && std::prev(above)->second.last >= iova;
  }
};
using StdMap = SortedMap<std::map<std::uint64_t, Value>>;
#if __has_include(<absl/container/btree_map.h>)
using BtreeMap = SortedMap<absl::btree_map<std::uint64_t, Value>>;
#endif

class Random {
 public:
  std::uint64_t below(std::uint64_t limit) {
    state_ = state_ * 6364136223846793005 + 1442695040888963407;
    return (state_ >> 32) * limit >> 32;  // limits are small
  }

 private:
  std::uint64_t state_ = 1;
};

std::uint64_t iova_of(std::uint64_t place) { return kGiB + place * kPlace; }

// Half of 2n places in use, mapped in random order.
template <class Map>
std::vector<bool> fill(Map& map, std::uint64_t n) {
  std::vector<std::uint64_t> places(2 * n);
  for (std::uint64_t i = 0; i < 2 * n; ++i) places[i] = i;
  std::shuffle(places.begin(), places.end(), std::mt19937_64(1));
  std::vector<bool> used(2 * n);
  for (std::uint64_t i = 0; i < n; ++i) {
    map.insert(iova_of(places[i]));
    used[places[i]] = true;
  }
  return used;
}

template <class Map>
void LookUpRandom(benchmark::State& state) {
  const auto n = static_cast<std::uint64_t>(state.range(0));
  Map map;
  fill(map, n);
  Random random;
  for (auto _ : state) benchmark::DoNotOptimize(map.find(iova_of(random.below(2 * n))));
}

template <class Map>
void LookUpSequential(benchmark::State& state) {
  const auto n = static_cast<std::uint64_t>(state.range(0));
  Map map;
  fill(map, n);
  for (std::uint64_t at = 0; auto _ : state) benchmark::DoNotOptimize(map.find(iova_of(at++ % (2 * n))));
}

template <class Map>
void ChurnRandom(benchmark::State& state) {
  const auto n = static_cast<std::uint64_t>(state.range(0));
  Map map;
  std::vector<bool> used = fill(map, n);
  Random random;
  for (auto _ : state) {
    const std::uint64_t place = random.below(2 * n);
    used[place] ? map.erase(iova_of(place)) : map.insert(iova_of(place));
    used[place] = !used[place];
  }
}

template <class Map>
void ChurnRing(benchmark::State& state) {
  const auto n = static_cast<std::uint64_t>(state.range(0));
  Map map;
  for (std::uint64_t i = 0; i < n; ++i) map.insert(iova_of(i));
  std::uint64_t head = n, tail = 0;
  for (auto _ : state) head - tail < n ? map.insert(iova_of(head++)) : map.erase(iova_of(tail++));
}

// Sizes of 1 to 16 pages, aligned to themselves, top-down: what a DMA API asks for.
void Allocate(benchmark::State& state) {
  const auto n = static_cast<std::uint64_t>(state.range(0));
  IovaAllocator allocator({Iova{kPageSize}, Iova{(std::uint64_t{1} << 48) - 1}});
  std::vector<Iova> live(n);
  Random random;
  const auto allocate = [&] {
    const std::uint64_t bytes = kPageSize << random.below(5);
    return *allocator.allocate({.bytes = bytes, .alignment = bytes});
  };
  for (Iova& iova : live) iova = allocate();
  for (auto _ : state) {
    Iova& victim = live[random.below(n)];
    if (!allocator.free(victim)) state.SkipWithError("not allocated");
    victim = allocate();
  }
  state.SetLabel("a free and an allocation");
}

#define SIZES ->Arg(1000)->Arg(100'000)->Arg(1'000'000)
#define FOR_ALL(benchmark_name, map) BENCHMARK(benchmark_name<map>) SIZES
#define ALL_OF(map)               \
  FOR_ALL(LookUpRandom, map);     \
  FOR_ALL(LookUpSequential, map); \
  FOR_ALL(ChurnRandom, map);      \
  FOR_ALL(ChurnRing, map)
ALL_OF(OurAreas);
#if __has_include(<absl/container/btree_map.h>)
ALL_OF(BtreeMap);
#endif
ALL_OF(StdMap);
BENCHMARK(Allocate) SIZES;

}  // namespace
}  // namespace softiommu

BENCHMARK_MAIN();
