// SPDX-License-Identifier: BSD-3-Clause
// Pages that several hold: pinned once, counted once, wherever the holds begin and end.
#include "iommufd/pages.h"

#include "base/fault.h"
#include "rig.h"

namespace softiommu::test {
namespace {

class PagesTest : public ::testing::Test {
 protected:
  void SetUp() override { memory_ = *Memory::create({}); }
  iommufd::PagesRef pages_at(std::uint64_t user, iommufd::Accounting mode = iommufd::Accounting::process) {
    return iommufd::PagesRef::make(iommufd::Account(program_, user_, limit_, mode), *memory_, user, true);
  }
  // How many physically contiguous pieces the bytes are, and that they are all of them.
  static unsigned runs(const iommufd::PagesRef& pages, std::uint64_t start, std::uint64_t bytes) {
    unsigned count = 0;
    std::uint64_t sum = 0;
    EXPECT_TRUE(pages->for_each_run(start, bytes, [&](PhysRun run) -> Result<> {
      ++count;
      sum += run.bytes;
      return {};
    }));
    EXPECT_EQ(sum, bytes);
    return count;
  }
  std::uint64_t pinned() const { return memory_->pinned_pages(); }

  std::shared_ptr<FakeProgram> program_ = std::make_shared<FakeProgram>();
  LockedMemory user_;
  MemlockLimit limit_;
  std::unique_ptr<Memory> memory_;
  Pages host_{8};
  static constexpr std::uint64_t kPage = kPageSize;
};

TEST_F(PagesTest, OverlappingHoldsPinAPageOnce) {
  const auto pages = pages_at(host_.address());
  ASSERT_TRUE(pages->hold(0, 4 * kPage));
  ASSERT_TRUE(pages->hold(2 * kPage, 4 * kPage));
  EXPECT_EQ(pinned(), 6U);
  EXPECT_EQ(memory_->pins(host_.address() + 3 * kPage), 1U);
  pages->let_go(0, 4 * kPage);
  EXPECT_EQ(pinned(), 4U);
  EXPECT_EQ(program_->locked().pages(), 4U);
  pages->let_go(2 * kPage, 4 * kPage);
  EXPECT_EQ(pinned(), 0U);
}

TEST_F(PagesTest, EqualHoldsAreCounted) {
  const auto pages = pages_at(host_.address());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(pages->hold(kPage, kPage));
  pages->let_go(kPage, kPage);
  pages->let_go(kPage, kPage);
  EXPECT_EQ(pinned(), 1U);
  pages->let_go(kPage, kPage);
  EXPECT_EQ(pinned(), 0U);
}

TEST_F(PagesTest, AHoleInTheMiddleIsFilled) {
  const auto pages = pages_at(host_.address());
  ASSERT_TRUE(pages->hold(0, kPage));
  ASSERT_TRUE(pages->hold(4 * kPage, kPage));
  ASSERT_TRUE(pages->hold(0, 8 * kPage));
  EXPECT_EQ(pinned(), 8U);
  EXPECT_EQ(runs(pages, 0, 8 * kPage), 1U) << "what touches in memory is one piece";
  pages->let_go(0, 8 * kPage);
  EXPECT_EQ(pinned(), 2U);
  pages->let_go(0, kPage);
  pages->let_go(4 * kPage, kPage);
}

TEST_F(PagesTest, BytesInsideOfPagesHoldThem) {
  const auto pages = pages_at(host_.address() + 100);
  ASSERT_TRUE(pages->hold(0, kPage));
  EXPECT_EQ(pinned(), 2U) << "the bytes lie in two pages";
  ASSERT_TRUE(pages->hold(kPage, 10));
  EXPECT_EQ(pinned(), 2U);
  PhysRun first{};
  ASSERT_TRUE(pages->for_each_run(7, 3, [&](PhysRun run) -> Result<> {
    first = run;
    return {};
  }));
  EXPECT_EQ(memory_->host(first.first), reinterpret_cast<std::byte*>(host_.address() + 107));
  EXPECT_EQ(first.bytes, 3U);
  pages->let_go(0, kPage);
  pages->let_go(kPage, 10);
  EXPECT_EQ(pinned(), 0U);
}

TEST_F(PagesTest, AFailureLeavesNothing) {
  const auto pages = pages_at(host_.address());
  ASSERT_TRUE(pages->hold(3 * kPage, kPage));
  limit_ = {MemlockLimit::Kind::bytes, 4 * kPage};
  EXPECT_EQ(pages->hold(0, 8 * kPage).error().code, ENOMEM) << "the second part is over the limit";
  EXPECT_EQ(pinned(), 1U);
  EXPECT_EQ(program_->locked().pages(), 1U);
  ASSERT_EQ(mprotect(host_.at(7 * kPage), kPage, PROT_NONE), 0);
  EXPECT_EQ(pages->hold(5 * kPage, 3 * kPage).error().code, EFAULT) << "the last page cannot be pinned";
  pages->let_go(3 * kPage, kPage);
  EXPECT_EQ(pinned(), 0U);
}

TEST_F(PagesTest, EachFailedStepLeavesNothing) {
  const auto pages = pages_at(host_.address());
  ASSERT_TRUE(pages->hold(3 * kPage, 2 * kPage));
  Result<> done;
  for (unsigned step = 1; step < 20; ++step) {
    fault::fail_nth(step);
    done = pages->hold(0, 8 * kPage);
    const bool struck = fault::struck();
    fault::disarm();
    if (!struck) break;
    EXPECT_FALSE(done) << step;
    EXPECT_EQ(pinned(), 2U) << step;
    EXPECT_EQ(program_->locked().pinned(), 2U) << step;
  }
  EXPECT_TRUE(done);
  pages->let_go(0, 8 * kPage);
  pages->let_go(3 * kPage, 2 * kPage);
}

TEST_F(PagesTest, ThreeWaysToCount) {
  using iommufd::Accounting;
  const auto by_user = pages_at(host_.address(), Accounting::user);
  const auto by_process = pages_at(host_.address() + kPage, Accounting::process);
  const auto by_nobody = pages_at(host_.address() + 2 * kPage, Accounting::none);
  for (const auto& pages : {by_user, by_process, by_nobody}) ASSERT_TRUE(pages->hold(0, kPage));
  EXPECT_EQ(user_.pages(), 1U);
  EXPECT_EQ(program_->locked().pages(), 1U);
  EXPECT_EQ(program_->locked().pinned(), 3U) << "the process shows all of them";
  for (const auto& pages : {by_user, by_process, by_nobody}) pages->let_go(0, kPage);
  EXPECT_EQ(user_.pages() + program_->locked().pages() + program_->locked().pinned(), 0U);
}

TEST_F(PagesTest, AnotherProcessTakesTheCountOver) {
  const auto pages = pages_at(host_.address());
  const auto other = std::make_shared<FakeProgram>();
  ASSERT_TRUE(pages->hold(0, 2 * kPage));
  ASSERT_TRUE(pages->account_to(pages->account().of(other)));
  EXPECT_EQ(program_->locked().pages(), 0U);
  EXPECT_EQ(other->locked().pages(), 2U);
  limit_ = {MemlockLimit::Kind::bytes, kPage};
  EXPECT_EQ(pages->account_to(pages->account().of(program_)).error().code, ENOMEM);
  EXPECT_EQ(other->locked().pinned(), 2U) << "as before";
  pages->let_go(0, 2 * kPage);
  EXPECT_EQ(other->locked().pinned(), 0U);
}

// Holds of all sizes, by chance, against a plain count for each page.
TEST_F(PagesTest, ManyHoldsAreAsACountPerPage) {
  const auto pages = pages_at(host_.address());
  std::vector<std::pair<std::uint64_t, std::uint64_t>> holds;
  std::array<unsigned, 8> count{};
  std::uint64_t seed = 1;
  const auto chance = [&](std::uint64_t below) {
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (seed >> 33) % below;
  };
  for (int step = 0; step < 2000; ++step) {
    const bool add = holds.empty() || (holds.size() < 12 && chance(2) == 0);
    const std::size_t at = add ? holds.size() : chance(holds.size());
    if (add) {
      const std::uint64_t first = chance(8), many = 1 + chance(8 - first);
      holds.emplace_back(first, many);
    }
    const auto [first, many] = holds[at];
    for (std::uint64_t page = first; page < first + many; ++page) count[page] += add ? 1U : ~0U;
    if (add) {
      ASSERT_TRUE(pages->hold(first * kPage, many * kPage));
      EXPECT_EQ(runs(pages, first * kPage, many * kPage), 1U);
    } else {
      pages->let_go(first * kPage, many * kPage);
      holds.erase(holds.begin() + static_cast<std::ptrdiff_t>(at));
    }
    for (std::uint64_t page = 0; page < 8; ++page)
      ASSERT_EQ(memory_->pins(host_.address() + page * kPage), count[page] != 0 ? 1U : 0U) << step;
  }
  for (const auto& [first, many] : holds) pages->let_go(first * kPage, many * kPage);
  EXPECT_EQ(pinned(), 0U);
}

}  // namespace
}  // namespace softiommu::test
