// SPDX-License-Identifier: BSD-3-Clause
// The page-table engine's rows of the performance goals, with its lock, checks and gather: ns per call.
// Each unmap includes the release of its tables; nothing is invalidated here.
#include <benchmark/benchmark.h>

#include <chrono>
#include <random>
#include <vector>

#include "pt/arena.h"
#include "pt/formats/arm_lpae.h"
#include "pt/formats/vtd_second_stage.h"
#include "pt/formats/x86_64.h"
#include "pt/page_table.h"

namespace softiommu::pt {
namespace {

constexpr Prot kReadWrite{.read = true, .write = true};
constexpr Iova kIova{128 * kGiB};
constexpr PhysAddr kPa{64 * kGiB};

template <class Format>
struct Space {
  Arena memory{2 * kGiB};
  PageTable<Format> table = *PageTable<Format>::create(memory, {});
  Gather gather;

  void map(std::uint64_t offset, std::uint64_t bytes, std::uint64_t pa_offset = 0) {
    if (!table.map(kIova + offset, kPa + (offset + pa_offset), bytes, kReadWrite)) std::abort();
  }
  void unmap(std::uint64_t offset, std::uint64_t bytes) {
    if (table.unmap(kIova + offset, bytes, gather) != bytes) std::abort();
    gather.release(memory);
  }
};

// What one iteration times: mapping, unmapping, or both after each other. `untimed` undoes it outside the clock.
template <class Timed, class Untimed>
void timed(benchmark::State& state, double calls, Timed&& action, Untimed&& untimed) {
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    action();
    const auto stop = std::chrono::steady_clock::now();
    state.SetIterationTime(std::chrono::duration<double>(stop - start).count());
    untimed();
  }
  state.counters["ns_per_call"] =
      benchmark::Counter(calls * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

// `count` calls of `size` bytes, `stride` apart; `neighbour` keeps the table alive.
struct Calls {
  std::uint64_t count, size, stride, pa_offset;
  bool neighbour;
};

template <class Format>
void map_calls(benchmark::State& state, Calls calls) {
  Space<Format> space;
  if (calls.neighbour)
    space.map(511 * calls.size * (calls.size == kGiB ? 0 : 1) + (calls.size == kGiB ? 120 * kGiB : 0), calls.size);
  timed(
      state, static_cast<double>(calls.count),
      [&] {
        for (std::uint64_t i = 0; i < calls.count; ++i) space.map(i * calls.stride, calls.size, calls.pa_offset);
      },
      [&] {
        for (std::uint64_t i = 0; i < calls.count; ++i) space.unmap(i * calls.stride, calls.size);
      });
}

template <class Format>
void unmap_calls(benchmark::State& state, Calls calls) {
  Space<Format> space;
  const auto map_all = [&] {
    for (std::uint64_t i = 0; i < calls.count; ++i) space.map(i * calls.stride, calls.size, calls.pa_offset);
  };
  if (calls.neighbour)
    space.map(511 * calls.size * (calls.size == kGiB ? 0 : 1) + (calls.size == kGiB ? 120 * kGiB : 0), calls.size);
  map_all();
  timed(
      state, static_cast<double>(calls.count),
      [&] {
        for (std::uint64_t i = 0; i < calls.count; ++i) space.unmap(i * calls.stride, calls.size);
      },
      map_all);
}

template <class Format>
void iova_to_phys(benchmark::State& state, std::uint64_t region, std::uint64_t pa_offset, bool random) {
  Space<Format> space;
  space.map(0, region, pa_offset);
  std::mt19937_64 numbers(1);
  std::vector<std::uint64_t> offsets(1 << 16);
  std::uint64_t at = 0;
  for (auto& offset : offsets) offset = random ? numbers() % region & ~std::uint64_t{7} : (at += kPageSize) % region;
  std::size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(space.table.iova_to_phys(kIova + offsets[i++ & (offsets.size() - 1)]));
}

// 1 GiB of 4K pages, of which every n-th is dirty (0: none).
template <class Format>
void read_dirty(benchmark::State& state, std::uint64_t every) {
  Space<Format> space;
  space.map(0, kGiB, kPageSize);
  std::vector<std::uint64_t*> marked;
  for (std::uint64_t page = 0; every != 0 && page < kGiB / kPageSize; page += every) {
    const Iova iova = kIova + page * kPageSize;
    std::uint64_t* table = space.memory.words(space.table.root());
    for (unsigned level = 3; level > 0; --level)
      table = space.memory.words(Format::address(table[iova.value >> (12 + 9 * level) & 511]));
    marked.push_back(table + (iova.value >> 12 & 511));
  }
  std::uint64_t found = 0;
  const auto mark = [&] {
    for (std::uint64_t* entry : marked) *entry ^= Format::shape({})->dirty.flip;
  };
  mark();
  timed(
      state, 1,
      [&] {
        space.table.read_dirty(IovaRange::of(kIova, kGiB), true, [&](Iova, std::uint64_t bytes) { found += bytes; });
      },
      mark);
  benchmark::DoNotOptimize(found);
}

template <class Format>
void create_destroy(benchmark::State& state) {
  Arena memory;
  for (auto _ : state) benchmark::DoNotOptimize(PageTable<Format>::create(memory, {})->root());
}

template <class Format>
void rows(const std::string& name) {
  const auto row = [&](const char* what, Calls calls) {
    benchmark::RegisterBenchmark((name + "/map " + what).c_str(), [calls](auto& state) {
      map_calls<Format>(state, calls);
    })->UseManualTime();
    benchmark::RegisterBenchmark((name + "/unmap " + what).c_str(), [calls](auto& state) {
      unmap_calls<Format>(state, calls);
    })->UseManualTime();
  };
  row("1x4K table present", {256, kPageSize, kPageSize, 0, true});
  row("1x4K new leaf table", {256, kPageSize, 2 * kMiB, 0, false});
  row("256x4K", {1, kMiB, kMiB, kPageSize, true});
  row("1x2M", {256, 2 * kMiB, 2 * kMiB, 0, true});
  row("256x2M", {1, 512 * kMiB, 512 * kMiB, 2 * kMiB, true});
  row("1x1G", {64, kGiB, kGiB, 0, true});
  row("1 GiB as 4K one call", {1, kGiB, kGiB, kPageSize, false});
  row("1 GiB a call per 4K", {kGiB / kPageSize, kPageSize, kPageSize, 0, false});
  row("1 GiB as 2M", {1, kGiB, kGiB, 2 * kMiB, false});
  row("64 GiB as 4K one call", {1, 64 * kGiB, 64 * kGiB, kPageSize, false});
  const auto look = [&](const char* what, std::uint64_t region, std::uint64_t pa_offset, bool random) {
    benchmark::RegisterBenchmark((name + "/iova_to_phys " + what).c_str(),
                                 [=](auto& state) { iova_to_phys<Format>(state, region, pa_offset, random); });
  };
  look("seq 1 GiB as 4K", kGiB, kPageSize, false);
  look("rand 1 GiB as 4K", kGiB, kPageSize, true);
  look("rand 1 GiB as 2M", kGiB, 2 * kMiB, true);
  look("rand 64 GiB as 4K", 64 * kGiB, kPageSize, true);
  benchmark::RegisterBenchmark((name + "/create+destroy").c_str(), create_destroy<Format>);
  if (Format::shape({})->dirty.mask == 0) return;
  const auto dirty = [&](const char* what, std::uint64_t every) {
    benchmark::RegisterBenchmark((name + "/read+clear dirty 1 GiB, " + what).c_str(), [every](auto& state) {
      read_dirty<Format>(state, every);
    })->UseManualTime();
  };
  dirty("clean", 0);
  dirty("1 %", 100);
  dirty("all dirty", 1);
}

}  // namespace
}  // namespace softiommu::pt

int main(int argc, char** argv) {
  softiommu::pt::rows<softiommu::pt::VtdSecondStage>("vtd_second_stage");
  softiommu::pt::rows<softiommu::pt::X86_64>("x86_64");
  softiommu::pt::rows<softiommu::pt::ArmLpae>("arm_lpae");
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
