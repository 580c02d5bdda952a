// SPDX-License-Identifier: BSD-3-Clause
// Dirty state, for every format in every configuration that tracks it.
#include "format_suite.h"

namespace softiommu::pt {

template <class C>
class DirtyState : public FormatSuite<C> {
 protected:
  using Pages = std::vector<std::uint64_t>;
};
TYPED_TEST_SUITE(DirtyState, DirtyCases, CaseName);

TYPED_TEST(DirtyState, FreshMappingsAreClean) {
  ASSERT_EQ(this->map(0, 0, 4 * kMiB), 0);
  EXPECT_TRUE(this->dirty_pages(0, kGiB, true).empty());
  EXPECT_TRUE(this->gather.empty());
}

TYPED_TEST(DirtyState, ReadingLeavesPagesDirtyAndClearingMakesThemClean) {
  ASSERT_EQ(this->map(0, kPageSize, 2 * kMiB), 0);
  this->dirty(0x3000);
  this->dirty(0x4000);
  const typename TestFixture::Pages both{0x3000, 0x4000};
  EXPECT_EQ(this->dirty_pages(0, 2 * kMiB, false), both);
  EXPECT_EQ(this->dirty_pages(0, 2 * kMiB, true), both);
  EXPECT_EQ(this->gather.range(), IovaRange::of(Iova{0x3000}, 0x2000));
  EXPECT_TRUE(this->dirty_pages(0, 2 * kMiB, true).empty());
  this->dirty(0x3000);
  EXPECT_EQ(this->dirty_pages(0, 2 * kMiB, false).size(), 1u);
}

TYPED_TEST(DirtyState, ClearingKeepsTranslationAndRights) {
  ASSERT_EQ(this->map(0x1000, 0x9000, 0x1000), 0);
  const Prot before = this->table.lookup(Iova{0x1000})->prot;
  this->dirty(0x1000);
  EXPECT_EQ(this->table.lookup(Iova{0x1000})->prot, before);
  this->dirty_pages(0, 0x2000, true);
  EXPECT_EQ(this->table.lookup(Iova{0x1000})->prot, before);
  EXPECT_EQ(this->phys(0x1000), 0x9000u);
}

TYPED_TEST(DirtyState, OnlyTheRangeIsReadAndCleared) {
  ASSERT_EQ(this->map(0, kPageSize, 2 * kMiB), 0);
  for (const std::uint64_t page : {0x3fu, 0x40u, 0x41u, 0x80u}) this->dirty(page << 12);
  EXPECT_EQ(this->dirty_pages(0x40000, 0x2000, true), (typename TestFixture::Pages{0x40000, 0x41000}));
  EXPECT_EQ(this->dirty_pages(0, 2 * kMiB, false), (typename TestFixture::Pages{0x3f000, 0x80000}));
}

TYPED_TEST(DirtyState, NeighboursAreReportedAsOneRunAcrossTables) {
  ASSERT_EQ(this->map(0, kPageSize, 4 * kMiB), 0);
  for (std::uint64_t at = 0; at < 4 * kMiB; at += kPageSize) this->dirty(at);
  unsigned runs = 0;
  this->table.read_dirty(this->table.aperture(), true, [&](Iova first, std::uint64_t bytes) {
    EXPECT_EQ(IovaRange::of(first, bytes), IovaRange::of(Iova{0}, 4 * kMiB));
    ++runs;
  });
  EXPECT_EQ(runs, 1u);
}

TYPED_TEST(DirtyState, ALargePageIsDirtyAsAWholeAndStaysSoWhenReadInPart) {
  const std::uint64_t size = this->largest_page();
  if (size == kPageSize) GTEST_SKIP() << "no large pages in this configuration";
  ASSERT_EQ(this->map(size, 0, size), 0);
  this->dirty(size);
  EXPECT_EQ(this->dirty_pages(size + 0x1000, 0x2000, true),
            (typename TestFixture::Pages{size + 0x1000, size + 0x2000}));
  EXPECT_EQ(this->dirty_pages(0, 3 * size, true).size(), size >> 12);
  EXPECT_TRUE(this->dirty_pages(0, 3 * size, true).empty());
}

TYPED_TEST(DirtyState, TheTopOfTheApertureIsRead) {
  const std::uint64_t last_page = this->top() - 0xfff;
  ASSERT_EQ(this->map(last_page, 0, 0x1000), 0);
  this->dirty(last_page);
  EXPECT_EQ(this->dirty_pages(last_page, 0x1000, true), (typename TestFixture::Pages{last_page}));
}

TEST(UntrackedDirtyState, IsNeverReported) {
  Arena memory;
  auto table = PageTable<X86_64>::create(memory, {});
  ASSERT_TRUE(table->map(Iova{0}, PhysAddr{0}, kPageSize, {.read = true, .write = true}));  // born with D set
  table->read_dirty(table->aperture(), true, [](Iova, std::uint64_t) { FAIL(); });
}

}  // namespace softiommu::pt
