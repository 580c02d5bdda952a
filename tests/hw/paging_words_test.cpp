// SPDX-License-Identifier: BSD-3-Clause
// Golden words of 64-bit page-table entries: AMD v1, RISC-V, Apple DART, z/Architecture. Every field at its place, and
// whole entries, written out by hand from the manuals.
#include <gtest/gtest.h>

#include "hw/amd_v1.h"
#include "hw/apple_dart.h"
#include "hw/riscv_paging.h"
#include "hw/s390_paging.h"

namespace softiommu::hw {

constexpr std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

// AMD 48882 2.2.3: figures of the page directory entry and the page translation entry.
TEST(AmdV1Entry, FieldsStandWhereTheManualPutsThem) {
  using amd_v1::kLeaf, amd_v1::kTable;
  EXPECT_EQ(kLeaf["PR"].mask(), bit(0));
  EXPECT_EQ(kLeaf["A"].mask(), bit(5));
  EXPECT_EQ(kLeaf["D"].mask(), bit(6));
  EXPECT_EQ(kLeaf["NEXT"].mask(), 0xe00u);
  EXPECT_EQ(kLeaf["ADDR"].mask(), 0x000f'ffff'ffff'f000u);
  EXPECT_EQ(kLeaf["U"].mask(), bit(59));
  EXPECT_EQ(kLeaf["FC"].mask(), bit(60));
  EXPECT_EQ(kLeaf["IR"].mask(), bit(61));
  EXPECT_EQ(kLeaf["IW"].mask(), bit(62));
  EXPECT_EQ(kTable["PR"].mask(), bit(0));
  EXPECT_EQ(kTable["A"].mask(), bit(5));
  EXPECT_EQ(kTable["NEXT"].mask(), 0xe00u);
  EXPECT_EQ(kTable["ADDR"].mask(), 0x000f'ffff'ffff'f000u);
  EXPECT_EQ(kTable["IR"].mask(), bit(61));
  EXPECT_EQ(kTable["IW"].mask(), bit(62));
}

TEST(AmdV1Entry, WholeWordsReadAsTheManualSays) {
  using amd_v1::kLeaf, amd_v1::kTable;
  // A table of level 3 at 0x1234'5000 that allows both.
  EXPECT_EQ(kTable["NEXT"].get(0x6000'0000'1234'5601), 3u);
  EXPECT_EQ(kTable["ADDR"].in_place(0x6000'0000'1234'5601), 0x1234'5000u);
  // A read-only page of 16 KiB at 0x1234'4000: NEXT 7, and the lowest zero of the address is bit 13.
  constexpr std::uint64_t kPage = 0x2000'0000'1234'5e01;
  EXPECT_EQ(kLeaf["NEXT"].get(kPage), amd_v1::kNextCodedSize);
  EXPECT_TRUE(kLeaf["IR"].is_set(kPage));
  EXPECT_FALSE(kLeaf["IW"].is_set(kPage));
}

// Privileged architecture figures of the Sv39, Sv48 and Sv57 PTE.
TEST(RiscvEntry, FieldsStandWhereTheManualPutsThem) {
  using riscv_paging::kEntry;
  EXPECT_EQ(kEntry["V"].mask(), bit(0));
  EXPECT_EQ(kEntry["R"].mask(), bit(1));
  EXPECT_EQ(kEntry["W"].mask(), bit(2));
  EXPECT_EQ(kEntry["X"].mask(), bit(3));
  EXPECT_EQ(kEntry["U"].mask(), bit(4));
  EXPECT_EQ(kEntry["G"].mask(), bit(5));
  EXPECT_EQ(kEntry["A"].mask(), bit(6));
  EXPECT_EQ(kEntry["D"].mask(), bit(7));
  EXPECT_EQ(kEntry["RSW"].mask(), bit(8) | bit(9));
  EXPECT_EQ(kEntry["PPN"].mask(), 0x003f'ffff'ffff'fc00u);
  EXPECT_EQ(kEntry["PBMT"].mask(), bit(61) | bit(62));
  EXPECT_EQ(kEntry["N"].mask(), bit(63));
  EXPECT_EQ(kEntry.unnamed(), 0x1fc0'0000'0000'0000u);  // reserved, must be 0
}

TEST(RiscvEntry, WholeWordsReadAsTheManualSays) {
  using riscv_paging::kEntry;
  // The 64 KiB page at 0x8765'0000: PPN 0x87650, with 8 in its low bits.
  constexpr std::uint64_t kPage = 0x8000'0000'21d9'60df;
  EXPECT_EQ(kEntry["PPN"].get(kPage), 0x87658u);
  EXPECT_EQ(kEntry["PPN"].get(kPage) & 0xf, riscv_paging::kNapot64K);
  EXPECT_TRUE(kEntry["N"].is_set(kPage));
  // A table at 0x8765'0000 has V and nothing else.
  EXPECT_EQ(kEntry["PPN"].get(0x21d9'4001), 0x87650u);
}

// Public drivers: the masks of both versions' entries.
TEST(AppleDartEntry, FieldsStandWhereDriversKnowThem) {
  using apple_dart::kLeaf1, apple_dart::kLeaf2, apple_dart::kTable1, apple_dart::kTable2;
  EXPECT_EQ(kLeaf1["VALID"].mask(), bit(0));
  EXPECT_EQ(kLeaf1["SP_DIS"].mask(), bit(1));
  EXPECT_EQ(kLeaf1["NO_WRITE"].mask(), bit(7));
  EXPECT_EQ(kLeaf1["NO_READ"].mask(), bit(8));
  EXPECT_EQ(kLeaf1["ADDR"].mask(), 0x0000'000f'ffff'f000u);
  EXPECT_EQ(kLeaf1["SP_END"].mask(), 0x000f'ff00'0000'0000u);
  EXPECT_EQ(kLeaf1["SP_START"].mask(), 0xfff0'0000'0000'0000u);
  EXPECT_EQ(kTable1["VALID"].mask(), bit(0));
  EXPECT_EQ(kTable1["ADDR"].mask(), 0x0000'000f'ffff'f000u);
  EXPECT_EQ(kLeaf2["VALID"].mask(), bit(0));
  EXPECT_EQ(kLeaf2["NO_CACHE"].mask(), bit(1));
  EXPECT_EQ(kLeaf2["NO_WRITE"].mask(), bit(2));
  EXPECT_EQ(kLeaf2["NO_READ"].mask(), bit(3));
  EXPECT_EQ(kLeaf2["ADDR"].mask(), 0x0000'003f'ffff'fc00u);
  EXPECT_EQ(kLeaf2["SP_END"].mask(), 0x000f'ff00'0000'0000u);
  EXPECT_EQ(kLeaf2["SP_START"].mask(), 0xfff0'0000'0000'0000u);
  EXPECT_EQ(kTable2["VALID"].mask(), bit(0));
  EXPECT_EQ(kTable2["ADDR"].mask(), 0x0000'003f'ffff'fc00u);
}

TEST(AppleDartEntry, VersionTwoStoresAddressesShiftedByFour) {
  // The highest page below 2^42.
  EXPECT_EQ(apple_dart::kLeaf2["ADDR"].in_place(0x3ff'ffff'c000 >> apple_dart::kAddressShift2), 0x3f'ffff'fc00u);
}

// Principles of Operation ch. 3. Bit n of the manual is bit 63 - n here.
TEST(S390Entry, FieldsStandWhereTheManualPutsThem) {
  using s390_paging::kPageEntry, s390_paging::kRegionEntry, s390_paging::kSegmentEntry;
  EXPECT_EQ(kRegionEntry["ADDR"].mask(), 0xffff'ffff'ffff'f000u);  // 0-51
  EXPECT_EQ(kRegionEntry["P"].mask(), bit(63 - 54));
  EXPECT_EQ(kRegionEntry["TF"].mask(), bit(63 - 56) | bit(63 - 57));
  EXPECT_EQ(kRegionEntry["I"].mask(), bit(63 - 58));
  EXPECT_EQ(kRegionEntry["TT"].mask(), bit(63 - 60) | bit(63 - 61));
  EXPECT_EQ(kRegionEntry["TL"].mask(), bit(63 - 62) | bit(63 - 63));
  EXPECT_EQ(kSegmentEntry["ADDR"].mask(), 0xffff'ffff'ffff'f800u);  // 0-52
  EXPECT_EQ(kSegmentEntry["FC"].mask(), bit(63 - 53));
  EXPECT_EQ(kSegmentEntry["P"].mask(), bit(63 - 54));
  EXPECT_EQ(kSegmentEntry["I"].mask(), bit(63 - 58));
  EXPECT_EQ(kSegmentEntry["CS"].mask(), bit(63 - 59));
  EXPECT_EQ(kSegmentEntry["TT"].mask(), bit(63 - 60) | bit(63 - 61));
  EXPECT_EQ(kPageEntry["ADDR"].mask(), 0xffff'ffff'ffff'f000u);  // 0-51
  EXPECT_EQ(kPageEntry["I"].mask(), bit(63 - 53));
  EXPECT_EQ(kPageEntry["P"].mask(), bit(63 - 54));
  EXPECT_EQ(kPageEntry["IEP"].mask(), bit(63 - 55));
}

}  // namespace softiommu::hw
