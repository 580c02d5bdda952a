// SPDX-License-Identifier: BSD-3-Clause
// Formats of SoC IOMMUs: whole words written by hand from manuals and drivers, what they refuse, and that every word of
// every configuration is read back as it was written.
#include <gtest/gtest.h>

#include <random>

#include "pt/formats/exynos.h"
#include "pt/formats/mtk_v1.h"
#include "pt/formats/omap.h"
#include "pt/formats/rockchip.h"
#include "pt/formats/sprd.h"
#include "pt/formats/sun50i.h"
#include "pt/formats/tegra_gart.h"
#include "pt/formats/tegra_smmu.h"

namespace softiommu::pt {

namespace {

constexpr Prot kRead{.read = true}, kWrite{.write = true}, kBoth{.read = true, .write = true};

template <class F>
std::uint64_t leaf(const typename F::Config& config, Prot prot, std::uint64_t pa, unsigned level = 0,
                   unsigned lg2 = F::kPageShift) {
  return F::leaf(F::attributes(config, prot).value(), PhysAddr{pa}, level, lg2);
}
template <class F>
bool refuses(Prot prot) {
  const auto answer = F::attributes({}, prot);
  return !answer && answer.error().code == EINVAL;
}

// In which table a page of 2^lg2 bytes stands.
template <class F>
unsigned level_of(unsigned lg2) {
  unsigned level = 0;
  while (level + 1 < std::size(F::kIndexBits) && span_lg2<F>(level + 1) <= lg2) ++level;
  return level;
}

}  // namespace

template <class F>
class SocFormat : public ::testing::Test {};
using SocFormats =
    ::testing::Types<Omap, ExynosV1, ExynosV5, RockchipV1, RockchipV2, Sun50i, TegraSmmu, MtkV1, Sprd, TegraGart>;
TYPED_TEST_SUITE(SocFormat, SocFormats);

TYPED_TEST(SocFormat, ReadsLeavesBackAsTheyWereWritten) {
  using F = TypeParam;
  std::mt19937_64 random(1);
  for (const auto& config : F::kConfigurations) {
    const Shape shape = F::shape(config).value();
    for (unsigned i = 0; i < 16; ++i) {
      const Prot prot{(i & 1) != 0, (i & 2) != 0, (i & 4) != 0, (i & 8) != 0};
      const auto attributes = F::attributes(config, prot);
      if (!attributes) continue;
      ASSERT_NE(*attributes, 0u);
      for (unsigned lg2 = F::kPageShift; lg2 < 64; ++lg2) {
        if ((shape.page_sizes >> lg2 & 1) == 0) continue;
        const unsigned level = level_of<F>(lg2);
        const std::uint64_t mask = (std::uint64_t{1} << shape.output_bits) - (std::uint64_t{1} << lg2);
        for (unsigned n = 0; n < 200; ++n) {
          const PhysAddr pa{n == 0 ? mask : random() & mask};
          if (pa.value < shape.output_first) continue;
          const auto entry = F::leaf(*attributes, pa, level, lg2);
          ASSERT_NE(entry, empty_entry<F>(level));
          ASSERT_EQ(F::page_lg2(entry, level), lg2);
          ASSERT_EQ(F::page_address(entry, level).value >> lg2 << lg2, pa.value);
          ASSERT_EQ(F::prot(config, entry, level), prot);
          ASSERT_FALSE(level > 0 && F::is_table(entry, level));
        }
      }
    }
  }
}

TYPED_TEST(SocFormat, ReadsTablesBackAsTheyWereWritten) {
  using F = TypeParam;
  std::mt19937_64 random(1);
  for (const auto& config : F::kConfigurations) {
    const Shape shape = F::shape(config).value();
    for (unsigned level = 1; level <= shape.top_level; ++level) {
      const std::uint64_t bytes = (std::uint64_t{1} << F::kIndexBits[level - 1]) * sizeof(typename F::Entry);
      const std::uint64_t mask = (std::uint64_t{1} << shape.table_bits) - bytes;
      for (unsigned n = 0; n < 200; ++n) {
        const PhysAddr pa{n == 0 ? mask : random() & mask};
        const auto entry = F::table(pa, level);
        ASSERT_TRUE(F::is_table(entry, level));
        ASSERT_EQ(F::table_address(entry, level), pa);
        ASSERT_NE(entry, empty_entry<F>(level));
      }
    }
  }
}

TYPED_TEST(SocFormat, KnowsNeitherSnoopingNorExecution) {
  EXPECT_TRUE(refuses<TypeParam>({.read = true, .write = true, .coherent = true}));
  EXPECT_TRUE(refuses<TypeParam>({.read = true, .write = true, .execute = true}));
  EXPECT_TRUE(refuses<TypeParam>({}));
}

TEST(OmapFormat, WordsAreThoseOfTheManual) {
  EXPECT_EQ(leaf<Omap>({}, kBoth, 0x8123'4000), 0x8123'4002u);
  EXPECT_EQ(leaf<Omap>({}, kBoth, 0x8123'4000, 0, 16), 0x8123'0001u);  // what each of the 16 entries holds
  EXPECT_EQ(leaf<Omap>({}, kBoth, 0x8120'0000, 1, 20), 0x8120'0002u);
  EXPECT_EQ(leaf<Omap>({}, kBoth, 0x8120'0000, 1, 24), 0x8104'0002u);
  EXPECT_EQ(Omap::table(PhysAddr{0x8000'0400}, 1), 0x8000'0401u);
}

TEST(OmapFormat, ByteSwappingStandsInEveryLeaf) {
  const OmapConfig config{.big_endian = true, .element_size = hw::omap_paging::kElement32, .mixed = true};
  EXPECT_EQ(leaf<Omap>(config, kBoth, 0x8123'4000), 0x8123'4a22u);
  EXPECT_EQ(leaf<Omap>(config, kBoth, 0x8120'0000, 1, 20), 0x8122'8802u);
  EXPECT_FALSE(Omap::shape({.element_size = 4}));
}

TEST(OmapFormat, PagesCanAlwaysBeReadAndWritten) {
  EXPECT_TRUE(refuses<Omap>(kRead));
  EXPECT_TRUE(refuses<Omap>(kWrite));
}

TEST(ExynosV1Format, WordsAreThoseOfTheDriver) {
  EXPECT_EQ(leaf<ExynosV1>({}, kBoth, 0x4123'4000), 0x4123'4012u);
  EXPECT_EQ(leaf<ExynosV1>({}, kRead, 0x4123'4000), 0x4123'4212u);
  EXPECT_EQ(leaf<ExynosV1>({}, kRead, 0x4123'0000, 0, 16), 0x4123'0211u);
  EXPECT_EQ(leaf<ExynosV1>({}, kBoth, 0x4120'0000, 1, 20), 0x4120'0402u);
  EXPECT_EQ(leaf<ExynosV1>({}, kRead, 0x4120'0000, 1, 20), 0x4120'8402u);
  EXPECT_EQ(ExynosV1::table(PhysAddr{0x4000'0c00}, 1), 0x4000'0c01u);
}

TEST(ExynosV1Format, RefusesPagesThatAreOnlyWritten) { EXPECT_TRUE(refuses<ExynosV1>(kWrite)); }

TEST(ExynosV5Format, WordsHoldAddressesShiftedByFour) {
  EXPECT_EQ(leaf<ExynosV5>({}, kBoth, 0xf'4123'4000), 0xf412'340eu);
  EXPECT_EQ(leaf<ExynosV5>({}, kWrite, 0xf'4123'4000), 0xf412'340au);
  EXPECT_EQ(leaf<ExynosV5>({}, kRead, 0xf'4123'0000, 0, 16), 0xf412'3005u);
  EXPECT_EQ(leaf<ExynosV5>({}, kBoth, 0xf'4120'0000, 1, 20), 0xf412'0032u);
  EXPECT_EQ(leaf<ExynosV5>({}, kWrite, 0xf'4120'0000, 1, 20), 0xf412'0022u);
  EXPECT_EQ(ExynosV5::table(PhysAddr{0xf'4000'0400}, 1), 0xf400'0041u);
}

TEST(RockchipFormats, WordsAreThoseOfTheDriver) {
  EXPECT_EQ(leaf<RockchipV1>({}, kBoth, 0x1234'5000), 0x1234'5007u);
  EXPECT_EQ(leaf<RockchipV1>({}, kRead, 0x1234'5000), 0x1234'5003u);
  EXPECT_EQ(leaf<RockchipV1>({}, kWrite, 0x1234'5000), 0x1234'5005u);
  EXPECT_EQ(RockchipV1::table(PhysAddr{0x7000}, 1), 0x7001u);
  EXPECT_EQ(leaf<RockchipV2>({}, kBoth, 0xab'1234'5000), 0x1234'5ba7u);
  EXPECT_EQ(RockchipV2::table(PhysAddr{0xf1'0000'7000}, 1), 0x71f1u);
}

TEST(Sun50iFormat, RightsAreIndicesOfTheDriver) {
  EXPECT_EQ(leaf<Sun50i>({}, kRead, 0x1234'5000), 0x1234'5022u);
  EXPECT_EQ(leaf<Sun50i>({}, kWrite, 0x1234'5000), 0x1234'5032u);
  EXPECT_EQ(leaf<Sun50i>({}, kBoth, 0x1234'5000), 0x1234'5042u);
  EXPECT_EQ(Sun50i::table(PhysAddr{0x4000'0400}, 1), 0x4000'0401u);
}

TEST(TegraSmmuFormat, WordsAreThoseOfTheDriver) {
  EXPECT_EQ(leaf<TegraSmmu>({}, kBoth, 0x1234'5000), 0xe001'2345u);
  EXPECT_EQ(leaf<TegraSmmu>({}, kRead, 0x1234'5000), 0xa001'2345u);
  EXPECT_EQ(leaf<TegraSmmu>({}, kWrite, 0x3'1234'5000), 0x6031'2345u);
  EXPECT_EQ(leaf<TegraSmmu>({}, kBoth, 0x1240'0000, 1, 22), 0xe001'2400u);
  EXPECT_EQ(TegraSmmu::table(PhysAddr{0x7000}, 1), 0xf000'0007u);
}

TEST(TegraSmmuFormat, HasTheWidthsAndSizesOfTheChips) {
  EXPECT_FALSE(TegraSmmu::shape({.output_bits = 36}));
  EXPECT_FALSE(TegraSmmu::shape({.page_sizes = 4 * kKiB | 2 * kMiB}));
  EXPECT_EQ(TegraSmmu::shape({.output_bits = 34})->table_bits, 34u);
}

TEST(FlatFormats, WordsAreThoseOfTheDrivers) {
  EXPECT_EQ(leaf<MtkV1>({}, kBoth, 0x8123'4000), 0x8123'400au);
  EXPECT_EQ(leaf<Sprd>({}, kBoth, 0x8123'4000), 0x8'1234u);
  EXPECT_EQ(leaf<TegraGart>({}, kBoth, 0x3123'4000), 0xb123'4000u);
}

TEST(FlatFormats, PagesCanAlwaysBeReadAndWritten) {
  EXPECT_TRUE(refuses<MtkV1>(kRead) && refuses<MtkV1>(kWrite));
  EXPECT_TRUE(refuses<Sprd>(kRead) && refuses<Sprd>(kWrite));
  EXPECT_TRUE(refuses<TegraGart>(kRead) && refuses<TegraGart>(kWrite));
}

TEST(FlatFormats, WindowsBeginAtMultiplesOfTheirSize) {
  EXPECT_EQ(TegraGart::shape({})->window, 0x5800'0000u);
  EXPECT_EQ(TegraGart::shape({})->input_bits, 25u);
  EXPECT_FALSE(TegraGart::shape({.window = 0x5810'0000}));
  EXPECT_EQ(Sprd::shape({})->root_entries, 65536u);
  EXPECT_FALSE(Sprd::shape({.window = kMiB, .input_bits = 28}));
  EXPECT_FALSE(Sprd::shape({.input_bits = 33}));
}

// A page number of 0 would read as "nothing is here".
TEST(FlatFormats, SprdHasNoPageAtAddressZero) { EXPECT_EQ(Sprd::shape({})->output_first, kPageSize); }

}  // namespace softiommu::pt
