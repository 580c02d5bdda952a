// SPDX-License-Identifier: BSD-3-Clause
// Rows of the page-table engine that have no peer: two threads in one table, cost as a table grows, memory a mapped
// GiB. What one thread does with one table is measured beside Linux's own code: peers/pt_bench.cpp. Prints row, value,
// unit (separated by tabs). Not to be pinned: the threads choose their CPUs.
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "pt/arena.h"
#include "pt/formats/amd_v1.h"
#include "pt/formats/arm_lpae.h"
#include "pt/formats/riscv.h"
#include "pt/formats/vtd_second_stage.h"
#include "pt/formats/x86_64.h"
#include "pt/page_table.h"

namespace softiommu::pt {
namespace {

constexpr Prot kReadWrite{.read = true, .write = true};
constexpr std::uint64_t kTiB = 1024 * kGiB;

void row(const std::string& name, double value, const char* unit) {
  std::printf("%s\t%.3g\t%s\n", name.c_str(), value, unit);
  std::fflush(stdout);
}

template <class Action>
double ns_of(Action&& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
}

// A table whose arena is on huge pages, as the peers' are.
template <class Format>
struct Space {
  Space() {
    const TableMemory::View view = memory.view();
    madvise(reinterpret_cast<void*>(view.bias + view.first), view.bytes, MADV_HUGEPAGE);
  }

  Arena memory{3 * kGiB};
  PageTable<Format> table = *PageTable<Format>::create(memory, {});

