// SPDX-License-Identifier: BSD-3-Clause
// AMD v1, RISC-V, Apple DART and z/Architecture: what the formats accept, and whole words written by hand.
#include <gtest/gtest.h>

#include "pt/formats/amd_v1.h"
#include "pt/formats/apple_dart.h"
#include "pt/formats/riscv.h"
#include "pt/formats/s390.h"

namespace softiommu::pt {

namespace {

constexpr Prot kNothing{}, kRead{.read = true}, kWrite{.write = true}, kBoth{.read = true, .write = true};
constexpr Prot kCoherent{.read = true, .write = true, .coherent = true};
constexpr Prot kExecute{.read = true, .execute = true};

struct Place {
  std::uint64_t pa;
  unsigned level, lg2;
};

template <class F>
std::uint64_t leaf(const typename F::Config& config, Prot prot, Place place) {
  const auto attributes = F::attributes(config, prot);
  return attributes ? F::leaf(*attributes, PhysAddr{place.pa}, place.level, place.lg2) : 0;
}

// Every leaf that a configuration can have reads back as what it was made of.
template <class F>
void expect_leaves_to_read_back() {
  for (const auto& config : F::kConfigurations) {
    const Shape shape = *F::shape(config);
    for (unsigned lg2 = F::kPageShift; lg2 < 64; ++lg2) {
      if ((shape.page_sizes >> lg2 & 1) == 0 || lg2 >= shape.output_bits) continue;
      unsigned level = 0;
      while (level + 1 < F::kIndexBits.size() && span_lg2<F>(level + 1) <= lg2) ++level;
      const std::uint64_t pa =
          (0x5a5a'5a5a'5a5a'5a5a & ((std::uint64_t{2} << (shape.output_bits - 1)) - 1)) >> lg2 << lg2;
      for (const Prot prot : {kRead, kWrite, kBoth, kCoherent, kExecute}) {
        const auto attributes = F::attributes(config, prot);
        if (!attributes) continue;
        const auto entry = F::leaf(*attributes, PhysAddr{pa}, level, lg2);
        ASSERT_FALSE(level > 0 && F::is_table(entry, level)) << lg2;
        ASSERT_EQ(F::page_lg2(entry, level), lg2);
        ASSERT_EQ(F::page_address(entry, level).value, pa) << lg2;
        ASSERT_EQ(F::prot(config, entry, level), prot);
        ASSERT_NE(entry, empty_entry<F>(level));
      }
    }
  }
}

template <class F>
void expect_tables_to_read_back() {
  for (unsigned level = 1; level < F::kIndexBits.size(); ++level) {
    const auto entry = F::table(PhysAddr{0x1'2345'8000}, level);
    ASSERT_TRUE(F::is_table(entry, level));
    ASSERT_EQ(F::table_address(entry, level).value, 0x1'2345'8000u);
    ASSERT_NE(entry, empty_entry<F>(level));
  }
}

}  // namespace

TEST(WideFormats, EncodeThenDecodeIsIdentity) {
  expect_leaves_to_read_back<AmdV1>();
  expect_leaves_to_read_back<Riscv>();
  expect_leaves_to_read_back<AppleDart1With4K>();
  expect_leaves_to_read_back<AppleDart1With16K>();
  expect_leaves_to_read_back<AppleDart2>();
  expect_leaves_to_read_back<S390>();
}

TEST(WideFormats, TablesReadBack) {
  expect_tables_to_read_back<AmdV1>();
  expect_tables_to_read_back<Riscv>();
  expect_tables_to_read_back<AppleDart1With4K>();
  expect_tables_to_read_back<AppleDart1With16K>();
  expect_tables_to_read_back<AppleDart2>();
  expect_tables_to_read_back<S390>();
}

TEST(AmdV1, LeavesAreWordsOfTheManual) {
  EXPECT_EQ(leaf<AmdV1>({}, kBoth, {0x1234'5000, 0, 12}), 0x6000'0000'1234'5001u);
  EXPECT_EQ(leaf<AmdV1>({}, kRead, {0x1234'5000, 0, 12}), 0x2000'0000'1234'5001u);
  EXPECT_EQ(leaf<AmdV1>({}, kWrite, {0x1234'5000, 0, 12}), 0x4000'0000'1234'5001u);
  EXPECT_EQ(leaf<AmdV1>({}, kCoherent, {0x1234'5000, 0, 12}), 0x7000'0000'1234'5001u);
  EXPECT_EQ(leaf<AmdV1>({}, kBoth, {0x4020'0000, 1, 21}), 0x6000'0000'4020'0001u);  // 2M is level 1's own size
}

// 48882 2.2.3: as many ones from bit 12 as the size has bits above 8K, then a zero.
TEST(AmdV1, SizesAreCodedInTheAddress) {
  EXPECT_EQ(leaf<AmdV1>({}, kBoth, {0x1234'4000, 0, 13}), 0x6000'0000'1234'4e01u);
  EXPECT_EQ(leaf<AmdV1>({}, kBoth, {0x1234'4000, 0, 14}), 0x6000'0000'1234'5e01u);
  EXPECT_EQ(leaf<AmdV1>({}, kBoth, {0x1230'0000, 0, 16}), 0x6000'0000'1230'7e01u);
  EXPECT_EQ(leaf<AmdV1>({}, kBoth, {0x1230'0000, 0, 20}), 0x6000'0000'1237'fe01u);
  EXPECT_EQ(leaf<AmdV1>({}, kBoth, {0x4040'0000, 1, 22}), 0x6000'0000'405f'fe01u);
  EXPECT_EQ(leaf<AmdV1>({}, kBoth, {0x1'0000'0000, 2, 32}), 0x6000'0001'7fff'fe01u);
}

TEST(AmdV1, AllEntriesOfAPageAreTheSameWord) {
  EXPECT_EQ(leaf<AmdV1>({}, kBoth, {0x1234'7000, 0, 14}), leaf<AmdV1>({}, kBoth, {0x1234'4000, 0, 14}));
}

TEST(AmdV1, TablesSayTheLevelOfWhatTheyPointTo) {
  EXPECT_EQ(AmdV1::table(PhysAddr{0x7000}, 1), 0x6000'0000'0000'7201u);
  EXPECT_EQ(AmdV1::table(PhysAddr{0x7000}, 5), 0x6000'0000'0000'7a01u);
}

TEST(AmdV1, GrowsToSixLevelsOrStaysAsItIs) {
  EXPECT_EQ(AmdV1::shape({})->top_level, 2u);
  EXPECT_EQ(AmdV1::shape({})->most_top_level, 5u);
  EXPECT_EQ(AmdV1::shape({})->input_bits, 64u);
  EXPECT_EQ(AmdV1::shape({.top_level = 2, .grows = false})->input_bits, 39u);
  EXPECT_EQ(AmdV1::shape({.top_level = 5, .grows = false})->input_bits, 64u);
  EXPECT_FALSE(AmdV1::shape({.top_level = 6}));
  EXPECT_FALSE(AmdV1::shape({.top_level = 2, .grows = false, .input_bits = 40}));
}

TEST(AmdV1, HasEveryPowerOfTwoBut512G) {
  EXPECT_EQ(AmdV1::shape({})->page_sizes, 0x000f'ff7f'ffff'f000u);
  EXPECT_EQ(AmdV1::shape({.top_level = 1, .grows = false})->page_sizes, 0x3fff'f000u);
  EXPECT_FALSE(AmdV1::shape({.page_sizes = 4 * kKiB | 512 * kGiB}));
  EXPECT_FALSE(AmdV1::shape({.page_sizes = 8 * kKiB}));
}

TEST(AmdV1, RefusesWhatItCannotExpress) {
  EXPECT_FALSE(AmdV1::attributes({}, kNothing));
  EXPECT_FALSE(AmdV1::attributes({}, kExecute));
}

TEST(Riscv, LeavesAreWordsOfTheManual) {
  EXPECT_EQ(leaf<Riscv>({}, kBoth, {0x8765'0000, 0, 12}), 0x0000'0000'21d9'40d7u);     // D A U W R V
  EXPECT_EQ(leaf<Riscv>({}, kRead, {0x8765'0000, 0, 12}), 0x0000'0000'21d9'4053u);     // A U R V
  EXPECT_EQ(leaf<Riscv>({}, kExecute, {0x8765'0000, 0, 12}), 0x0000'0000'21d9'405bu);  // and X
  EXPECT_EQ(leaf<Riscv>({}, kBoth, {0x8760'0000, 1, 21}), 0x0000'0000'21d8'00d7u);
  EXPECT_EQ(leaf<Riscv>({.dirty_tracking = true}, kBoth, {0x8765'0000, 0, 12}), 0x0000'0000'21d9'4057u);
  EXPECT_EQ(leaf<Riscv>({}, kBoth, {0x8765'0000, 0, 16}), 0x8000'0000'21d9'60d7u);  // Svnapot
  EXPECT_EQ(leaf<Riscv>({.memory_type = RiscvMemoryType::non_cacheable}, kRead, {0x1000, 0, 12}),
            0x2000'0000'0000'0453u);
  EXPECT_EQ(leaf<Riscv>({.memory_type = RiscvMemoryType::io}, kRead, {0x1000, 0, 12}), 0x4000'0000'0000'0453u);
  EXPECT_EQ(Riscv::table(PhysAddr{0x8765'0000}, 2), 0x0000'0000'21d9'4001u);
}

TEST(Riscv, ServesTheLowerHalf) {
  EXPECT_EQ(Riscv::shape({.top_level = 2})->input_bits, 38u);
  EXPECT_EQ(Riscv::shape({.top_level = 3})->input_bits, 47u);
  EXPECT_EQ(Riscv::shape({.top_level = 4})->input_bits, 56u);
  EXPECT_FALSE(Riscv::shape({.top_level = 1}));
  EXPECT_FALSE(Riscv::shape({.top_level = 5}));
  EXPECT_FALSE(Riscv::shape({.top_level = 2, .input_bits = 39}));
}

TEST(Riscv, HasPagesOfEveryLevelThatIsThere) {
  EXPECT_EQ(Riscv::shape({.top_level = 2})->page_sizes, 4 * kKiB | 2 * kMiB | 1 * kGiB);
  EXPECT_EQ(Riscv::shape({.top_level = 3})->page_sizes, 4 * kKiB | 2 * kMiB | 1 * kGiB | 512 * kGiB);
  EXPECT_FALSE(Riscv::shape({.page_sizes = 4 * kKiB | 32 * kKiB}));
}

TEST(Riscv, RefusesWhatItCannotExpress) {
  EXPECT_FALSE(Riscv::attributes({}, kNothing));
  EXPECT_FALSE(Riscv::attributes({}, kWrite));
  EXPECT_FALSE(Riscv::attributes({}, kCoherent));
}

TEST(AppleDart, LeavesAreWordsThatDriversWrite) {
  EXPECT_EQ(leaf<AppleDart1With4K>({}, kBoth, {0x8'1234'5000, 0, 12}), 0x000f'ff08'1234'5003u);
  EXPECT_EQ(leaf<AppleDart1With16K>({}, kRead, {0x8'1234'4000, 0, 14}), 0x000f'ff08'1234'4083u);
  EXPECT_EQ(leaf<AppleDart1With16K>({}, kWrite, {0x8'1234'4000, 0, 14}), 0x000f'ff08'1234'4103u);
  EXPECT_EQ(leaf<AppleDart2>({}, kBoth, {0x100'1234'4000, 0, 14}), 0x000f'ff10'0123'4403u);  // NO_CACHE
  EXPECT_EQ(leaf<AppleDart2>({}, kCoherent, {0x100'1234'4000, 0, 14}), 0x000f'ff10'0123'4401u);
  EXPECT_EQ(leaf<AppleDart2>({}, kRead, {0x4000, 0, 14}), 0x000f'ff00'0000'0407u);
  EXPECT_EQ(leaf<AppleDart2>({}, kWrite, {0x4000, 0, 14}), 0x000f'ff00'0000'040bu);
  EXPECT_EQ(AppleDart1With16K::table(PhysAddr{0x8'1234'4000}, 1), 0x8'1234'4001u);
  EXPECT_EQ(AppleDart2::table(PhysAddr{0x100'1234'4000}, 1), 0x10'0123'4401u);
}

// Linux's choice: old units with 4K pages have up to four base registers, others one.
TEST(AppleDart, InputSizeDecidesLevelsAndBaseRegisters) {
  EXPECT_EQ(AppleDart1With4K::shape({.input_bits = 32})->top_level, 1u);
  EXPECT_EQ(AppleDart1With4K::shape({.input_bits = 32})->root_entries, 4 * 512u);
  EXPECT_EQ(AppleDart1With4K::shape({.input_bits = 31})->root_entries, 2 * 512u);
  EXPECT_EQ(AppleDart1With4K::shape({.input_bits = 30})->root_entries, 0u);
  EXPECT_EQ(AppleDart1With4K::shape({.input_bits = 36})->top_level, 2u);
  EXPECT_EQ(AppleDart1With16K::shape({.input_bits = 36})->top_level, 1u);
  EXPECT_EQ(AppleDart2::shape({.input_bits = 36})->top_level, 1u);
  EXPECT_EQ(AppleDart2::shape({.input_bits = 42})->top_level, 2u);
  EXPECT_EQ(AppleDart2::shape({.input_bits = 42})->root_entries, 0u);
}

TEST(AppleDart, RefusesInputsWiderThanOutputs) {
  EXPECT_FALSE(AppleDart1With4K::shape({.input_bits = 37}));
  EXPECT_FALSE(AppleDart2::shape({.input_bits = 43}));
  EXPECT_FALSE(AppleDart2::shape({.input_bits = 14}));
}

TEST(AppleDart, RefusesWhatItCannotExpress) {
  EXPECT_FALSE(AppleDart1With4K::attributes({}, kNothing));
  EXPECT_FALSE(AppleDart1With4K::attributes({}, kCoherent));
  EXPECT_FALSE(AppleDart2::attributes({}, kExecute));
}

TEST(S390, WordsAreThoseOfTheManual) {
  EXPECT_EQ(leaf<S390>({}, kBoth, {0x1234'5000, 0, 12}), 0x1234'5000u);
  EXPECT_EQ(leaf<S390>({}, kRead, {0x1234'5000, 0, 12}), 0x1234'5200u);
  EXPECT_EQ(S390::table(PhysAddr{0x1234'5800}, 1), 0x1234'5800u);  // a page table of 2 KiB
  EXPECT_EQ(S390::table(PhysAddr{0x1234'4000}, 2), 0x1234'4007u);  // type 1, all quarters
  EXPECT_EQ(S390::table(PhysAddr{0x1234'4000}, 3), 0x1234'400bu);
  EXPECT_EQ(S390::table(PhysAddr{0x1234'4000}, 4), 0x1234'400fu);
  EXPECT_EQ(S390::empty(0), 0x400u);
  EXPECT_EQ(S390::empty(1), 0x20u);
  EXPECT_EQ(S390::empty(4), 0x20u);
}

TEST(S390, RootsReachWhatTheManualSays) {
  EXPECT_EQ(S390::shape({.top_level = 1})->input_bits, 31u);
  EXPECT_EQ(S390::shape({.top_level = 2})->input_bits, 42u);
  EXPECT_EQ(S390::shape({.top_level = 3})->input_bits, 53u);
  EXPECT_EQ(S390::shape({.top_level = 4})->input_bits, 64u);
  EXPECT_FALSE(S390::shape({.top_level = 0}));
  EXPECT_FALSE(S390::shape({.top_level = 5}));
}

TEST(S390, RefusesWhatItCannotExpress) {
  EXPECT_FALSE(S390::attributes({}, kNothing));
  EXPECT_FALSE(S390::attributes({}, kWrite));
  EXPECT_FALSE(S390::attributes({}, kCoherent));
  EXPECT_FALSE(S390::attributes({}, kExecute));
}

}  // namespace softiommu::pt
