// SPDX-License-Identifier: BSD-3-Clause
// Measures page tables through kp.h: map, unmap, look up and dirty state, in ns per operation.
// Prints shape, operation, median, minimum, samples (separated by tabs).
//
// usage: pt-PEER [ROUNDS [SHAPE|all [LIBRARY|- [GROUP]]]]
//   GROUP   one of single, sparse, runs, region, calls, fresh, create, leftover, 64g: only these rows. Without it: all
//           but 64g, which takes a second a shape and leaves little of the caches to the others
#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kp_api.h"

namespace {

constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;

// xorshift64: the same sequence in every run.
class Random {
 public:
  std::uint64_t operator()() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }

 private:
  std::uint64_t state_ = 88172645463325252;
};

class Results {
 public:
  void add(const std::string& shape, const std::string& operation, double ns) {
    auto& samples = samples_[{shape, operation}];
    if (samples.empty()) order_.push_back({shape, operation});
    samples.push_back(ns);
  }
  void print() {
    for (const Key& key : order_) {
      auto& samples = samples_.at(key);
      std::sort(samples.begin(), samples.end());
      std::printf("%s\t%s\t%.2f\t%.2f\t%zu\n", key.first.c_str(), key.second.c_str(), samples[samples.size() / 2],
                  samples.front(), samples.size());
    }
  }

 private:
  using Key = std::pair<std::string, std::string>;
  std::map<Key, std::vector<double>> samples_;
  std::vector<Key> order_;
};

// Where a shape's rows run: large tables at 256 GiB, the small formats where they fit.
struct Place {
  std::uint64_t iova, pa, region;
};
Place place_of(const kp_shape& shape) {
  if (shape.iova_bits <= 32) return {1 * kGiB, 2 * kGiB, 512 * kMiB};
  if (shape.iova_bits <= 36) return {4 * kGiB, 8 * kGiB, 1 * kGiB};
  return {256 * kGiB, 64 * kGiB, 1 * kGiB};
}

// Offsets in [0, size), aligned to 8 bytes.
std::vector<std::uint64_t> random_offsets(std::uint64_t size, Random& random) {
  std::vector<std::uint64_t> offsets(1 << 16);
  for (auto& offset : offsets) {
    offset = random() % (size / 4096) * 4096;
    offset += random() & 0xff8;
  }
  return offsets;
}

struct Inputs {
  std::vector<std::uint64_t> random_1g, random_64g;
  std::uint64_t* bitmap;  // a bit for each page of 1 GiB
  std::string_view group;
  bool cold = true;  // nothing large was mapped yet
};

template <class Action>
double ns_of(Action&& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
}

// Keeps the compiler from leaving out what made `value`.
void keep(std::uint64_t value) { asm volatile("" ::"r"(value) : "memory"); }

// All rows of one shape, once.
class Round {
 public:
  Round(const KpApi& api, int kind, Inputs& inputs, Results& results)
      : api_(api), kind_(kind), shape_(*api.shape_of(kind)), inputs_(inputs), results_(results) {
    table_ = new_table();
  }
  ~Round() { api_.destroy(table_); }

  void run(bool with_64g) {
    verify();
    pages_of_size("4K", page_, 256);
    if (large_) {
      pages_of_size("2M", 2 * kMiB, 256);
      pages_of_size("1G", 1 * kGiB, 100);
    }
    if (wanted("region")) one_region_one_call();
    if (wanted("calls")) one_region_call_per_page();
    if (large_ && wanted("fresh")) fresh_table();
    if (wanted("create")) create_destroy();
    if (large_ && wanted("leftover")) leftover();
    if (large_ && with_64g && wanted("64g")) map_64g();
  }

 private:
  bool wanted(std::string_view group) const { return inputs_.group.empty() || inputs_.group == group; }
  void* new_table() {
    void* const table = api_.create(kind_);
    check(table != nullptr, "kp_create");
    return table;
  }
  void check(bool ok, const char* what) const {
    if (ok) return;
    std::fprintf(stderr, "%s: %s failed\n", shape_.name, what);
    std::exit(1);
  }
  void add(const std::string& operation, double ns) { results_.add(shape_.name, operation, ns); }

  double map_each(std::uint64_t count, std::uint64_t step, std::uint64_t pa_step, std::uint64_t size) {
    return ns_of([&] {
      for (std::uint64_t i = 0; i < count; ++i) api_.map(table_, place_.iova + i * step, place_.pa + i * pa_step, size);
    });
  }
  double unmap_each(std::uint64_t count, std::uint64_t step, std::uint64_t size) {
    return ns_of([&] {
      for (std::uint64_t i = 0; i < count; ++i) api_.unmap(table_, place_.iova + i * step, size);
    });
  }
  double map_all(void* table, std::uint64_t iova, std::uint64_t pa, std::uint64_t size) {
    int error = 0;
    const double ns = ns_of([&] { error = api_.map(table, iova, pa, size); });
    check(error == 0, "kp_map");
    return ns;
  }
  double unmap_all(void* table, std::uint64_t iova, std::uint64_t size) {
    std::uint64_t unmapped = 0;
    const double ns = ns_of([&] { unmapped = api_.unmap(table, iova, size); });
    check(unmapped == size, "kp_unmap");
    return ns;
  }

