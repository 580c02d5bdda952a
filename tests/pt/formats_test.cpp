// SPDX-License-Identifier: BSD-3-Clause
// What the formats accept, and whole leaf and table words written by hand from the manuals.
#include <gtest/gtest.h>

#include "pt/formats/vtd_second_stage.h"
#include "pt/formats/x86_64.h"

namespace softiommu::pt {

constexpr Prot kRead{.read = true}, kWrite{.write = true}, kBoth{.read = true, .write = true};

template <class F>
std::uint64_t leaf(const typename F::Config& config, Prot prot, std::uint64_t pa, unsigned level = 0) {
  const auto attributes = F::attributes(config, prot);
  return attributes ? F::leaf(*attributes, PhysAddr{pa}, level, 12 + 9 * level) : 0;
}

TEST(VtdSecondStage, LeavesAreWordsOfTheManual) {
  EXPECT_EQ(leaf<VtdSecondStage>({}, kBoth, 0x12345000), 0x12345003u);
  EXPECT_EQ(leaf<VtdSecondStage>({}, kWrite, 0x12345000), 0x12345002u);
  EXPECT_EQ(leaf<VtdSecondStage>({}, kBoth, 0x40200000, 1), 0x40200083u);
  EXPECT_EQ(leaf<VtdSecondStage>({.snoop_control = true}, {.read = true, .coherent = true}, 0x1000), 0x1801u);
  EXPECT_EQ(VtdSecondStage::table(PhysAddr{0xf'ffff'ffff'f000}, 1), 0xf'ffff'ffff'f003u);
}

TEST(VtdSecondStage, RefusesWhatItCannotExpress) {
  EXPECT_FALSE(VtdSecondStage::attributes({}, {}));
  EXPECT_FALSE(VtdSecondStage::attributes({}, {.read = true, .execute = true}));
  EXPECT_FALSE(VtdSecondStage::attributes({}, {.read = true, .coherent = true}));
}

TEST(VtdSecondStage, HasThreeToFiveLevels) {
  EXPECT_FALSE(VtdSecondStage::shape({.top_level = 1}));
  EXPECT_EQ(VtdSecondStage::shape({.top_level = 2})->input_bits, 39u);
  EXPECT_EQ(VtdSecondStage::shape({.top_level = 4})->input_bits, 57u);
  EXPECT_FALSE(VtdSecondStage::shape({.top_level = 5}));
  EXPECT_FALSE(VtdSecondStage::shape({.top_level = 2, .input_bits = 48}));
}

TEST(VtdSecondStage, HasOnlyItsPageSizes) {
  EXPECT_FALSE(VtdSecondStage::shape({.page_sizes = 2 * kMiB}));
  EXPECT_FALSE(VtdSecondStage::shape({.page_sizes = 4 * kKiB | 64 * kKiB}));
}

TEST(X86_64, LeavesAreWordsOfTheManual) {
  EXPECT_EQ(leaf<X86_64>({}, kRead, 0x12345000), 0x12345025u);                           // P US A
  EXPECT_EQ(leaf<X86_64>({}, kBoth, 0x12345000), 0x12345067u);                           // and RW D
  EXPECT_EQ(leaf<X86_64>({.dirty_tracking = true}, kBoth, 0x40000000, 2), 0x400000a7u);  // P RW US A PS
  EXPECT_EQ(leaf<X86_64>({.execute_disable = true}, kRead, 0x1000), 0x8000'0000'0000'1025u);
  EXPECT_EQ(X86_64::table(PhysAddr{0x7000}, 1), 0x7027u);
}

TEST(X86_64, RefusesWhatItCannotExpress) {
  EXPECT_FALSE(X86_64::attributes({}, kWrite));
  EXPECT_FALSE(X86_64::attributes({}, {.read = true, .coherent = true}));
  EXPECT_FALSE(X86_64::attributes({}, {.read = true, .execute = true}));
}

TEST(X86_64, ServesTheLowerHalf) {
  EXPECT_EQ(X86_64::shape({.top_level = 3})->input_bits, 47u);
  EXPECT_EQ(X86_64::shape({.top_level = 4})->input_bits, 56u);
  EXPECT_FALSE(X86_64::shape({.top_level = 2}));
}

}  // namespace softiommu::pt
