// SPDX-License-Identifier: BSD-3-Clause
// Golden words of hw/vtd_scalable.h, written out by hand from the VT-d specification.
#include "hw/vtd_scalable.h"

#include <gtest/gtest.h>

#include "hw/x86_64_paging.h"

namespace softiommu::hw::vtd {
namespace {

TEST(VtdScalable, Capabilities) {
  // SMTS, SSADS, SSTS, FSTS; PASIDs of 20 bits; PRS, NEST, DT.
  constexpr std::uint64_t kEcapWord = std::uint64_t{0b1'1101} << 43 | std::uint64_t{1} << 40 | std::uint64_t{19} << 35 |
                                      std::uint64_t{1} << 29 | std::uint64_t{1} << 26 | std::uint64_t{1} << 2;
  EXPECT_TRUE(kEcap["SMTS"].is_set(kEcapWord) && kEcap["FSTS"].is_set(kEcapWord) && kEcap["SSTS"].is_set(kEcapWord));
  EXPECT_TRUE(kEcap["NEST"].is_set(kEcapWord) && kEcap["PASID"].is_set(kEcapWord) && kEcap["PRS"].is_set(kEcapWord));
  EXPECT_TRUE(kEcap["SSADS"].is_set(kEcapWord) && kEcap["DT"].is_set(kEcapWord));
  EXPECT_EQ(pasid_width(kEcapWord), 20u);
}

TEST(VtdScalable, PageRequestRegisters) {
  EXPECT_EQ(kPqh.offset, 0xc0u);
  EXPECT_EQ(kPqt.offset, 0xc8u);
  EXPECT_EQ(kPqa.offset, 0xd0u);
  EXPECT_EQ(kPrs.offset, 0xdcu);
  EXPECT_EQ(kPectl.offset, 0xe0u);
  EXPECT_EQ(page_queue_bytes(4), 65536u);
}

TEST(VtdScalable, ContextEntry) {
  // Directory at 0x1234000 of 2^14 entries, PASIDs, page requests and a device TLB allowed.
  constexpr std::uint64_t kWord = 0x0123'4000 | 7 << 9 | 1 << 4 | 1 << 3 | 1 << 2 | 1;
  EXPECT_EQ(kScalableContextEntry0["PASIDDIRPTR"].in_place(kWord), 0x0123'4000u);
  EXPECT_EQ(directory_lg2(kWord), 14u);
  EXPECT_TRUE(kScalableContextEntry0["DTE"].is_set(kWord) && kScalableContextEntry0["PASIDE"].is_set(kWord));
  EXPECT_TRUE(kScalableContextEntry0["PRE"].is_set(kWord) && kScalableContextEntry0["P"].is_set(kWord));
  EXPECT_EQ(kScalableContextEntry0.unnamed(), 0x1e0u);
}

TEST(VtdScalable, PasidEntryOfANestedTranslation) {
  // Four levels each, domain 0x55, dirty bits kept, second stage at 0xabc000, first at 0xdef000.
  EXPECT_EQ(kPasidEntry0["P"].put(1) | kPasidEntry0["AW"].put(2) | kPasidEntry0["PGTT"].put(3) |
                kPasidEntry0["SSADE"].put(1) | kPasidEntry0["SSPTPTR"].in_place(0xab'c000),
            0xab'c2c9u);
  EXPECT_EQ(kPasidEntry1["DID"].put(0x55) | kPasidEntry1["PWSNP"].put(1) | kPasidEntry1["PGSNP"].put(1), 0x0180'0055u);
  EXPECT_EQ(kPasidEntry2["SRE"].put(1) | kPasidEntry2["FSPM"].put(1) | kPasidEntry2["WPE"].put(1) |
                kPasidEntry2["EAFE"].put(1) | kPasidEntry2["FSPTPTR"].in_place(0xde'f000),
            0xde'f095u);
}

TEST(VtdScalable, PasidDirectoryEntry) {
  EXPECT_EQ(kPasidDirectoryEntry["P"].put(1) | kPasidDirectoryEntry["SMPTBLPTR"].in_place(0x7000), 0x7001u);
}

TEST(VtdScalable, FirstStageLeafIsAnX86Page) {
  using x86_64_paging::kEntry;
  EXPECT_EQ(kEntry["P"].put(1) | kEntry["RW"].put(1) | kEntry["US"].put(1) | kEntry["A"].put(1) | kEntry["D"].put(1) |
                kEntry["ADDR"].in_place(0x5000),
            0x5067u);
}

TEST(VtdScalable, Descriptors) {
  constexpr std::uint64_t kPasid = 0x12345, kId = 0x55, kSource = 0x10;
  EXPECT_EQ(kPasidCacheDescriptor0["TYPE"].put(7) | kPasidCacheDescriptor0["G"].put(1) |
                kPasidCacheDescriptor0["DID"].put(kId) | kPasidCacheDescriptor0["PASID"].put(kPasid),
            0x0001'2345'0055'0017u);
  EXPECT_EQ(kPasidIotlbDescriptor0["TYPE"].put(6) | kPasidIotlbDescriptor0["G"].put(3) |
                kPasidIotlbDescriptor0["DID"].put(kId) | kPasidIotlbDescriptor0["PASID"].put(kPasid),
            0x0001'2345'0055'0036u);
  EXPECT_EQ(kPasidDeviceTlbDescriptor0["TYPE"].put(8) | kPasidDeviceTlbDescriptor0["SID"].put(kSource) |
                kPasidDeviceTlbDescriptor0["PASID"].put(kPasid) | kPasidDeviceTlbDescriptor0["MIP"].put(1),
            0x0001'2345'0010'0018u);
  EXPECT_EQ(kPageResponseDescriptor0["TYPE"].put(9) | kPageResponseDescriptor0["PP"].put(1) |
                kPageResponseDescriptor0["RC"].put(15) | kPageResponseDescriptor0["RID"].put(kSource) |
                kPageResponseDescriptor0["PASID"].put(kPasid),
            0x0001'2345'0010'f019u);
  EXPECT_EQ(kPageResponseDescriptor1["PRGI"].put(0x1ff), 0xff8u);
}

TEST(VtdScalable, PageRequest) {
  EXPECT_EQ(kPageRequest0["TYPE"].put(1) | kPageRequest0["PP"].put(1) | kPageRequest0["RID"].put(0x10) |
                kPageRequest0["PASID"].put(0x47),
            0x0000'0047'0010'0101u);
  EXPECT_EQ(kPageRequest1["R"].put(1) | kPageRequest1["LPIG"].put(1) | kPageRequest1["PRGI"].put(3) |
                kPageRequest1["ADDR"].in_place(0x5000),
            0x501du);
}

TEST(VtdScalable, DeviceTlbAddressesSayTheirSize) {
  EXPECT_EQ(device_tlb_range(0x5000, false).first, 0x5000u);
  EXPECT_EQ(device_tlb_range(0x5000, true).first, 0x4000u);
  EXPECT_EQ(device_tlb_range(0x5000, true).bytes, 0x4000u);
  for (unsigned mask = 1; mask < 40; ++mask) {
    const std::uint64_t first = std::uint64_t{1} << 52;
    const DeviceTlbRange range = device_tlb_range(device_tlb_address(first, mask), true);
    EXPECT_EQ(range.first, first) << mask;
    EXPECT_EQ(range.bytes, std::uint64_t{4096} << mask) << mask;
  }
}

TEST(VtdScalable, EveryReasonHasOneRow) {
  for (const FaultReasonRow& row : kFaultReasons) EXPECT_EQ(find_fault_reason(row.reason), &row) << row.name;
}

}  // namespace
}  // namespace softiommu::hw::vtd