  // Every page of 8 MiB translates, and does not any more after the unmap.
  void verify() {
    map_all(table_, place_.iova, place_.pa, 8 * kMiB);
    for (std::uint64_t offset = 5; offset < 8 * kMiB; offset += page_)
      check(api_.iova_to_phys(table_, place_.iova + offset) == place_.pa + offset, "kp_iova_to_phys");
    unmap_all(table_, place_.iova, 8 * kMiB);
    check(api_.iova_to_phys(table_, place_.iova) == 0, "kp_iova_to_phys after kp_unmap");
  }

  // Pages of one size: one a call with and without their table, then runs of 256.
  void pages_of_size(const std::string& name, std::uint64_t size, std::uint64_t count) {
    const bool small = shape_.iova_bits <= 32;
    if (small) count = 200;  // v7s tables have 256 entries
    // A mapped neighbour keeps the table alive.
    const std::uint64_t index = small ? 255 : size == kGiB ? 300 : 511, neighbour = place_.iova + index * size;
    if (wanted("single")) {
      map_all(table_, neighbour, place_.pa, size);
      single_pages(name, size, count);
      api_.unmap(table_, neighbour, size);
    }
    if (size == kGiB) return;
    if (large_ && wanted("sparse")) sparse_pages(name, size, size == page_ ? 256 : 100);
    if (!wanted("runs")) return;
    // The physical address is off by one page, so that no larger leaf is possible.
    const std::uint64_t pa = place_.pa + (small ? 0 : size);
    map_all(table_, neighbour, pa, size);
    runs(name, size, small ? 252 : 256, pa);
    api_.unmap(table_, neighbour, size);
  }

  void single_pages(const std::string& name, std::uint64_t size, std::uint64_t count) {
    constexpr int kPasses = 4;
    double map_ns = 0, unmap_ns = 0;
    for (int pass = -kPasses; pass < kPasses; ++pass) {
      const double mapped = map_each(count, size, size, size), unmapped = unmap_each(count, size, size);
      if (pass < 0) continue;  // the caches are cold
      map_ns += mapped;
      unmap_ns += unmapped;
    }
    add("map 1x" + name + " (table present)", map_ns / static_cast<double>(count) / kPasses);
    add("unmap 1x" + name + " (table present)", unmap_ns / static_cast<double>(count) / kPasses);
  }

  // One page a table, so that every map needs a new table.
  void sparse_pages(const std::string& name, std::uint64_t size, std::uint64_t count) {
    constexpr int kPasses = 2;
    double map_ns = 0, unmap_ns = 0;
    for (int pass = 0; pass < kPasses; ++pass) {
      map_ns += map_each(count, size * 512, 0, size);
      unmap_ns += unmap_each(count, size * 512, size);
    }
    add("map 1x" + name + " (new leaf table)", map_ns / static_cast<double>(count) / kPasses);
    add("unmap 1x" + name + " (sparse)", unmap_ns / static_cast<double>(count) / kPasses);
  }

  void runs(const std::string& name, std::uint64_t size, std::uint64_t count, std::uint64_t pa) {
    constexpr int kRuns = 16;
    double map_ns = 0, unmap_ns = 0;
    for (int run = 0; run < kRuns; ++run) {
      map_ns += map_all(table_, place_.iova, pa, count * size);
      unmap_ns += unmap_all(table_, place_.iova, count * size);
    }
    add("map 256x" + name + " run", map_ns / kRuns);
    add("unmap 256x" + name + " run", unmap_ns / kRuns);
  }

  // 1 GiB of small pages (the physical address is off by a page) in one call, what it costs to look up, dirty scans.
  void one_region_one_call() {
    const std::uint64_t iova = place_.iova, size = place_.region;
    for (const bool warm : {false, true}) {
      const double map_ns = map_all(table_, iova, place_.pa + page_, size);
      if (warm) {
        add("map 1GiB as 4K (one call)", map_ns);
        lookups("1GiB/4K", size, inputs_.random_1g);
        if (shape_.flags & KP_DIRTY) dirty_scans();
      }
      const double unmap_ns = unmap_all(table_, iova, size);
      if (warm) add("unmap 1GiB as 4K (one call)", unmap_ns);
    }
  }

