// SPDX-License-Identifier: BSD-3-Clause
#include "pt/entries.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

namespace softiommu::pt::entries {

class Entries : public ::testing::Test {
 protected:
  using Words = std::array<std::uint64_t, 512>;
  void SetUp() override {
    if (!avx2::supported()) GTEST_SKIP() << "this processor has no AVX2";
  }
  // Every start on and off vector boundaries, with lengths around and far from vector sizes.
  template <class Check>
  void for_each_run(Check&& check) {
    for (std::size_t start = 0; start < 9; ++start)
      for (const std::size_t count : {0u, 1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 15u, 16u, 17u, 31u, 64u, 100u, 256u, 503u})
        check(start, count);
  }
  Words sparse() {
    Words words{};
    for (auto& word : words)
      if (random_() % 3 == 0) word = random_();
    return words;
  }

 private:
  std::mt19937_64 random_{7};
};

TEST_F(Entries, VectorFillEqualsScalarFill) {
  for_each_run([&](std::size_t start, std::size_t count) {
    alignas(64) Words vector = sparse();
    alignas(64) Words scalar = vector;
    avx2::fill(vector.data() + start, count, 0x1000'0003, 0x1000);
    scalar::fill(scalar.data() + start, count, 0x1000'0003, 0x1000);
    EXPECT_EQ(vector, scalar) << start << " " << count;
  });
}

TEST_F(Entries, VectorClearEqualsScalarClear) {
  for_each_run([&](std::size_t start, std::size_t count) {
    alignas(64) Words vector = sparse();
    alignas(64) Words scalar = vector;
    EXPECT_EQ(avx2::clear(vector.data() + start, count), scalar::clear(scalar.data() + start, count));
    EXPECT_EQ(vector, scalar) << start << " " << count;
  });
}

TEST_F(Entries, OneEntryInUseIsFoundAnywhereAndNoneOutside) {
  for_each_run([&](std::size_t start, std::size_t count) {
    for (std::size_t i = 0; i < 512; ++i) {
      alignas(64) Words words{};
      words[i] = std::uint64_t{1} << 63;
      const bool inside = i >= start && i < start + count;
      ASSERT_EQ(avx2::any_in_use(words.data() + start, count), inside);
      ASSERT_EQ(scalar::any_in_use(words.data() + start, count), inside);
    }
  });
}

TEST_F(Entries, VectorMatchEqualsScalarMatch) {
  for (unsigned round = 0; round < 50; ++round) {
    alignas(64) Words words = sparse();
    EXPECT_EQ(avx2::match64(words.data() + 64, 0x83, 0x81), scalar::match64(words.data() + 64, 0x83, 0x81));
    EXPECT_EQ(avx2::match64(words.data(), 0, 0), ~std::uint64_t{0});
  }
}

}  // namespace softiommu::pt::entries
