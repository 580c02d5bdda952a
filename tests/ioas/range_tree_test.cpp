// SPDX-License-Identifier: BSD-3-Clause
// The oracle is a std::map of first to last address, and a search that tries every hole.
#include "ioas/range_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>

#include "base/fault.h"

namespace softiommu {
namespace {

using Prefer = HoleRequest::Prefer;
constexpr std::uint64_t kTop = std::numeric_limits<std::uint64_t>::max();

IovaRange range(std::uint64_t first, std::uint64_t last) { return {Iova{first}, Iova{last}}; }

// A tree and a plain map side by side.
class Both : public ::testing::Test {
 protected:
  bool insert(std::uint64_t first, std::uint64_t last) {
    const auto done = tree.insert(range(first, last), [] { return Result<void*>(nullptr); });
    if (done) {
      plain[first] = last;
    } else {
      EXPECT_EQ(done.error().code, EEXIST);
    }
    return done.has_value();
  }
  bool overlaps(std::uint64_t first, std::uint64_t last) const {
    const auto above = plain.upper_bound(last);
    return above != plain.begin() && std::prev(above)->second >= first;
  }
  // The range that ends at or after `at` goes; says whether the tree found the right ones.
  bool erase(std::uint64_t at) {
    auto expected = plain.upper_bound(at);
    if (expected != plain.begin() && std::prev(expected)->second >= at) --expected;
    const auto found = tree.seek(Iova{at});
    if (!found || expected == plain.end()) return !found && expected == plain.end();
    if (found.range() != range(expected->first, expected->second)) return false;
    const auto next = tree.erase(found);
    expected = plain.erase(expected);
    return next ? expected != plain.end() && next.range().first.value == expected->first : expected == plain.end();
  }
  bool same() const {
    auto position = tree.first();
    for (const auto& [first, last] : plain) {
      if (!position || position.range() != range(first, last)) return false;
      position = RangeTree::after(position);
    }
    return !position && tree.size() == plain.size() && tree.consistent();
  }
  std::optional<std::uint64_t> plain_hole(const HoleRequest& request, unsigned& misfits) const;
  void expect_same_hole(const HoleRequest& request) const;
  HoleRequest random_request(std::uint64_t space);

