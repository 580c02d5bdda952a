// SPDX-License-Identifier: BSD-3-Clause
// Seeded random maps and unmaps, judged by a plain map of pages, for every format in every configuration.
#include <set>

#include "format_suite.h"

namespace softiommu::pt {

template <class C>
class RandomOperations : public FormatSuite<C> {
 protected:
  struct Request {
    std::uint64_t iova, pa, bytes;
  };

  std::uint64_t below_random(std::uint64_t limit) { return random_() % limit; }

  // Around places where something can go wrong: the ends of the aperture, and boundaries of tables of each level.
  Request request() {
    const std::uint64_t centres[] = {0, 2 * kMiB, kGiB, 2 * kGiB, this->top() + 1};
    // Sizes stay within what the oracle can hold page by page.
    const std::uint64_t units[] = {kPageSize, this->has(2 * kMiB) ? 2 * kMiB : 16 * kPageSize,
                                   this->has(kGiB) && this->has(2 * kMiB) ? kGiB : kPageSize};
    const std::uint64_t unit = units[below_random(3)];
    const std::uint64_t bytes = (1 + below_random(unit == kGiB ? 2 : 9)) * unit + below_random(3) * kPageSize;
    const std::uint64_t centre = centres[below_random(5)], reach = 12 * unit;
    const std::uint64_t low = centre > reach ? centre - reach : 0;
    std::uint64_t iova = low + below_random(24) * unit + (below_random(3) == 0 ? below_random(5) * kPageSize : 0);
    iova = std::min(iova, this->top() - (bytes - 1));
    const std::uint64_t pa =
        unit != kGiB && below_random(4) == 0 ? below_random(1 << 16) * kPageSize : iova % (2 * kGiB);
    return {iova & ~(kPageSize - 1), pa, bytes};
  }

  void compare(const PlainMap& plain) {
    const auto leaves = this->leaves();
    ASSERT_EQ(leaves.size(), plain.pages().size());
    auto page = plain.pages().begin();
    for (const Leaf& leaf : leaves) {
      ASSERT_EQ(leaf.iova.value, page->first);
      ASSERT_EQ(leaf.pa.value, page->second.pa);
      ASSERT_EQ(leaf.bytes, page->second.bytes);
      ASSERT_EQ(leaf.prot, page->second.prot);
      ++page;
    }
  }

  // No table is kept without need: as many as the pages of the oracle touch.
  std::uint64_t tables_for(const PlainMap& plain) const {
    std::set<std::pair<unsigned, std::uint64_t>> needed;
    for (const auto& [iova, page] : plain.pages()) {
      const auto leaf_level = static_cast<unsigned>(std::countr_zero(page.bytes) - 12) / 9;
      for (unsigned level = leaf_level; level < this->table.top_level(); ++level)
        needed.emplace(level, iova >> (12 + 9 * (level + 1)));
    }
    return needed.size() + this->shape.root_tables;
  }

  void run(std::uint64_t seed) {
    random_.seed(seed);
    PlainMap plain(this->table.page_sizes());
    for (unsigned step = 0; step < 400; ++step) {
      const Request r = request();
      const Prot prot{.read = true, .write = below_random(2) == 0};
      if (below_random(5) < 3) {
        const bool mapped = plain.map(r.iova, r.pa, r.bytes, prot);
        ASSERT_EQ(this->map(r.iova, r.pa, r.bytes, prot), mapped ? 0 : EEXIST) << "step " << step;
      } else {
        const std::uint64_t reach = below_random(20) == 0 ? 64 : 1;
        ASSERT_EQ(this->unmap(r.iova, r.bytes * reach), plain.unmap(r.iova, r.bytes * reach)) << "step " << step;
      }
      for (const std::uint64_t at : {r.iova, r.iova + r.bytes - 1, r.iova + below_random(r.bytes)})
        ASSERT_EQ(this->phys(at), plain.find(at)) << "step " << step;
      if (step % 100 == 0) {
        compare(plain);
        ASSERT_EQ(this->tables(), tables_for(plain));
      }
    }
    compare(plain);
    ASSERT_EQ(this->tables(), tables_for(plain));
    this->unmap(0, ~std::uint64_t{0});
    ASSERT_EQ(this->tables(), this->shape.root_tables);
  }

 private:
  std::mt19937_64 random_;
};
TYPED_TEST_SUITE(RandomOperations, AllCases, CaseName);

TYPED_TEST(RandomOperations, BehaveLikeAPlainMapOfPages) {
  for (std::uint64_t seed = 1; seed <= 2 && !this->HasFatalFailure(); ++seed) {
    SCOPED_TRACE(seed);
    this->run(seed);
  }
}

}  // namespace softiommu::pt
