// SPDX-License-Identifier: BSD-3-Clause
// Laws of map, unmap and look-up, for every format in every configuration.
#include "pt/page_table.h"

#include "format_suite.h"

namespace softiommu::pt {

template <class C>
class PageTableLaws : public FormatSuite<C> {};
TYPED_TEST_SUITE(PageTableLaws, AllCases, CaseName);

TYPED_TEST(PageTableLaws, EncodeThenDecodeIsIdentity) {
  using F = typename TypeParam::Format;
  unsigned expressed = 0;
  for (unsigned i = 0; i < 16; ++i) {
    const Prot prot{(i & 1) != 0, (i & 2) != 0, (i & 4) != 0, (i & 8) != 0};
    const auto attributes = F::attributes(TypeParam::kConfig, prot);
    if (!attributes) continue;
    ++expressed;
    for (unsigned level = 0; level < 3; ++level) {
      const PhysAddr pa{this->largest_page() * 3};
      const std::uint64_t leaf = F::leaf(*attributes, pa, level);
      EXPECT_EQ(F::prot(TypeParam::kConfig, leaf), prot);
      EXPECT_EQ(F::address(leaf), pa);
      EXPECT_TRUE(level == 0 || !F::is_table(leaf, level));
      EXPECT_FALSE(this->shape.dirty.is_dirty(leaf));
    }
  }
  EXPECT_GE(expressed, 2u);
  EXPECT_TRUE(F::is_table(F::table(Arena::kFirst), 1));
}

TYPED_TEST(PageTableLaws, AMappedPageTranslatesAndItsNeighboursDoNot) {
  ASSERT_EQ(this->map(0x5000, 0x1234000, 0x1000), 0);
  EXPECT_EQ(this->phys(0x5fff), 0x1234fffu);
  EXPECT_EQ(this->phys(0x4fff), std::nullopt);
  EXPECT_EQ(this->phys(0x6000), std::nullopt);
  EXPECT_EQ(this->unmap(0x5000, 0x1000), 0x1000u);
  EXPECT_EQ(this->phys(0x5000), std::nullopt);
}

TYPED_TEST(PageTableLaws, TheFirstAndTheLastPageOfTheApertureCanBeMapped) {
  const std::uint64_t last_page = this->top() - 0xfff;
  ASSERT_EQ(this->map(0, 0x1000, 0x1000), 0);
  ASSERT_EQ(this->map(last_page, 0x2000, 0x1000), 0);
  EXPECT_EQ(this->phys(this->top()), 0x2fffu);
  EXPECT_EQ(this->phys(this->top() + 1), std::nullopt);
  EXPECT_EQ(this->unmap(last_page, 0x1000), 0x1000u);
  EXPECT_EQ(this->unmap(0, ~std::uint64_t{0}), 0x1000u);
}

TYPED_TEST(PageTableLaws, AddressesOutsideTheApertureAreRefused) {
  EXPECT_EQ(this->map(this->top() + 1, 0, 0x1000), EINVAL);
  EXPECT_EQ(this->map(this->top() - 0xfff, 0, 0x2000), EINVAL);
  EXPECT_EQ(this->map(~std::uint64_t{0xfff}, 0, 0x1000), EINVAL);
  EXPECT_EQ(this->map(0, ~std::uint64_t{0} << this->shape.output_bits, 0x1000), EINVAL);
  EXPECT_EQ(this->map(0, (std::uint64_t{1} << this->shape.output_bits) - 0x1000, 0x2000), EINVAL);
  EXPECT_EQ(this->unmap(this->top() + 1, 0x1000), 0u);
  EXPECT_EQ(this->tables(), this->shape.root_tables);
}

TYPED_TEST(PageTableLaws, PartsOfPagesAndNothingAreRefused) {
  EXPECT_EQ(this->map(0x800, 0, 0x1000), EINVAL);
  EXPECT_EQ(this->map(0, 0x800, 0x1000), EINVAL);
  EXPECT_EQ(this->map(0, 0, 0x800), EINVAL);
  EXPECT_EQ(this->map(0, 0, 0), EINVAL);
  EXPECT_EQ(this->unmap(0, 0), 0u);
}

TYPED_TEST(PageTableLaws, RightsThatCannotBeExpressedAreRefusedAndOthersAreKept) {
  using F = typename TypeParam::Format;
  for (unsigned i = 0; i < 16; ++i) {
    const Prot prot{(i & 1) != 0, (i & 2) != 0, (i & 4) != 0, (i & 8) != 0};
    const bool expressible = F::attributes(TypeParam::kConfig, prot).has_value();
    EXPECT_EQ(this->map(0x1000, 0x1000, 0x1000, prot), expressible ? 0 : EINVAL);
    if (expressible) {
      EXPECT_EQ(this->table.lookup(Iova{0x1000})->prot, prot);
    }
    this->unmap(0x1000, 0x1000);
  }
}

TYPED_TEST(PageTableLaws, LargePagesAreUsedWhereTheyFit) {
  if (!this->has(2 * kMiB)) GTEST_SKIP() << "no large pages in this configuration";
  // From one small page below a 2M boundary to one above the next but one.
  ASSERT_EQ(this->map(2 * kMiB - kPageSize, 32 * kMiB - kPageSize, 4 * kMiB + 2 * kPageSize), 0);
  EXPECT_EQ(this->page_sizes_used(), (std::vector<std::uint64_t>{kPageSize, 2 * kMiB, kPageSize}));
  EXPECT_EQ(this->phys(5 * kMiB + 5), 35 * kMiB + 5);
}

TYPED_TEST(PageTableLaws, PhysicalAddressesThatDoNotAgreeForbidLargePages) {
  ASSERT_EQ(this->map(0, kPageSize, 4 * kMiB), 0);
  EXPECT_EQ(this->page_sizes_used(), (std::vector<std::uint64_t>{kPageSize}));
}

TYPED_TEST(PageTableLaws, TheLargestPageIsOneEntry) {
  const std::uint64_t size = this->largest_page();
  ASSERT_EQ(this->map(size, 0, size), 0);
  ASSERT_EQ(this->leaves().size(), 1u);
  EXPECT_EQ(this->phys(2 * size - 1), size - 1);
}

TYPED_TEST(PageTableLaws, ALargePageThatReachesOutIsUnmappedWhole) {
  const std::uint64_t size = this->largest_page();
  if (size == kPageSize) GTEST_SKIP() << "no large pages in this configuration";
  ASSERT_EQ(this->map(0, 0, 2 * size), 0);
  EXPECT_EQ(this->table.unmap(Iova{size - kPageSize}, 2 * kPageSize, this->gather), 2 * size);
  EXPECT_EQ(this->gather.range(), IovaRange::of(Iova{0}, 2 * size));
  EXPECT_EQ(this->phys(0), std::nullopt);
  this->gather.release(this->memory);
}

TYPED_TEST(PageTableLaws, APageThatIsMappedAlreadyLeavesTheTableAsItWas) {
  ASSERT_EQ(this->map(3 * kMiB, 0, kPageSize), 0);
  const std::uint64_t before = this->tables();
  EXPECT_EQ(this->map(3 * kMiB, kMiB, kPageSize), EEXIST);
  EXPECT_EQ(this->map(3 * kMiB - kPageSize, kMiB, 3 * kPageSize), EEXIST);
  EXPECT_EQ(this->map(0, 0, 32 * kMiB), EEXIST);
  EXPECT_EQ(this->map(kPageSize, 0, 3 * kMiB), EEXIST);
  EXPECT_EQ(this->map(3 * kMiB, 0, kGiB), EEXIST);
  EXPECT_EQ(this->leaves().size(), 1u);
  EXPECT_EQ(this->tables(), before);
}

TYPED_TEST(PageTableLaws, NothingFitsIntoALargePage) {
  const std::uint64_t size = this->largest_page();
  ASSERT_EQ(this->map(size, 0, size), 0);
  EXPECT_EQ(this->map(size, 0, kPageSize), EEXIST);
  EXPECT_EQ(this->map(2 * size - kPageSize, 0, 2 * kPageSize), EEXIST);
  EXPECT_EQ(this->map(size - kPageSize, 0, 2 * kPageSize), EEXIST);
}

TYPED_TEST(PageTableLaws, UnmapSkipsHolesAndCountsExactly) {
  ASSERT_EQ(this->map(0x1000, 0x1000, 0x3000), 0);
  ASSERT_EQ(this->map(kGiB - 0x2000, 0x1000, 0x4000), 0);
  EXPECT_EQ(this->unmap(0x2000, 0x1000), 0x1000u);
  EXPECT_EQ(this->unmap(0x2000, 0x1000), 0u);
  EXPECT_EQ(this->unmap(0, 3 * kGiB), 0x6000u);
  EXPECT_EQ(this->tables(), this->shape.root_tables);
}

TYPED_TEST(PageTableLaws, EmptiedTablesAreGatheredAndKeptUntilTheirRelease) {
  ASSERT_EQ(this->map(0x5000, 0, 0x1000), 0);
  const std::uint64_t before = this->tables();
  this->table.unmap(Iova{0x5000}, 0x1000, this->gather);
  EXPECT_TRUE(this->gather.tables_freed());
  EXPECT_EQ(this->gather.range(), IovaRange::of(Iova{0x5000}, 0x1000));
  EXPECT_EQ(this->tables(), before);
  this->gather.release(this->memory);
  EXPECT_TRUE(this->gather.empty());
  EXPECT_EQ(this->tables(), this->shape.root_tables);
}

TYPED_TEST(PageTableLaws, ATableWithANeighbourIsNotFreed) {
  ASSERT_EQ(this->map(0x5000, 0, 0x2000), 0);
  this->table.unmap(Iova{0x5000}, 0x1000, this->gather);
  EXPECT_FALSE(this->gather.tables_freed());
  EXPECT_FALSE(this->gather.empty());
  EXPECT_EQ(this->phys(0x6000), 0x1000u);
}

TYPED_TEST(PageTableLaws, UnmappingNothingGathersNothing) {
  ASSERT_EQ(this->map(0x5000, 0, 0x1000), 0);
  this->table.unmap(Iova{0x6000}, kGiB, this->gather);
  this->table.unmap(Iova{0x4000}, 0x1000, this->gather);
  EXPECT_TRUE(this->gather.empty());
}

TYPED_TEST(PageTableLaws, AGatherUnitesRanges) {
  ASSERT_EQ(this->map(0, 0, 0x10000), 0);
  this->table.unmap(Iova{0x8000}, 0x1000, this->gather);
  this->table.unmap(Iova{0x2000}, 0x2000, this->gather);
  EXPECT_EQ(this->gather.range(), IovaRange::of(Iova{0x2000}, 0x7000));
}

TYPED_TEST(PageTableLaws, ALargePageCanFollowSmallOnes) {
  const std::uint64_t size = this->largest_page();
  ASSERT_EQ(this->map(size, size + 0x1000, std::min(size, 8 * kMiB)), 0);
  ASSERT_EQ(this->unmap(size, size), std::min(size, 8 * kMiB));
  ASSERT_EQ(this->map(size, size, size), 0);
  EXPECT_EQ(this->leaves().size(), 1u);
}

TYPED_TEST(PageTableLaws, AFailedAllocationLeavesNoTrace) {
  ASSERT_EQ(this->map(kPageSize, 0, kPageSize), 0);
  const std::uint64_t before = this->tables(), iova = kGiB - 4 * kMiB - kPageSize;
  unsigned failures = 0;
  for (std::uint64_t nth = 1;; ++nth) {
    fault::fail_nth(nth);
    const int error = this->map(iova, 0x3000, 8 * kMiB + 3 * kPageSize);
    const bool struck = fault::struck();
    fault::disarm();
    if (!struck) {
      EXPECT_EQ(error, 0);
      break;
    }
    EXPECT_EQ(error, ENOMEM);
    EXPECT_EQ(this->tables(), before);
    EXPECT_EQ(this->leaves().size(), 1u);
    ++failures;
  }
  EXPECT_GE(failures, 6u);  // six leaf tables at least
  EXPECT_EQ(this->phys(iova + 8 * kMiB), 0x3000 + 8 * kMiB);
}

TYPED_TEST(PageTableLaws, AFullArenaIsNoMemoryAndNothingIsKept) {
  Arena small((this->shape.root_tables * 2 + 8) * kPageSize);
  auto other = PageTable<typename TypeParam::Format>::create(small, TypeParam::kConfig);
  ASSERT_TRUE(other);
  const auto failed = other->map(Iova{0}, PhysAddr{kPageSize}, 64 * kMiB, {.read = true, .write = true});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ENOMEM);
  EXPECT_EQ(small.allocated_pages(), this->shape.root_tables);
  EXPECT_TRUE(other->map(Iova{0}, PhysAddr{kPageSize}, 2 * kMiB, {.read = true, .write = true}));
}

