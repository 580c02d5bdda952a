// SPDX-License-Identifier: BSD-3-Clause
// A device's copies through its IOMMU against memcpy, and what joining an existing domain costs, on the built-in
// machine.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <memory>
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

BENCHMARK(DeviceCopy)->Arg(64)->Arg(4096);
BENCHMARK(Memcpy)->Arg(64)->Arg(4096);
BENCHMARK(JoinAndLeave);

}  // namespace
}  // namespace softiommu

BENCHMARK_MAIN();
