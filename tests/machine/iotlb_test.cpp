// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/iotlb.h"

#include <gtest/gtest.h>

#include <atomic>
#include <compare>
#include <random>
#include <set>
#include <thread>

namespace softiommu {
namespace {

class IotlbTest : public testing::Test {
 protected:
  static Translation page(std::uint64_t pa, std::uint8_t lg2 = 12) {
    return {.page = PhysAddr{pa}, .page_lg2 = lg2, .read = true, .write = false};
  }
  void fill(std::uint64_t space, std::uint64_t iova, const Translation& translation) {
    iotlb_.insert(iotlb_.ticket(), space, Iova{iova}, translation);
  }
  bool has(std::uint64_t space, std::uint64_t iova) const { return iotlb_.look_up(space, Iova{iova}).has_value(); }

  Iotlb iotlb_;
};

TEST_F(IotlbTest, FindsWhatWasInsertedAnywhereInThePage) {
  fill(1, 0x4000, page(0x9000));
  const auto found = iotlb_.look_up(1, Iova{0x4fff});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->page, PhysAddr{0x9000});
  EXPECT_EQ(found->page_lg2, 12);
  EXPECT_TRUE(found->read && !found->write && found->cacheable);
  EXPECT_FALSE(has(1, 0x5000));
  EXPECT_FALSE(has(2, 0x4000));
}

TEST_F(IotlbTest, AllPageSizesLiveSideBySide) {
  fill(1, 0, page(0, 12));
  fill(1, 0x1'0000, page(0x1'0000, 16));
  fill(1, 2 * kMiB, page(2 * kMiB, 21));
  fill(1, kGiB, page(kGiB, 30));
  fill(1, std::uint64_t{1} << 39, page(0, 39));
  EXPECT_TRUE(has(1, 0xfff));
  EXPECT_TRUE(has(1, 0x1'ffff));
  EXPECT_TRUE(has(1, 4 * kMiB - 1));
  EXPECT_TRUE(has(1, 2 * kGiB - 1));
  EXPECT_TRUE(has(1, (std::uint64_t{2} << 39) - 1));
  EXPECT_FALSE(has(1, 0x2000));
}

TEST_F(IotlbTest, ATopPageIsAPageLikeOthers) {
  fill(1, ~std::uint64_t{0xfff}, page(0x9000));
  EXPECT_TRUE(has(1, ~std::uint64_t{0}));
  iotlb_.invalidate_range(1, {Iova{~std::uint64_t{0}}, Iova{~std::uint64_t{0}}});
  EXPECT_FALSE(has(1, ~std::uint64_t{0}));
}

TEST_F(IotlbTest, RangeInvalidationTakesWhatOverlapsAndNothingElse) {
  for (std::uint64_t iova = 0; iova < 0x8000; iova += 0x1000) fill(1, iova, page(iova));
  fill(2, 0x3000, page(0));
  fill(1, 2 * kMiB, page(0, 21));
  iotlb_.invalidate_range(1, {Iova{0x2fff}, Iova{0x4000}});
  EXPECT_TRUE(has(1, 0x1000));
  EXPECT_FALSE(has(1, 0x2000));
  EXPECT_FALSE(has(1, 0x3000));
  EXPECT_FALSE(has(1, 0x4000));
  EXPECT_TRUE(has(1, 0x5000));
  EXPECT_TRUE(has(2, 0x3000));
  EXPECT_TRUE(has(1, 2 * kMiB));
  iotlb_.invalidate_range(1, {Iova{3 * kMiB}, Iova{3 * kMiB}});
  EXPECT_FALSE(has(1, 2 * kMiB)) << "one byte inside takes the large page";
}

TEST_F(IotlbTest, AHugeRangeIsInvalidatedWithoutLookingAtEachPage) {
  fill(1, 0x1000, page(0));
  fill(1, std::uint64_t{1} << 60, page(0));
  fill(2, 0x1000, page(0));
  iotlb_.invalidate_range(1, {Iova{0}, Iova{~std::uint64_t{0}}});
  EXPECT_FALSE(has(1, 0x1000));
  EXPECT_FALSE(has(1, std::uint64_t{1} << 60));
  EXPECT_TRUE(has(2, 0x1000));
}

TEST_F(IotlbTest, SpacesAreInvalidatedExactlyOrByMask) {
  constexpr std::uint64_t kHigh = 0xffff'0000;
  fill(0x1'0001, 0, page(0));
  fill(0x1'0002, 0, page(0));
  fill(0x2'0001, 0, page(0));
  iotlb_.invalidate_space(0x1'0001);
  EXPECT_FALSE(has(0x1'0001, 0));
  EXPECT_TRUE(has(0x1'0002, 0));
  iotlb_.invalidate_masked_range(kHigh, 0x1'0000, {Iova{0x1000}, Iova{0x1fff}});
  EXPECT_TRUE(has(0x1'0002, 0));
  iotlb_.invalidate_masked_range(kHigh, 0x1'0000, {Iova{0}, Iova{0}});
  EXPECT_FALSE(has(0x1'0002, 0));
  iotlb_.invalidate_masked(kHigh, 0x1'0000);
  EXPECT_TRUE(has(0x2'0001, 0));
  iotlb_.invalidate_all();
  EXPECT_FALSE(has(0x2'0001, 0));
}

TEST_F(IotlbTest, ForgottenInvalidationLeavesTheOldTranslation) {
  fill(1, 0x4000, page(0x9000));
  iotlb_.invalidate_range(1, {Iova{0x5000}, Iova{0x5fff}});
  EXPECT_EQ(iotlb_.look_up(1, Iova{0x4000})->page, PhysAddr{0x9000});
}

TEST_F(IotlbTest, AnInvalidationDuringTheWalkVoidsItsTicket) {
  const Iotlb::Ticket ticket = iotlb_.ticket();
  iotlb_.invalidate_range(1, {Iova{0x4000}, Iova{0x4fff}});
  iotlb_.insert(ticket, 1, Iova{0x4000}, page(0x9000));
  EXPECT_FALSE(has(1, 0x4000));
  fill(1, 0x4000, page(0xa000));
  EXPECT_TRUE(has(1, 0x4000));
}

TEST_F(IotlbTest, InsertReplacesTheSamePage) {
  fill(1, 0x4000, page(0x9000));
  fill(1, 0x4000, page(0xa000));
  EXPECT_EQ(iotlb_.look_up(1, Iova{0x4000})->page, PhysAddr{0xa000});
  iotlb_.invalidate_range(1, {Iova{0x4000}, Iova{0x4000}});
  EXPECT_FALSE(has(1, 0x4000));
}

// ---- against a plain model

// Random entries of three page sizes in a few spaces, each size in a part of the address space of its own, so that
// nothing hides behind a smaller page.
class IotlbModel : public IotlbTest {
 protected:
  struct Key {
    std::uint64_t space, iova;
    std::uint8_t lg2;
    auto operator<=>(const Key&) const = default;
    IovaRange range() const { return IovaRange::of(Iova{iova}, std::uint64_t{1} << lg2); }
  };
  Key random_key() {
    constexpr std::uint8_t kLg2[] = {12, 21, 30};
    const std::uint8_t lg2 = kLg2[random() % 3];
    const std::uint64_t pages = lg2 == 12 ? 6000 : 300;
    return {random() % 5 << 16 | random() % 3, (std::uint64_t{lg2} << 40) + (random() % pages << lg2), lg2};
  }
  static std::uint64_t pa_of(const Key& key) { return key.iova ^ key.space << 45; }
  void fill_random() {
    const Key key = random_key();
    fill(key.space, key.iova, page(pa_of(key), key.lg2));
    known_.insert(key);
  }
  // What of the known entries is there; the others have been evicted.
  std::set<Key> present() {
    std::erase_if(known_, [this](const Key& key) {
      const auto found = iotlb_.look_up(key.space, key.range().last);
      if (found) {
        EXPECT_EQ(found->page.value, pa_of(key));
        EXPECT_EQ(found->page_lg2, key.lg2);
      }
      return !found;
    });
    return known_;
  }
  // Runs an invalidation: exactly the entries that it means are gone.
  void expect_exact(auto invalidate, auto meant) {
    std::set<Key> expected = present();
    std::erase_if(expected, meant);
    invalidate();
    EXPECT_EQ(present(), expected);
  }
  std::uint64_t random() { return random_(); }

  std::mt19937_64 random_{1};
  std::set<Key> known_;
};

TEST_F(IotlbModel, AnInsertEvictsAtMostOneEntry) {
  for (int i = 0; i < 300; ++i) fill_random();
  for (int i = 0; i < 300; ++i) {
    const std::size_t before = present().size();
    fill_random();
    ASSERT_GE(present().size() + 1, before);
  }
}

TEST_F(IotlbModel, InvalidationsTakeWhatTheyMeanAndNothingElse) {
  constexpr std::uint64_t kHigh = ~std::uint64_t{0xffff};
  for (int round = 0; round < 400; ++round) {
    for (std::uint64_t i = random() % 64; i > 0; --i) fill_random();
    const Key key = random_key();
    const std::uint64_t bytes = std::uint64_t{1} << random() % 36;
    const IovaRange range = IovaRange::of(Iova{key.iova + random() % kPageSize}, bytes);
    switch (random() % 8) {
      case 0:
        expect_exact([&] { iotlb_.invalidate_space(key.space); }, [&](const Key& k) { return k.space == key.space; });
        break;
      case 1:
        expect_exact([&] { iotlb_.invalidate_masked(kHigh, key.space & kHigh); },
                     [&](const Key& k) { return (k.space & kHigh) == (key.space & kHigh); });
        break;
      case 2:
        expect_exact(
            [&] { iotlb_.invalidate_masked_range(kHigh, key.space & kHigh, range); },
            [&](const Key& k) { return (k.space & kHigh) == (key.space & kHigh) && k.range().overlaps(range); });
        break;
      default:
        expect_exact([&] { iotlb_.invalidate_range(key.space, range); },
                     [&](const Key& k) { return k.space == key.space && k.range().overlaps(range); });
    }
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
  expect_exact([&] { iotlb_.invalidate_all(); }, [](const Key&) { return true; });
}

TEST_F(IotlbModel, ATicketIsVoidAfterAnyInvalidationEvenOfAnotherSpace) {
  for (int i = 0; i < 200; ++i) {
    const Iotlb::Ticket ticket = iotlb_.ticket();
    iotlb_.invalidate_range(random_key().space, random_key().range());
    const Key key = random_key();
    iotlb_.insert(ticket, key.space, Iova{key.iova}, page(pa_of(key), key.lg2));
    ASSERT_FALSE(has(key.space, key.iova));
  }
}

TEST_F(IotlbTest, AReaderNeverSeesAMixtureOfTwoEntries) {
  // Two spaces fight for the same place; in each, the physical page is a function of space and page.
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (std::uint64_t i = 0; i < 50'000; ++i) {
      const std::uint64_t space = i % 7, iova = (i % 3) << 24;
      fill(space, iova, page((space << 40) | iova));
      if (i % 16 == 0) iotlb_.invalidate_space(space);
    }
    stop = true;
  });
  std::uint64_t wrong = 0;
  while (!stop) {
    for (std::uint64_t i = 0; i < 21; ++i) {
      const std::uint64_t space = i % 7, iova = (i % 3) << 24;
      const auto found = iotlb_.look_up(space, Iova{iova});
      if (found && found->page.value != ((space << 40) | iova)) ++wrong;
    }
  }
  writer.join();
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace softiommu