  void lookups(const std::string& name, std::uint64_t size, const std::vector<std::uint64_t>& offsets) {
    std::uint64_t sum = 0;
    const double ns = ns_of([&] {
      for (std::uint64_t offset = 0; offset < size; offset += page_)
        sum += api_.iova_to_phys(table_, place_.iova + offset);
    });
    keep(sum);
    add("iova_to_phys seq " + name, ns / static_cast<double>(size / page_));
    random_lookups(name, table_, size, offsets);
  }
  void random_lookups(const std::string& name, void* table, std::uint64_t size,
                      const std::vector<std::uint64_t>& offsets) {
    std::uint64_t sum = 0;
    const double ns = ns_of([&] {
      for (const std::uint64_t offset : offsets) sum += api_.iova_to_phys(table, place_.iova + (offset & (size - 1)));
    });
    keep(sum);
    add("iova_to_phys rand " + name, ns / static_cast<double>(offsets.size()));
  }

  void dirty_scans() {
    struct Pass {
      const char* name;
      std::uint64_t every;  // every n-th page is dirty; 0: none
    };
    const std::uint64_t pages = place_.region / page_;
    for (const Pass& pass : {Pass{"all dirty", 1}, Pass{"all clean", 0}, Pass{"1% dirty", 100}}) {
      std::uint64_t marked = 0, found = 0;
      for (std::uint64_t i = 0; pass.every != 0 && i < pages; i += pass.every, ++marked)
        api_.mark_dirty(table_, place_.iova + i * page_);
      std::memset(inputs_.bitmap, 0, pages / 8);
      int error = 0;
      const double ns = ns_of([&] { error = api_.read_dirty(table_, place_.iova, place_.region, inputs_.bitmap); });
      check(error == 0, "kp_read_dirty");
      for (std::uint64_t i = 0; i < pages / 64; ++i) found += static_cast<unsigned>(std::popcount(inputs_.bitmap[i]));
      check(found == marked, "the count of dirty pages");
      add(std::string("dirty read+clear 1GiB/4K ") + pass.name, ns);
    }
  }

  void one_region_call_per_page() {
    const std::uint64_t count = place_.region / page_;
    add("map 1GiB, one call per 4K", map_each(count, page_, page_, page_));
    add("unmap 1GiB, one call per 4K", unmap_each(count, page_, page_));
  }

  // 1 GiB as 2 MiB pages in a table that never held small pages.
  void fresh_table() {
    void* const table = new_table();
    map_all(table, place_.iova + 300 * kGiB, place_.pa, page_);
    add("map 1GiB as 2M pages, fresh table", map_all(table, place_.iova, place_.pa + 2 * kMiB, kGiB));
    random_lookups("1GiB/2M", table, kGiB, inputs_.random_1g);
    add("unmap 1GiB as 2M pages, fresh table", unmap_all(table, place_.iova, kGiB));
    api_.destroy(table);
  }

  void create_destroy() {
    constexpr int kTables = 64;
    const double ns = ns_of([&] {
      for (int i = 0; i < kTables; ++i) api_.destroy(api_.create(kind_));
    });
    add("create+destroy empty table", ns / kTables);
  }

  // 1 GiB as 2 MiB pages where empty leaf tables may have been left behind.
  void leftover() {
    if (!inputs_.group.empty()) one_region_call_per_page();
    add("map 1GiB as 2M over leftover empty leaf tables", map_all(table_, place_.iova, place_.pa + 2 * kMiB, kGiB));
    add("unmap 1GiB as 2M over leftover empty leaf tables", unmap_all(table_, place_.iova, kGiB));
  }

  // The first time in a process the tables' memory has never been touched, afterwards it is recycled.
  void map_64g() {
    const char* const name = std::exchange(inputs_.cold, false) ? "cold" : "recycled";
    add(std::string("map 64GiB as 4K (one call), ") + name, map_all(table_, place_.iova, place_.pa + page_, 64 * kGiB));
    lookups("64GiB/4K", 64 * kGiB, inputs_.random_64g);
    add("unmap 64GiB as 4K (one call)", unmap_all(table_, place_.iova, 64 * kGiB));
  }

  const KpApi& api_;
  const int kind_;
  const kp_shape& shape_;
  const Place place_ = place_of(shape_);
  const std::uint64_t page_ = shape_.page;
  const bool large_ = shape_.flags & KP_LARGE;
  Inputs& inputs_;
  Results& results_;
  void* table_;
};

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 5;
  const std::string only = argc > 2 ? argv[2] : "all";
  const KpApi api = kp_api(argc > 3 ? argv[3] : nullptr);
  if (api.init() != 0) {
    std::fprintf(stderr, "kp_init failed\n");
    return 1;
  }
  Random random;
  Inputs inputs{.random_1g = random_offsets(kGiB, random),
                .random_64g = random_offsets(64 * kGiB, random),
                .bitmap = api.bitmap(2 * kMiB),
                .group = argc > 4 ? argv[4] : ""};
  Results results;
  for (int round = 0; round < rounds; ++round)
    for (int kind = 0; api.shape_of(kind) != nullptr; ++kind) {
      if (only != "all" && only != api.shape_of(kind)->name) continue;
      Round(api, kind, inputs, results).run(!inputs.group.empty());
    }
  results.print();
}
