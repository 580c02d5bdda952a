// SPDX-License-Identifier: BSD-3-Clause
// Arm short-descriptor formats: what they accept, their shapes, and whole words written by hand from the manuals.
#include "pt/formats/arm_v7s.h"

#include <gtest/gtest.h>

namespace softiommu::pt {
namespace {

constexpr Prot kRead{.read = true}, kWrite{.write = true}, kBoth{.read = true, .write = true};
constexpr Prot kAll{.read = true, .write = true, .execute = true};

template <class F>
std::uint32_t leaf(Prot prot, std::uint64_t pa, unsigned lg2) {
  const auto attributes = F::attributes({}, prot);
  return attributes ? F::leaf(*attributes, PhysAddr{pa}, lg2 >= 20 ? 1 : 0, lg2) : 0;
}
template <class F>
int refusal(const ArmV7sConfig& config) {
  const auto shape = F::shape(config);
  return shape ? 0 : shape.error().code;
}

TEST(ArmV7s, LeavesAreWordsOfTheManual) {
  // TEX 1 C B, AP[2:0] 011, S, nG, XN
  EXPECT_EQ(leaf<ArmV7s>(kBoth, 0x1234'5000, 12), 0x1234'5c7fu);
  EXPECT_EQ(leaf<ArmV7s>(kBoth, 0x1234'0000, 16), 0x1234'9c3du);
  EXPECT_EQ(leaf<ArmV7s>(kBoth, 0x1230'0000, 20), 0x1233'1c1eu);
  EXPECT_EQ(leaf<ArmV7s>(kBoth, 0x1200'0000, 24), 0x1207'1c1eu);
}

TEST(ArmV7s, ReadOnlyIsAp2AndExecutableIsWithoutXn) {
  EXPECT_EQ(leaf<ArmV7s>(kRead, 0x1234'5000, 12), 0x1234'5e7fu);
  EXPECT_EQ(leaf<ArmV7s>(kRead, 0x1230'0000, 20), 0x1233'9c1eu);
  EXPECT_EQ(leaf<ArmV7s>(kAll, 0x1234'5000, 12), 0x1234'5c7eu);
  EXPECT_EQ(leaf<ArmV7s>(kAll, 0x1234'0000, 16), 0x1234'1c3du);
  EXPECT_EQ(leaf<ArmV7s>(kAll, 0x1230'0000, 20), 0x1233'1c0eu);
}

TEST(ArmV7s, EachEntryOfALargePageIsTheSameWord) {
  EXPECT_EQ(leaf<ArmV7s>(kBoth, 0x1234'7000, 16), leaf<ArmV7s>(kBoth, 0x1234'0000, 16));
  EXPECT_EQ(leaf<ArmV7s>(kBoth, 0x1270'0000, 24), leaf<ArmV7s>(kBoth, 0x1200'0000, 24));
}

TEST(ArmV7s, TablesAreOneKilobyte) {
  EXPECT_EQ(ArmV7s::table(PhysAddr{0x1234'5400}, 1), 0x1234'5401u);
  EXPECT_EQ(ArmV7s::table_address(0x1234'5401, 1), PhysAddr{0x1234'5400});
  EXPECT_EQ(ArmV7s::kIndexBits[0], 8u);
}

TEST(MtkV7s, HighAddressBitsStandInBits9And4And5) {
  EXPECT_EQ(leaf<MtkV7s>(kBoth, 0x0'1234'5000, 12), 0x1234'5c4eu);  // TEX 1 C B S nG
  EXPECT_EQ(leaf<MtkV7s>(kBoth, 0x1'1234'5000, 12), 0x1234'5e4eu);
  EXPECT_EQ(leaf<MtkV7s>(kBoth, 0x2'1234'5000, 12), 0x1234'5c5eu);
  EXPECT_EQ(leaf<MtkV7s>(kBoth, 0x4'1234'5000, 12), 0x1234'5c6eu);
  EXPECT_EQ(leaf<MtkV7s>(kBoth, 0x7'1234'0000, 16), 0x1234'1e3du);
  EXPECT_EQ(leaf<MtkV7s>(kBoth, 0x7'1230'0000, 20), 0x123b'123eu);  // and NS
  EXPECT_EQ(leaf<MtkV7s>(kBoth, 0x7'1200'0000, 24), 0x120f'123eu);
  EXPECT_EQ(MtkV7s::table(PhysAddr{0x7'1234'5400}, 1), 0x1234'5639u);
  EXPECT_EQ(MtkV7s::table_address(0x1234'5639, 1), PhysAddr{0x7'1234'5400});
}

TEST(ArmV7s, RefusesWhatItCannotExpress) {
  EXPECT_FALSE(ArmV7s::attributes({}, {}));
  EXPECT_FALSE(ArmV7s::attributes({}, kWrite));
  EXPECT_FALSE(ArmV7s::attributes({}, {.read = true, .coherent = true}));
  EXPECT_FALSE(MtkV7s::attributes({}, kRead));
  EXPECT_FALSE(MtkV7s::attributes({}, kWrite));
  EXPECT_FALSE(MtkV7s::attributes({}, kAll));
}

template <class F>
class ShortFormats : public ::testing::Test {};
using AllShortFormats = ::testing::Types<ArmV7s, MtkV7s>;
TYPED_TEST_SUITE(ShortFormats, AllShortFormats);

TYPED_TEST(ShortFormats, WhatIsEncodedIsDecoded) {
  using F = TypeParam;
  for (const ArmV7sConfig& config : F::kConfigurations) {
    const Shape shape = *F::shape(config);
    for (const Prot prot : {kRead, kBoth, Prot{.read = true, .execute = true}, kAll}) {
      const auto attributes = F::attributes(config, prot);
      for (const unsigned lg2 : {12u, 16u, 20u, 24u}) {
        if (!attributes) continue;
        const unsigned level = lg2 >= 20 ? 1 : 0;
        const std::uint64_t page = (std::uint64_t{1} << shape.output_bits) - (std::uint64_t{1} << lg2);
        const std::uint32_t entry = F::leaf(*attributes, PhysAddr{page}, level, lg2);
        EXPECT_EQ(F::page_address(entry, level).value >> lg2, page >> lg2);
        EXPECT_EQ(F::page_lg2(entry, level), lg2);
        EXPECT_EQ(F::prot(config, entry, level), prot);
        EXPECT_TRUE(level == 0 || !F::is_table(entry, level));
      }
    }
  }
}

TEST(ArmV7s, TheRootFollowsTheInputSize) {
  EXPECT_EQ(ArmV7s::shape({})->root_entries, 4096u);
  EXPECT_EQ(ArmV7s::shape({.input_bits = 25})->root_entries, 32u);
  EXPECT_EQ(MtkV7s::shape({.input_bits = 34})->root_entries, 16384u);
  EXPECT_EQ(MtkV7s::shape({.input_bits = 34})->table_bits, 32u);
  EXPECT_EQ(MtkV7s::shape({.output_bits = 35, .table_bits = 35})->table_bits, 35u);
}

TEST(ArmV7s, RefusesSizesThatHardwareDoesNotHave) {
  EXPECT_EQ(refusal<ArmV7s>({.input_bits = 33}), EINVAL);
  EXPECT_EQ(refusal<ArmV7s>({.input_bits = 24}), EINVAL);
  EXPECT_EQ(refusal<ArmV7s>({.output_bits = 33}), EINVAL);
  EXPECT_EQ(refusal<ArmV7s>({.page_sizes = 64 * kKiB}), EINVAL);
  EXPECT_EQ(refusal<ArmV7s>({.page_sizes = 4 * kKiB | 2 * kMiB}), EINVAL);
  EXPECT_EQ(refusal<MtkV7s>({.input_bits = 35}), EINVAL);
  EXPECT_EQ(refusal<MtkV7s>({.output_bits = 36}), EINVAL);
  EXPECT_EQ(refusal<MtkV7s>({.output_bits = 35, .table_bits = 34}), EINVAL);
}

}  // namespace
}  // namespace softiommu::pt