  RangeTree tree;
  std::map<std::uint64_t, std::uint64_t> plain;
  std::mt19937_64 random{7};
};

// Where the request fits in [first, last].
std::optional<std::uint64_t> fit(const HoleRequest& request, std::uint64_t first, std::uint64_t last) {
  first = std::max(first, request.within.first.value);
  last = std::min(last, request.within.last.value);
  if (first > last || last - first < request.bytes - 1) return std::nullopt;
  const bool lowest = request.prefer == Prefer::lowest;
  std::uint64_t at = lowest ? first : last - (request.bytes - 1);
  for (;; lowest ? ++at : --at) {
    if (at < first || at > last - (request.bytes - 1)) return std::nullopt;
    if (at % request.alignment == request.offset) return at;
    if (at == (lowest ? kTop : 0)) return std::nullopt;
  }
}

std::optional<std::uint64_t> Both::plain_hole(const HoleRequest& request, unsigned& misfits) const {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> holes;
  std::uint64_t next = 0;
  bool open = true;
  for (const auto& [first, last] : plain) {
    if (first > next) holes.emplace_back(next, first - 1);
    next = last + 1;
    open = last != kTop;
  }
  if (open) holes.emplace_back(next, kTop);
  if (request.prefer == Prefer::highest) std::ranges::reverse(holes);
  misfits = 0;
  for (const auto& [first, last] : holes) {
    if (const auto at = fit(request, first, last)) return at;
    if (last - first >= request.bytes - 1) ++misfits;
  }
  return std::nullopt;
}

void Both::expect_same_hole(const HoleRequest& request) const {
  unsigned misfits = 0;
  const auto expected = plain_hole(request, misfits);
  const auto found = tree.find_hole(request);
  ASSERT_EQ(found.has_value(), expected.has_value());
  if (!found) return;
  EXPECT_EQ(found->value % request.alignment, request.offset);
  EXPECT_TRUE(request.within.contains(IovaRange::of(*found, request.bytes)));
  EXPECT_FALSE(overlaps(found->value, found->value + (request.bytes - 1)));
  const bool own_size = request.alignment == request.bytes && request.offset == 0;
  if (misfits < 20 || own_size || request.alignment == 1) {
    EXPECT_EQ(found->value, *expected);
  }
}

HoleRequest Both::random_request(std::uint64_t space) {
  HoleRequest request;
  request.bytes = 1 + random() % (std::uint64_t{1} << random() % 7);
  request.alignment = std::uint64_t{1} << random() % 7;
  if (random() % 2 == 0) request.offset = random() % request.alignment;
  if (random() % 2 == 0) request.bytes = request.alignment, request.offset = 0;
  const std::uint64_t a = random() % (2 * space), b = random() % (2 * space);
  if (random() % 2 == 0) request.within = range(std::min(a, b), std::max(a, b));
  request.prefer = random() % 2 == 0 ? Prefer::lowest : Prefer::highest;
  if (request.prefer == Prefer::highest) request.within.last = Iova{std::min(request.within.last.value, 2 * space)};
  return request;
}

TEST_F(Both, AnOverlapIsRefused) {
  ASSERT_TRUE(insert(10, 19));
  EXPECT_FALSE(insert(19, 25));
  EXPECT_FALSE(insert(5, 10));
  EXPECT_FALSE(insert(0, kTop));
  EXPECT_FALSE(insert(12, 13));
  EXPECT_TRUE(insert(20, 20));
  EXPECT_TRUE(insert(9, 9));
}

TEST_F(Both, TheWholeSpaceIsARange) {
  ASSERT_TRUE(insert(0, kTop));
  EXPECT_FALSE(insert(5, 6));
  EXPECT_FALSE(insert(kTop, kTop));
  EXPECT_EQ(tree.find_hole({.bytes = 1}), std::nullopt);
  EXPECT_TRUE(erase(kTop));
  EXPECT_TRUE(same());
  EXPECT_EQ(tree.find_hole({.bytes = kTop})->value, 0U);
}

TEST_F(Both, ALargeRangeIsFoundFromBehindWhereItsLeafEnds) {
  for (std::uint64_t i = 0; i < 200; ++i) ASSERT_TRUE(insert(100 * i, 100 * i));
  for (std::uint64_t i = 50; i < 150; ++i) ASSERT_TRUE(erase(100 * i));
  ASSERT_TRUE(insert(4'901, 14'999));
  for (std::uint64_t i = 5'000; i < 15'000; i += 50) {
    EXPECT_EQ(tree.seek(Iova{i}).range(), range(4'901, 14'999));
    EXPECT_FALSE(insert(i, i));
  }
}

TEST_F(Both, AgreesWithAPlainMapInRandomUse) {
  constexpr std::uint64_t kSpace = 20'000;
  for (int i = 0; i < 60'000; ++i) {
    const bool grow = i % 20'000 < 12'000;
    const std::uint64_t first = random() % kSpace, last = first + random() % 4;
    if (random() % 10 < (grow ? 8U : 2U)) {
      const bool free = !overlaps(first, last);
      ASSERT_EQ(insert(first, last), free);
    } else {
      ASSERT_TRUE(erase(first));
    }
    if (i % 500 == 0) {
      ASSERT_TRUE(same());
    }
  }
}

TEST_F(Both, AscendingAndDescendingUseFillsAndEmptiesTheTree) {
  for (std::uint64_t i = 0; i < 5'000; ++i) ASSERT_TRUE(insert(100'000 + 2 * i, 100'000 + 2 * i));
  for (std::uint64_t i = 0; i < 5'000; ++i) ASSERT_TRUE(insert(90'000 - 2 * i, 90'000 - 2 * i));
  EXPECT_TRUE(same());
  while (!plain.empty()) ASSERT_TRUE(erase(0));
  EXPECT_TRUE(same());
}

TEST_F(Both, HolesAreThoseOfAPlainSearch) {
  constexpr std::uint64_t kSpace = 3'000;
  for (int i = 0; i < 6'000; ++i) {
    const std::uint64_t first = random() % kSpace;
    if (random() % 4 != 0) {
      insert(first, first + random() % 3);
    } else {
      ASSERT_TRUE(erase(first));
    }
    if (i % 4 == 0) expect_same_hole(random_request(kSpace));
    if (HasFailure()) FAIL() << "at step " << i;
  }
}

TEST_F(Both, ManyHolesThatLieWrongDoNotHideTheOneThatFits) {
  // Holes of 7 addresses that never hold 4 from a multiple of 8 on, and one that does.
  for (std::uint64_t i = 0; i < 4'000; ++i) ASSERT_TRUE(insert(8 * i + 0, 8 * i + (i == 3'000 ? 0 : 4)));
  const HoleRequest request{.bytes = 3, .alignment = 8, .offset = 2, .within = range(0, 31'990)};
  EXPECT_EQ(tree.find_hole(request)->value, 24'002U);
  EXPECT_EQ(tree.find_hole({.bytes = 4, .alignment = 8, .offset = 5, .within = range(0, 31'990)}), std::nullopt);
}

TEST_F(Both, ARangeIsCutInTwoEverywhere) {
  ASSERT_TRUE(insert(0, 999));
  ASSERT_TRUE(insert(2'000, 2'999));
  for (const std::uint64_t at : {500U, 2'500U}) {
    for (std::uint64_t cut = at - 400; cut < at + 400; cut += 3) {
      auto position = tree.seek(Iova{cut});
      ASSERT_TRUE(tree.reserve_split(position));
      const auto [first, last] = position.range();
      tree.split(position, Iova{cut}, nullptr);
      plain[first.value] = cut - 1;
      plain[cut] = last.value;
    }
  }
  EXPECT_TRUE(same());
}

}  // namespace
}  // namespace softiommu
