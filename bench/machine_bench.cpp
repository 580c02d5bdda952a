// SPDX-License-Identifier: BSD-3-Clause
// A device's copies through its IOMMU against memcpy, and what joining an existing domain costs, on the built-in
// machine.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "core/system.h"
#include "drivers/registry.h"
#include "machine/machine.h"

namespace softiommu {
namespace {

constexpr std::uint64_t kPages = 4;
constexpr Iova kWindow{0x4000'0000};

// The built-in machine with one domain that maps a few pages, attached by the first edu device.
struct World {
  std::unique_ptr<Machine> machine;
  std::unique_ptr<System> system;
  std::unique_ptr<Domain> domain;
  std::byte* memory = nullptr;

  World() {
    machine =
        *Machine::create(*parse_machine(default_machine_toml(), "built-in"), {.time = Executor::Time::virtual_time});
    system = *System::create(*machine, all_drivers(), {});
    memory = static_cast<std::byte*>(std::aligned_alloc(kPageSize, kPages * kPageSize));
    std::memset(memory, 1, kPages * kPageSize);
    for (const auto& group : system->groups()) (void)group->claim_dma_owner(this);
    domain = *system->allocate_domain(*device("0000:00:06.0").group());
    for (std::uint64_t page = 0; page < kPages; ++page) {
      const auto user = reinterpret_cast<std::uintptr_t>(memory) + page * kPageSize;
      const PhysRun run = *machine->memory().pin(user, kPageSize);
      (void)domain->map(kWindow + page * kPageSize, run.first, kPageSize, {.read = true, .write = true});
    }
    (void)device("0000:00:06.0").group()->attach(*domain);
  }
  ~World() {
    for (const auto& group : system->groups()) {
      group->detach();
      group->release_dma_owner();
    }
    domain.reset();
  }
  Device& device(const char* name) { return *system->device(name); }
};

World& world() {
  static World instance;
  return instance;
}

void DeviceCopy(benchmark::State& state) {
  DmaPort& port = world().device("0000:00:06.0").function()->dma();
  std::vector<std::byte> buffer(static_cast<std::size_t>(state.range(0)));
  std::uint64_t page = 0;
  for (auto _ : state) {
    if (!port.read(kWindow + page * kPageSize, buffer)) state.SkipWithError("the DMA was refused");
    benchmark::ClobberMemory();
    page = (page + 1) % kPages;
  }
}

void Memcpy(benchmark::State& state) {
  std::vector<std::byte> buffer(static_cast<std::size_t>(state.range(0)));
  std::uint64_t page = 0;
  for (auto _ : state) {
    std::memcpy(buffer.data(), world().memory + page * kPageSize, buffer.size());
    benchmark::ClobberMemory();
    page = (page + 1) % kPages;
  }
}

// A second group joins the domain and leaves it again.
void JoinAndLeave(benchmark::State& state) {
  Group& group = *world().device("0000:01:00.0").group();
  const std::uint64_t tables = world().machine->memory().tables().allocated_pages();
  for (auto _ : state) {
    if (!group.attach(*world().domain)) state.SkipWithError("the attach was refused");
    group.detach();
  }
  if (world().machine->memory().tables().allocated_pages() != tables) state.SkipWithError("table pages were allocated");
}

// ---- many pages: 4 KiB each, one buffer mapped again and again, never congruent, so that no large page serves it

constexpr Iova kWide{std::uint64_t{1} << 38};
constexpr std::uint64_t kBuffer = 64 * kMiB;

void map_wide(std::uint64_t gibibytes) {
  static std::uint64_t mapped = 0;
  static auto* const buffer = static_cast<std::byte*>(std::aligned_alloc(2 * kMiB, kBuffer));
  if (mapped == 0) std::memset(buffer, 1, kBuffer);
  for (; mapped < gibibytes * kGiB; mapped += kBuffer) {
    for (std::uint64_t done = 0; done < kBuffer;) {
      const auto user = reinterpret_cast<std::uintptr_t>(buffer) + done;
      const PhysRun run = *world().machine->memory().pin(user, kBuffer - done);
      (void)world().domain->map(kWide + kPageSize + mapped + done, run.first, run.bytes, {.read = true, .write = true});
      done += run.bytes;
    }
  }
}

// `count` addresses: the pages of [0, gibibytes) in random order, or the first `pages` of them again and again.
std::vector<Iova> addresses(std::uint64_t pages, std::size_t count) {
  std::vector<Iova> iovas(count);
  std::mt19937_64 random(1);
  for (Iova& iova : iovas) iova = kWide + kPageSize + random() % pages * kPageSize + random() % 64 * 64;
  return iovas;
}

constexpr std::size_t kAddresses = 1 << 16;
DmaPort& wide_port(std::uint64_t gibibytes) {
  map_wide(gibibytes);
  return world().device("0000:00:06.0").function()->dma();
}

// Addresses that the port's cache holds: in order, and at random. Arguments: pages; 1: in order.
void TranslateHit(benchmark::State& state) {
  DmaPort& port = wide_port(1);
  const auto pages = static_cast<std::uint64_t>(state.range(0));
  std::vector<Iova> iovas = addresses(pages, 4096);
  if (state.range(1) == 1) std::ranges::sort(iovas, {}, &Iova::value);
  std::vector<std::byte*> hosts(iovas.size());
  for (auto _ : state) {
    port.translate(Access::read, iovas, hosts);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(iovas.size()) * state.iterations());
}

// Random pages of many. Arguments: GiB; addresses a call.
void TranslateRandom(benchmark::State& state) {
  const auto gibibytes = static_cast<std::uint64_t>(state.range(0));
  const auto batch = static_cast<std::size_t>(state.range(1));
  DmaPort& port = wide_port(gibibytes);
  const std::vector<Iova> iovas = addresses(gibibytes * kGiB / kPageSize, kAddresses);
  std::vector<std::byte*> hosts(batch);
  std::size_t at = 0;
  for (auto _ : state) {
    port.translate(Access::read, std::span(iovas).subspan(at, batch), hosts);
    benchmark::ClobberMemory();
    at = (at + batch) % kAddresses;
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(batch) * state.iterations());
}

// Reads of 64 bytes or 4 KiB from random pages, one by one (batch 1) or as a list. Arguments: GiB, bytes, batch.
void ReadRandom(benchmark::State& state) {
  const auto gibibytes = static_cast<std::uint64_t>(state.range(0)), bytes = static_cast<std::uint64_t>(state.range(1));
  const auto batch = static_cast<std::size_t>(state.range(2));
  DmaPort& port = wide_port(gibibytes);
  std::vector<DmaSegment> list;
  for (const Iova iova : addresses(gibibytes * kGiB / kPageSize, kAddresses))
    list.push_back({bytes < kPageSize ? iova : Iova{align_down(iova.value, kPageSize)}, bytes});
  std::vector<std::byte> buffer(batch * bytes);
  std::size_t at = 0;
  for (auto _ : state) {
    const auto result =
        batch == 1 ? port.read(list[at].iova, buffer) : port.read(std::span(list).subspan(at, batch), buffer);
    if (!result) state.SkipWithError("the DMA was refused");
    benchmark::ClobberMemory();
    at = (at + batch) % kAddresses;
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(batch) * state.iterations());
}

// Some copies of 64 bytes, then the unmapping of a page. Arguments: copies; 0: no membarrier.
void CopiesAndUnmap(benchmark::State& state) {
  if (state.range(1) == 0) DmaFence::use_no_system_call();
  DmaPort& port = world().device("0000:00:06.0").function()->dma();
  Domain& domain = *world().domain;
  std::vector<std::byte> buffer(64);
  const PhysRun run = *world().machine->memory().pin(reinterpret_cast<std::uintptr_t>(world().memory), kPageSize);
  for (auto _ : state) {
    for (std::int64_t i = 0; i < state.range(0); ++i) (void)port.read(kWindow, buffer);
    (void)domain.map(kWindow + 16 * kPageSize, run.first, kPageSize, {.read = true, .write = true});
    if (domain.unmap(kWindow + 16 * kPageSize, kPageSize) != kPageSize) state.SkipWithError("nothing was unmapped");
  }
}

BENCHMARK(DeviceCopy)->Arg(64)->Arg(512)->Arg(4096);
BENCHMARK(Memcpy)->Arg(64)->Arg(512)->Arg(4096);
BENCHMARK(JoinAndLeave);
BENCHMARK(TranslateHit)->Args({512, 1})->Args({512, 0});
BENCHMARK(TranslateRandom)->ArgsProduct({{1, 64}, {1, 64}});
BENCHMARK(ReadRandom)->ArgsProduct({{1, 64}, {64, 4096}, {1, 16}});
BENCHMARK(CopiesAndUnmap)->ArgsProduct({{0, 8, 64, 256}, {1}});
BENCHMARK(CopiesAndUnmap)->ArgsProduct({{0, 8, 64, 256}, {0}});  // last: membarrier stays off

}  // namespace
}  // namespace softiommu

BENCHMARK_MAIN();