TYPED_TEST(PageTableLaws, CreateWithoutMemoryFails) {
  fault::fail_nth(1);
  const auto other = PageTable<typename TypeParam::Format>::create(this->memory, TypeParam::kConfig);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ENOMEM);
}

TYPED_TEST(PageTableLaws, DestructionFreesEverything) {
  {
    auto other = PageTable<typename TypeParam::Format>::create(this->memory, TypeParam::kConfig);
    ASSERT_TRUE(other->map(Iova{kPageSize}, PhysAddr{0}, 3 * kGiB, {.read = true, .write = true}));
    auto moved = std::move(*other);
    EXPECT_EQ(moved.iova_to_phys(Iova{3 * kGiB}), PhysAddr{3 * kGiB - kPageSize});
  }
  EXPECT_EQ(this->tables(), this->shape.root_tables);
}

TYPED_TEST(PageTableLaws, RecycledTablesShowNothingOld) {
  ASSERT_EQ(this->map(0, kPageSize, 16 * kMiB), 0);
  ASSERT_EQ(this->unmap(0, 16 * kMiB), 16 * kMiB);
  for (std::uint64_t iova = 0; iova < 16 * kMiB; iova += 2 * kMiB) ASSERT_EQ(this->map(iova, 0, kPageSize), 0);
  EXPECT_EQ(this->leaves().size(), 8u);
}

TYPED_TEST(PageTableLaws, AWalkShowsPagesInOrderWithinTheRange) {
  ASSERT_EQ(this->map(0x3000, 0x8000, 0x3000), 0);
  std::vector<std::uint64_t> seen;
  this->table.walk({Iova{0x4fff}, Iova{0x5000}}, [&](const Leaf& leaf) { seen.push_back(leaf.iova.value); });
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{0x4000, 0x5000}));
}

}  // namespace softiommu::pt
