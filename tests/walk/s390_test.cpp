// SPDX-License-Identifier: BSD-3-Clause
// z/Architecture: the engine's tables as the hardware walks them, and what the walk makes of odd ones.
#include "machine/iommu/walk/s390.h"

#include "pt/formats/s390.h"
#include "suite.h"
#include "tables.h"

namespace softiommu {

class S390Walk : public test::WalkSuite<pt::S390> {
  walk::Outcome hardware(Iova iova, Access access) override {
    return walk::s390(memory(), {.root = table().root(), .root_type = table().top_level() - 1}, iova, access);
  }
};
INSTANTIATE_TEST_SUITE_P(Every, S390Walk, test::every_configuration<pt::S390>(), test::configuration_number);

TEST_P(S390Walk, AgreesWithTheEngine) { compare_random_sequences(); }

class S390ByHand : public test::TablesByHand {
 protected:
  walk::Outcome read(std::uint64_t iova) {
    return walk::s390(memory(), {.root = regions, .root_type = 1}, Iova{iova}, Access::read);
  }
  PhysAddr regions = table(4), segments = table(4), pages = table();
  void SetUp() override {
    put_big_endian(regions, 0, segments.value | 7);
    put_big_endian(segments, 0, pages.value);
    put_big_endian(pages, 5, 0x7000);
  }
};

TEST_F(S390ByHand, ProtectionOfAnyLevelForbidsWriting) {
  EXPECT_EQ(read(0x5123), (walk::Page{.first = PhysAddr{0x7000}, .lg2 = 12, .read = true, .write = true}));
  put_big_endian(segments, 0, pages.value | 0x200);
  EXPECT_EQ(read(0x5123), (walk::Page{.first = PhysAddr{0x7000}, .lg2 = 12, .read = true}));
}

TEST_F(S390ByHand, InvalidEntriesMapNothing) {
  put_big_endian(pages, 5, 0x7400);
  EXPECT_EQ(fault_of(read(0x5000)), walk::Fault::not_present);
  put_big_endian(segments, 0, pages.value | 0x20);
  EXPECT_EQ(fault_of(read(0x5000)), walk::Fault::not_present);
  EXPECT_EQ(read(0x5000).error().level, 1u);
}

TEST_F(S390ByHand, OnlyTheQuartersThatExistAreLookedAt) {
  put_big_endian(segments, 512, pages.value);  // the second quarter
  EXPECT_TRUE(read(0x2000'5000));
  put_big_endian(regions, 0, segments.value | 4);  // TL 0
  EXPECT_TRUE(read(0x5000));
  EXPECT_EQ(fault_of(read(0x2000'5000)), walk::Fault::not_present);
  put_big_endian(regions, 0, segments.value | 0x40 | 7);  // TF 1
  EXPECT_EQ(fault_of(read(0x5000)), walk::Fault::not_present);
}

TEST_F(S390ByHand, EntriesMustBeOfTheirTable) {
  put_big_endian(regions, 0, segments.value | 0xb);  // says region second
  EXPECT_EQ(fault_of(read(0x5000)), walk::Fault::reserved);
}

TEST_F(S390ByHand, LargePagesAndForbiddenBitsFault) {
  put_big_endian(pages, 5, 0x7800);
  EXPECT_EQ(fault_of(read(0x5000)), walk::Fault::reserved);
  put_big_endian(segments, 0, 0x400);
  EXPECT_EQ(fault_of(read(0x5000)), walk::Fault::reserved);
}

TEST_F(S390ByHand, AddressesBeyondTheRootAreRefused) {
  EXPECT_EQ(fault_of(read(std::uint64_t{1} << 42)), walk::Fault::input_range);
}

}  // namespace softiommu