  void map(std::uint64_t iova, std::uint64_t pa, std::uint64_t bytes) {
    if (!table.map(Iova{iova}, PhysAddr{pa}, bytes, kReadWrite)) std::abort();
  }
  void unmap(std::uint64_t iova, std::uint64_t bytes) {
    Gather gather;
    if (table.unmap(Iova{iova}, bytes, gather) != bytes) std::abort();
    gather.release(memory);
  }
};

// ---- threads ----

void use_cpu(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);  // on failure the figure is only less steady
}

// CPU time of the calling thread: what others do on a busy machine does not count, waiting for a lock does.
double cpu_ns() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

// Millions of calls a second that `threads` threads make together; work(thread, pass) makes kCalls of them.
constexpr unsigned kCalls = 256;
template <class Work>
double calls_a_second(unsigned threads, Work&& work) {
  std::atomic<unsigned> ready{0};
  std::atomic<bool> stop{false};
  std::vector<double> rates(threads);
  std::vector<std::thread> running;
  for (unsigned thread = 0; thread < threads; ++thread)
    running.emplace_back([&, thread] {
      use_cpu(thread);
      for (ready.fetch_add(1); ready.load() < threads;) {
      }
      const double start = cpu_ns();
      std::uint64_t done = 0;
      for (; !stop.load(std::memory_order_relaxed); ++done) work(thread, done);
      rates[thread] = static_cast<double>(done) * kCalls / (cpu_ns() - start) * 1e3;
    });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  stop.store(true);
  for (auto& thread : running) thread.join();
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

// The best of some runs, with one thread and with two, and what the second one brings.
template <class Work>
void scaling(const std::string& name, Work&& work) {
  double best[2] = {};
  for (int run = 0; run < 3; ++run)
    for (unsigned threads = 1; threads <= 2; ++threads)
      best[threads - 1] = std::max(best[threads - 1], calls_a_second(threads, work));
  row(name + ", 1 thread", best[0], "million calls/s");
  row(name + ", 2 threads", best[1], "million calls/s");
  row(name + ", 2 threads over 1", best[1] / best[0], "times");
}

// Each thread works in a range of its own, in tables of its own.
std::uint64_t base_of(unsigned thread) { return kTiB + thread * 512 * kGiB; }

void thread_rows() {
  Space<VtdSecondStage> space;
  for (unsigned thread = 0; thread < 2; ++thread) {
    space.map(base_of(thread) + 511 * kPageSize, kGiB, kPageSize);  // keeps the table alive
    space.map(base_of(thread) + kGiB + 511 * 2 * kMiB, kGiB, 2 * kMiB);
    space.map(base_of(thread) + 2 * kGiB, kGiB + kPageSize, kGiB);
  }
  const auto map_unmap = [&](std::uint64_t offset, std::uint64_t bytes, std::uint64_t pa) {
    return [&space, offset, bytes, pa](unsigned thread, std::uint64_t /*pass*/) {
      const std::uint64_t iova = base_of(thread) + offset;
      for (unsigned call = 0; call < kCalls / 2; ++call) {
        space.map(iova, pa, bytes);
        space.unmap(iova, bytes);
      }
    };
  };
  scaling("map and unmap 1x4K", map_unmap(0, kPageSize, kGiB));
  scaling("map and unmap 256x4K", map_unmap(0, kMiB, kGiB + kPageSize));
  scaling("map and unmap 256x4K, new leaf table", map_unmap(64 * kGiB, kMiB, kGiB + kPageSize));
  scaling("map and unmap 1x2M", map_unmap(kGiB, 2 * kMiB, kGiB));
  std::vector<std::uint64_t> offsets(1 << 16);
  std::mt19937_64 random(1);
  for (auto& offset : offsets) offset = random() % kGiB;
  scaling("iova_to_phys rand 1 GiB/4K", [&](unsigned thread, std::uint64_t pass) {
    for (unsigned call = 0; call < kCalls; ++call) {
      const Iova iova{base_of(thread) + 2 * kGiB + offsets[(pass * kCalls + call) % offsets.size()]};
      if (!space.table.iova_to_phys(iova)) std::abort();
    }
  });
}

// ---- growth ----

// Cost a page in a table that maps `bytes` as 4 KiB pages, its memory recycled.
void growth_row(Space<VtdSecondStage>& space, std::uint64_t bytes, const std::string& size) {
  const std::uint64_t base = 4 * kTiB, pa = kGiB + kPageSize;
  const auto pages = static_cast<double>(bytes / kPageSize);
  double map_ns = 0, unmap_ns = 0;
  for (int pass = 0; pass < 2; ++pass) {
    map_ns = ns_of([&] { space.map(base, pa, bytes); });
    if (pass == 0) space.unmap(base, bytes);
  }
  constexpr unsigned kLooks = 1 << 16;
  std::mt19937_64 random(1);
  std::vector<std::uint64_t> offsets(kLooks);
  std::uint64_t sum = 0;
  double look_ns = std::numeric_limits<double>::max();
  for (int pass = 0; pass < 5; ++pass) {
    for (auto& offset : offsets) offset = random() % bytes;  // others each time: not those that are in the caches now
    look_ns = std::min(look_ns, ns_of([&] {
                         for (const std::uint64_t offset : offsets)
                           sum += space.table.iova_to_phys(Iova{base + offset})->value;
                       }));
  }
  const double single_ns = ns_of([&] {
    for (unsigned i = 0; i < 1 << 12; ++i) {
      space.unmap(base + i % 256 * kPageSize, kPageSize);
      space.map(base + i % 256 * kPageSize, pa, kPageSize);
    }
  });
  unmap_ns = ns_of([&] { space.unmap(base, bytes); });
  row("a table of " + size + ": map, one call", map_ns / pages, "ns/page");
  row("a table of " + size + ": unmap, one call", unmap_ns / pages, "ns/page");
  row("a table of " + size + ": unmap and map one page", single_ns / (1 << 12), "ns");
  row("a table of " + size + ": iova_to_phys rand", look_ns / kLooks, sum != 0 ? "ns" : "");
}

void growth_rows() {
  Space<VtdSecondStage> space;
  growth_row(space, kMiB, "1 MiB");
  growth_row(space, 16 * kMiB, "16 MiB");
  growth_row(space, 256 * kMiB, "256 MiB");
  growth_row(space, 4 * kGiB, "4 GiB");
  growth_row(space, 64 * kGiB, "64 GiB");
  growth_row(space, kTiB, "1 TiB");
}

// ---- memory ----

template <class Format>
void memory_rows() {
  struct {
    const char* name;
    std::uint64_t page, bytes;
  } const cases[] = {{"4K", kPageSize, 8 * kGiB}, {"2M", 2 * kMiB, 64 * kGiB}, {"1G", kGiB, 512 * kGiB}};
  for (const auto& test : cases) {
    Space<Format> space;
    const std::uint64_t before = space.memory.allocated_bytes();
    // Off by a page, so that none larger serves it.
    space.map(kTiB, kTiB + test.page, test.bytes);
    const auto used = static_cast<double>(space.memory.allocated_bytes() - before);
    row(std::string(Format::kName) + ": table memory for 1 GiB as " + test.name,
        used / static_cast<double>(test.bytes / kGiB) / kKiB, "KiB");
  }
}

}  // namespace
}  // namespace softiommu::pt

int main() {
  using namespace softiommu::pt;
  thread_rows();
  growth_rows();
  memory_rows<VtdSecondStage>();
  memory_rows<X86_64>();
  memory_rows<AmdV1>();
  memory_rows<Riscv>();
  memory_rows<ArmLpae>();
}
