// SPDX-License-Identifier: BSD-3-Clause
// Arm long-descriptor formats: what they accept, their shapes, and whole words written by hand from the manuals.
#include "pt/formats/arm_lpae.h"

#include <gtest/gtest.h>

namespace softiommu::pt {
namespace {

constexpr Prot kNothing{}, kRead{.read = true}, kWrite{.write = true}, kBoth{.read = true, .write = true};
constexpr std::uint64_t kTiB = 1024 * kGiB;

constexpr unsigned lg2_of(std::uint64_t bytes) { return static_cast<unsigned>(std::countr_zero(bytes)); }

template <class F>
std::uint64_t leaf(const ArmLpaeConfig& config, Prot prot, std::uint64_t pa, unsigned level = 0,
                   std::uint64_t bytes = 0) {
  const auto attributes = F::attributes(config, prot);
  const unsigned lg2 = bytes == 0 ? span_lg2<F>(level) : lg2_of(bytes);
  return attributes ? F::leaf(*attributes, PhysAddr{pa}, level, lg2) : 0;
}
template <class F>
int refusal(const ArmLpaeConfig& config) {
  const auto shape = F::shape(config);
  return shape ? 0 : shape.error().code;
}

// ---- words ----

TEST(ArmLpae, StageOneLeavesAreWordsOfTheManual) {
  // page, AttrIndx 1, AP[1], inner shareable, AF, nG, PXN, XN; read only adds AP[2]
  EXPECT_EQ(leaf<ArmLpae>({}, kBoth, 0x12345000), 0x0060'0000'1234'5f47u);
  EXPECT_EQ(leaf<ArmLpae>({}, kRead, 0x12345000), 0x0060'0000'1234'5fc7u);
  EXPECT_EQ(leaf<ArmLpae>({}, kBoth, 0x40200000, 1), 0x0060'0000'4020'0f45u);
  EXPECT_EQ(leaf<ArmLpae>({}, {.read = true, .execute = true}, 0x1000), 0x0000'0000'0000'1fc7u);
  EXPECT_EQ(leaf<ArmLpae>({.dirty_tracking = true}, kBoth, 0x1000), 0x0068'0000'0000'1fc7u);  // DBM, clean
  EXPECT_EQ(leaf<ArmLpae>({.dirty_tracking = true}, kRead, 0x1000), 0x0060'0000'0000'1fc7u);
  EXPECT_EQ(ArmLpae::table(PhysAddr{0x7000}, 3), 0x7003u);
}

TEST(ArmLpae, StageTwoLeavesAreWordsOfTheManual) {
  // page, MemAttr 15, S2AP, inner shareable, AF, XN 2
  EXPECT_EQ(leaf<ArmLpae>({.stage = 2}, kBoth, 0x12345000), 0x0040'0000'1234'57ffu);
  EXPECT_EQ(leaf<ArmLpae>({.stage = 2}, kRead, 0x12345000), 0x0040'0000'1234'577fu);
  EXPECT_EQ(leaf<ArmLpae>({.stage = 2}, kWrite, 0x40000000, 2), 0x0040'0000'4000'07bdu);
  EXPECT_EQ(leaf<ArmLpae>({.stage = 2, .dirty_tracking = true}, kBoth, 0x1000), 0x0048'0000'0000'177fu);
  EXPECT_EQ(leaf<ArmLpae>({.stage = 2, .force_write_back = true}, {.read = true, .coherent = true}, 0x1000),
            0x0040'0000'0000'175bu);
}

TEST(ArmLpae, ContiguousLeavesHaveTheBitAndAddressesOfTheirOwn) {
  EXPECT_EQ(leaf<ArmLpaeContiguous>({}, kBoth, 0x12343000, 0, 64 * kKiB), 0x0070'0000'1234'3f47u);
  EXPECT_EQ(leaf<ArmLpaeContiguous>({}, kBoth, 0x40200000, 1, 32 * kMiB), 0x0070'0000'4020'0f45u);
  EXPECT_EQ(ArmLpaeContiguous::page_lg2(0x0070'0000'1234'3f47, 0), 16u);
  EXPECT_EQ(ArmLpaeContiguous::page_lg2(0x0070'0000'4020'0f45, 1), 25u);
  EXPECT_EQ(ArmLpaeContiguous::page_lg2(0x0070'0000'4000'0f45, 2), 34u);
  EXPECT_EQ(ArmLpaeContiguous::page_lg2(0x0060'0000'4020'0f45, 1), 21u);
  EXPECT_EQ(ArmLpae16KContiguous::page_lg2(0x0070'0000'0000'4f47, 0), 21u);
  EXPECT_EQ(ArmLpae16KContiguous::page_lg2(0x0070'0000'0200'0f45, 1), 30u);
  EXPECT_EQ(ArmLpae64KContiguous::page_lg2(0x0070'0000'0001'0f47, 0), 21u);
  EXPECT_EQ(ArmLpae64KContiguous::page_lg2(0x0070'0000'2000'0f45, 1), 34u);
}

TEST(ArmLpae64K, HighAddressBitsStandInTheLowOnes) {
  EXPECT_EQ(leaf<ArmLpae64K>({}, kBoth, 0xa'1234'5678'0000), 0x0060'1234'5678'af47u);
  EXPECT_EQ(ArmLpae64K::page_address(0x0060'1234'5678'af47, 0), PhysAddr{0xa'1234'5678'0000});
  EXPECT_EQ(ArmLpae64K::table(PhysAddr{0xf'0000'0001'0000}, 1), 0x1'f003u);
  EXPECT_EQ(ArmLpae64K::table_address(0x1'f003u, 1), PhysAddr{0xf'0000'0001'0000});
}

TEST(ArmLpaeLpa2, HighAddressBitsTakeThePlaceOfShareability) {
  EXPECT_EQ(leaf<ArmLpaeLpa2>({}, kBoth, 0xa'0000'1234'5000), 0x0062'0000'1234'5e47u);  // bits 51:50 are 2
  EXPECT_EQ(ArmLpaeLpa2::page_address(0x0062'0000'1234'5e47, 0), PhysAddr{0xa'0000'1234'5000});
  EXPECT_EQ(leaf<ArmLpaeLpa2>({.stage = 2}, kBoth, 0x4'0000'0000'1000), 0x0040'0000'0000'15ffu);
  EXPECT_EQ(ArmLpae16KLpa2::table(PhysAddr{0xf'ffff'ffff'c000}, 2), 0x3'ffff'ffff'c303u);
  EXPECT_EQ(ArmLpae16KLpa2::table_address(0x3'ffff'ffff'c303, 2), PhysAddr{0xf'ffff'ffff'c000});
}

TEST(ArmLpaeNs, TablesAndLeavesAreNonSecure) {
  EXPECT_EQ(leaf<ArmLpaeNs>({.input_bits = 32}, kBoth, 0x12345000), 0x0060'0000'1234'5f67u);
  EXPECT_EQ(ArmLpaeNs::table(PhysAddr{0x7000}, 1), 0x8000'0000'0000'7003u);
  EXPECT_EQ(refusal<ArmLpaeNs>({.stage = 2}), EINVAL);
}

// ---- rights ----

TEST(ArmLpae, RefusesWhatItCannotExpress) {
  EXPECT_FALSE(ArmLpae::attributes({}, kWrite));
  EXPECT_FALSE(ArmLpae::attributes({}, kNothing));
  EXPECT_FALSE(ArmLpae::attributes({}, {.read = true, .coherent = true}));
  EXPECT_FALSE(ArmLpae::attributes({.stage = 2}, kNothing));
  EXPECT_FALSE(ArmLpae::attributes({.stage = 2}, {.execute = true}));
  EXPECT_FALSE(ArmLpae::attributes({.stage = 2}, {.read = true, .coherent = true}));
}

template <class F>
class ArmFormats : public ::testing::Test {};
using AllArmFormats = ::testing::Types<ArmLpae, ArmLpae16K, ArmLpae64K, ArmLpaeLpa2, ArmLpae16KLpa2, ArmLpaeContiguous,
                                       ArmLpae16KContiguous, ArmLpae64KContiguous, ArmLpaeNs>;
TYPED_TEST_SUITE(ArmFormats, AllArmFormats);

TYPED_TEST(ArmFormats, WhatIsEncodedIsDecoded) {
  using F = TypeParam;
  for (const ArmLpaeConfig& config : F::kConfigurations) {
    const Shape shape = *F::shape(config);
    for (unsigned rights = 0; rights < 16; ++rights) {
      const Prot prot{(rights & 1) != 0, (rights & 2) != 0, (rights & 4) != 0, (rights & 8) != 0};
      const auto attributes = F::attributes(config, prot);
      for (std::uint64_t left = attributes ? shape.page_sizes : 0; left != 0; left &= left - 1) {
        const unsigned lg2 = lg2_of(left), level = (lg2 - F::kPageShift) / (F::kPageShift - 3);
        const PhysAddr pa{((std::uint64_t{1} << shape.output_bits) - 1) &
                          ~((std::uint64_t{1} << span_lg2<F>(level)) - 1)};
        const std::uint64_t entry = F::leaf(*attributes, pa, level, lg2);
        EXPECT_EQ(F::page_address(entry, level), pa);
        EXPECT_EQ(F::page_lg2(entry, level), lg2);
        EXPECT_EQ(F::prot(config, entry, level), prot);
        EXPECT_TRUE(level == 0 || !F::is_table(entry, level));
        EXPECT_FALSE(shape.dirty.is_dirty(entry)) << "born clean";
      }
    }
  }
}

TYPED_TEST(ArmFormats, RightsOutliveWhatHardwareSets) {
  using F = TypeParam;
  for (const ArmLpaeConfig& config : F::kConfigurations) {
    const DirtyRule dirty = F::shape(config)->dirty;
    for (const Prot prot : {kBoth, kRead}) {
      const std::uint64_t entry = leaf<F>(config, prot, 0);
      EXPECT_EQ(F::prot(config, entry ^ (prot.write ? dirty.flip : 0), 0), prot);
    }
  }
}

TYPED_TEST(ArmFormats, ATableIsATableAndNothingElse) {
  using F = TypeParam;
  const PhysAddr pa{((std::uint64_t{1} << 48) - 1) & ~((std::uint64_t{1} << F::kPageShift) - 1)};
  const std::uint64_t entry = F::table(pa, 1);
  EXPECT_TRUE(F::is_table(entry, 1));
  EXPECT_EQ(F::table_address(entry, 1), pa);
}

// ---- shapes ----

TEST(ArmLpae, ConcatenatesUpToSixteenStageTwoRoots) {
  const auto shape = [](unsigned stage, unsigned bits) {
    return *ArmLpae::shape({.stage = stage, .input_bits = bits});
  };
  EXPECT_EQ(shape(2, 40).root_entries, 2u * 512);
  EXPECT_EQ(shape(2, 40).top_level, 2u);
  EXPECT_EQ(shape(2, 43).root_entries, 16u * 512);
  EXPECT_EQ(shape(2, 44).root_entries, 32u);
  EXPECT_EQ(shape(2, 44).top_level, 3u);
  EXPECT_EQ(shape(1, 40).root_entries, 2u);
  EXPECT_EQ(shape(1, 40).top_level, 3u);
  EXPECT_EQ(shape(2, 25).top_level, 1u) << "no stage-2 walk begins at the last level";
}

TEST(ArmLpae, ConcatenatesOnDemandOfTheArchitectureOnly) {
  const auto levels = [](unsigned input, unsigned output) {
    return ArmLpae::shape({.stage = 2, .input_bits = input, .output_bits = output, .concatenate = false})->top_level +
           1;
  };
  EXPECT_EQ(levels(40, 40), 3u);
  EXPECT_EQ(levels(42, 42), 3u);
  EXPECT_EQ(levels(43, 44), 4u);
  EXPECT_EQ(levels(34, 40), 3u);
  EXPECT_EQ(refusal<ArmLpae>({.stage = 2, .input_bits = 44, .output_bits = 42}), EINVAL) << "32 tables";
}

TEST(ArmLpae16K, StageTwoOf48BitsBeginsAtLevelOne) {
  EXPECT_EQ(ArmLpae16K::shape({.stage = 2, .concatenate = false})->top_level, 2u);
  EXPECT_EQ(ArmLpae16K::shape({.stage = 2, .concatenate = false})->root_entries, 2u * 2048);
  EXPECT_EQ(ArmLpae16K::shape({.stage = 1})->top_level, 3u);
  EXPECT_EQ(ArmLpae16K::shape({.stage = 1})->root_entries, 2u);
}

TEST(ArmLpae64K, HasTwoOrThreeLevels) {
  EXPECT_EQ(ArmLpae64K::shape({})->top_level, 2u);
  EXPECT_EQ(ArmLpae64K::shape({})->root_entries, 64u);
  EXPECT_EQ(ArmLpae64K::shape({.input_bits = 52, .output_bits = 52})->root_entries, 1024u);
  EXPECT_EQ(ArmLpae64K::shape({.input_bits = 42})->top_level, 1u);
  EXPECT_EQ(ArmLpae64K::shape({.input_bits = 42})->root_entries, 8192u);
  EXPECT_EQ(ArmLpae64K::shape({.stage = 2, .input_bits = 46})->root_entries, 16u * 8192);
}

TEST(ArmLpaeLpa2, HasAFifthLevelForStageOne) {
  EXPECT_EQ(ArmLpaeLpa2::shape({.input_bits = 52, .output_bits = 52})->top_level, 4u);
  EXPECT_EQ(ArmLpaeLpa2::shape({.input_bits = 52, .output_bits = 52})->root_entries, 16u);
  EXPECT_EQ(ArmLpaeLpa2::shape({.stage = 2, .input_bits = 52, .output_bits = 52})->top_level, 3u);
  EXPECT_EQ(ArmLpae16KLpa2::shape({.input_bits = 52, .output_bits = 52})->root_entries, 32u);
}

TEST(ArmLpae, PagesAndBlocksFollowGranuleAndLevels) {
  EXPECT_EQ(ArmLpae::shape({})->page_sizes, 4 * kKiB | 2 * kMiB | 1 * kGiB);
  EXPECT_EQ(ArmLpae::shape({.input_bits = 30})->page_sizes, 4 * kKiB | 2 * kMiB);
  EXPECT_EQ(ArmLpae16K::shape({})->page_sizes, 16 * kKiB | 32 * kMiB);
  EXPECT_EQ(ArmLpae16KLpa2::shape({.input_bits = 52, .output_bits = 52})->page_sizes,
            16 * kKiB | 32 * kMiB | 64 * kGiB);
  EXPECT_EQ(ArmLpae64K::shape({})->page_sizes, 64 * kKiB | 512 * kMiB);
  EXPECT_EQ(ArmLpae64K::shape({.output_bits = 52})->page_sizes, 64 * kKiB | 512 * kMiB | 4 * kTiB);
  EXPECT_EQ(ArmLpaeLpa2::shape({})->page_sizes, 4 * kKiB | 2 * kMiB | 1 * kGiB | 512 * kGiB);
}

TEST(ArmLpaeContiguous, SetsFollowGranuleAndReach) {
  EXPECT_EQ(ArmLpaeContiguous::shape({})->page_sizes,
            4 * kKiB | 64 * kKiB | 2 * kMiB | 32 * kMiB | 1 * kGiB | 16 * kGiB);
  EXPECT_EQ(ArmLpae16KContiguous::shape({})->page_sizes, 16 * kKiB | 2 * kMiB | 32 * kMiB | 1 * kGiB);
  EXPECT_EQ(ArmLpae64KContiguous::shape({})->page_sizes, 64 * kKiB | 2 * kMiB | 512 * kMiB | 16 * kGiB);
  EXPECT_EQ(ArmLpaeContiguous::shape({.page_sizes = 4 * kKiB | 64 * kKiB})->page_sizes, 4 * kKiB | 64 * kKiB);
  EXPECT_EQ(ArmLpaeContiguous::shape({.input_bits = 25, .page_sizes = 4 * kKiB | 32 * kMiB | 1 * kGiB})->page_sizes,
            4 * kKiB | 32 * kMiB);
}

TEST(ArmLpae, RefusesPagesThatItsDescriptorsDoNotHave) {
  EXPECT_EQ(refusal<ArmLpae>({.page_sizes = 2 * kMiB}), EINVAL) << "the granule is missing";
  EXPECT_EQ(refusal<ArmLpae>({.page_sizes = 4 * kKiB | 64 * kKiB}), EINVAL) << "a contiguous set";
  EXPECT_EQ(refusal<ArmLpaeContiguous>({.page_sizes = 4 * kKiB | 16 * kKiB}), EINVAL);
  EXPECT_EQ(refusal<ArmLpae16K>({.page_sizes = 16 * kKiB | 64 * kKiB}), EINVAL);
  EXPECT_EQ(refusal<ArmLpae64K>({.page_sizes = 64 * kKiB | 4 * kTiB}), EINVAL) << "without 52 bits";
}

TEST(ArmLpae, RefusesSizesThatTheArchitectureDoesNotHave) {
  EXPECT_EQ(refusal<ArmLpae>({.stage = 3}), EINVAL);
  EXPECT_EQ(refusal<ArmLpae>({.input_bits = 24}), EINVAL);
  EXPECT_EQ(refusal<ArmLpae>({.input_bits = 49}), EINVAL);
  EXPECT_EQ(refusal<ArmLpae>({.output_bits = 41}), EINVAL);
  EXPECT_EQ(refusal<ArmLpae>({.output_bits = 52}), EINVAL);
  EXPECT_EQ(refusal<ArmLpae64K>({.input_bits = 53}), EINVAL);
  EXPECT_EQ(refusal<ArmLpae>({.stage = 2, .upper_half = true}), EINVAL);
  EXPECT_EQ(refusal<ArmLpae>({.force_write_back = true}), EINVAL);
}

TEST(ArmLpae, TheUpperHalfIsAPropertyOfTheShape) {
  EXPECT_TRUE(ArmLpae::shape({.upper_half = true})->upper_half);
  EXPECT_FALSE(ArmLpae::shape({})->upper_half);
}

TEST(ArmLpae32Bit, HasTheReachOfArmV7) {
  const ArmLpaeConfig stage1{.input_bits = 32, .output_bits = 40, .aarch32 = true};
  const ArmLpaeConfig stage2{.stage = 2, .input_bits = 40, .output_bits = 40, .aarch32 = true, .concatenate = false};
  EXPECT_EQ(ArmLpae::shape(stage1)->top_level, 2u);
  EXPECT_EQ(ArmLpae::shape(stage1)->root_entries, 4u);
  EXPECT_EQ(ArmLpae::shape(stage2)->root_entries, 1024u);
  EXPECT_EQ(refusal<ArmLpae>({.input_bits = 33, .output_bits = 40, .aarch32 = true}), EINVAL);
  EXPECT_EQ(refusal<ArmLpae>({.input_bits = 32, .output_bits = 42, .aarch32 = true}), EINVAL);
  EXPECT_EQ(refusal<ArmLpae>({.stage = 2, .input_bits = 41, .output_bits = 40, .aarch32 = true}), EINVAL);
  EXPECT_EQ(refusal<ArmLpae>({.input_bits = 32, .output_bits = 40, .aarch32 = true, .dirty_tracking = true}), EINVAL);
  EXPECT_EQ(refusal<ArmLpae16K>({.input_bits = 32, .output_bits = 40, .aarch32 = true}), EINVAL);
}

}  // namespace
}  // namespace softiommu::pt
