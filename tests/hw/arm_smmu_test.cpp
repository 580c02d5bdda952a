// SPDX-License-Identifier: BSD-3-Clause
// Golden words of hw/arm_smmu.h: offsets and bits written out by hand from Arm IHI 0062.
#include "hw/arm_smmu.h"

#include <gtest/gtest.h>

#include <utility>

namespace softiommu::hw::smmu {
namespace {

// As an MMU-500 might say it: both stages and nested, matching, 128 entries, 15-bit ids, 64 banks and interrupts,
// coherent, all AArch32 tables; 4 KiB pages, 2 * 64 of them; 40 bits out and in, 48 bits upstream, 4K and 64K AArch64
// tables.
constexpr std::uint64_t kIdr0Word = 0x7840'5e80, kIdr1Word = 0x5000'8040, kIdr2Word = 0x5522;

TEST(SmmuRegisters, StandWhereTheSpecificationPutsThem) {
  EXPECT_EQ(kCr0.offset, 0x00u);
  EXPECT_EQ(kAcr.offset, 0x10u);
  EXPECT_EQ(kIdr0.offset, 0x20u);
  EXPECT_EQ(kIdr1.offset, 0x24u);
  EXPECT_EQ(kIdr2.offset, 0x28u);
  EXPECT_EQ(kIdr7.offset, 0x3cu);
  EXPECT_EQ(kGfar.offset, 0x40u);
  EXPECT_EQ(kGfsr.offset, 0x48u);
  EXPECT_EQ(kGfsynr0.offset, 0x50u);
  EXPECT_EQ(kGfsynr1.offset, 0x54u);
  EXPECT_EQ(kTlbiVmid.offset, 0x64u);
  EXPECT_EQ(kTlbiAllNsnh.offset, 0x68u);
  EXPECT_EQ(kTlbiAllH.offset, 0x6cu);
  EXPECT_EQ(kTlbGsync.offset, 0x70u);
  EXPECT_EQ(kTlbGstatus.offset, 0x74u);
  EXPECT_EQ(smr_offset(3), 0x80cu);
  EXPECT_EQ(s2cr_offset(127), 0xdfcu);
  EXPECT_EQ(cbar_offset(2), 0x008u);
  EXPECT_EQ(cbfrsynra_offset(2), 0x408u);
  EXPECT_EQ(cba2r_offset(2), 0x808u);
}

TEST(SmmuContextBank, RegistersStandWhereTheSpecificationPutsThem) {
  EXPECT_EQ(kSctlr.offset, 0x00u);
  EXPECT_EQ(kResume.offset, 0x08u);
  EXPECT_EQ(kTcr2.offset, 0x10u);
  EXPECT_EQ(kTtbr0.offset, 0x20u);
  EXPECT_EQ(kTtbr1.offset, 0x28u);
  EXPECT_EQ(kTcr.offset, 0x30u);
  EXPECT_EQ(kContextIdr.offset, 0x34u);
  EXPECT_EQ(kMair0.offset, 0x38u);
  EXPECT_EQ(kMair1.offset, 0x3cu);
  EXPECT_EQ(kPar.offset, 0x50u);
  EXPECT_EQ(kFsr.offset, 0x58u);
  EXPECT_EQ(kFar.offset, 0x60u);
  EXPECT_EQ(kFsynr0.offset, 0x68u);
  EXPECT_EQ(kIpaFar.offset, 0x70u);
  EXPECT_EQ(kTlbiVa.offset, 0x600u);
  EXPECT_EQ(kTlbiVaa.offset, 0x608u);
  EXPECT_EQ(kTlbiAsid.offset, 0x610u);
  EXPECT_EQ(kTlbiAll.offset, 0x618u);
  EXPECT_EQ(kTlbiVal.offset, 0x620u);
  EXPECT_EQ(kTlbiVaal.offset, 0x628u);
  EXPECT_EQ(kTlbiIpas2.offset, 0x630u);
  EXPECT_EQ(kTlbiIpas2l.offset, 0x638u);
  EXPECT_EQ(kTlbSync.offset, 0x7f0u);
  EXPECT_EQ(kTlbStatus.offset, 0x7f4u);
  EXPECT_EQ(kAts1Pr.offset, 0x800u);
  EXPECT_EQ(kAts1Uw.offset, 0x818u);
  EXPECT_EQ(kAtsr.offset, 0x8f0u);
}

TEST(SmmuIdentification, OfAUnitIsReadRight) {
  EXPECT_EQ(kIdr0["NUMSMRG"].get(kIdr0Word), 128u);
  EXPECT_EQ(kIdr0["NUMSIDB"].get(kIdr0Word), 15u);
  EXPECT_EQ(kIdr0["NUMIRPT"].get(kIdr0Word), 64u);
  EXPECT_EQ(kIdr0["PTFS"].get(kIdr0Word), 0u);
  EXPECT_TRUE(kIdr0["CTTW"].is_set(kIdr0Word) && kIdr0["SMS"].is_set(kIdr0Word) && kIdr0["NTS"].is_set(kIdr0Word));
  EXPECT_TRUE(kIdr0["S1TS"].is_set(kIdr0Word) && kIdr0["S2TS"].is_set(kIdr0Word));
  EXPECT_FALSE(kIdr0["EXIDS"].is_set(kIdr0Word) || kIdr0["ATOSNS"].is_set(kIdr0Word));
  EXPECT_EQ(kIdr1["NUMCB"].get(kIdr1Word), 64u);
  EXPECT_EQ(kIdr1["NUMS2CB"].get(kIdr1Word), 0u);
  EXPECT_EQ(kIdr2["IAS"].get(kIdr2Word), 2u);
  EXPECT_EQ(kIdr2["OAS"].get(kIdr2Word), 2u);
  EXPECT_EQ(kIdr2["UBS"].get(kIdr2Word), 5u);
  EXPECT_TRUE(kIdr2["PTFSV8_4K"].is_set(kIdr2Word) && kIdr2["PTFSV8_64K"].is_set(kIdr2Word));
  EXPECT_FALSE(kIdr2["PTFSV8_16K"].is_set(kIdr2Word) || kIdr2["VMID16S"].is_set(kIdr2Word));
}

TEST(SmmuIdentification, SaysWhereTheSpacesAre) {
  const Pages small = Pages::of(kIdr1Word), large = Pages::of(0xb000'0008);
  EXPECT_EQ(small.global1(), 0x1000u);
  EXPECT_EQ(small.bank(0), 0x4'0000u);
  EXPECT_EQ(small.bank(3), 0x4'3000u);
  EXPECT_EQ(small.bytes(), 0x8'0000u);
  EXPECT_EQ(large.global1(), 0x1'0000u);
  EXPECT_EQ(large.bank(1), 0x11'0000u);
}

TEST(SmmuControl, BitsMatchWordsWrittenByHand) {
  EXPECT_EQ(kCr0.reset, 1u);
  EXPECT_EQ(kCr0["GFRE"].put(1) | kCr0["GFIE"].put(1) | kCr0["GCFGFRE"].put(1) | kCr0["GCFGFIE"].put(1) |
                kCr0["USFCFG"].put(1) | kCr0["VMIDPNE"].put(1) | kCr0["PTM"].put(1) | kCr0["SMCFCFG"].put(1),
            0x20'1c36u);
  EXPECT_EQ(kCr0["VMID16EN"].put(1) | kCr0["EXIDENABLE"].put(1), 0x8000'0008u);
  EXPECT_EQ(kGfsr["ICF"].mask(), 1u);
  EXPECT_EQ(kGfsr["USF"].mask(), 2u);
  EXPECT_EQ(kGfsr["SMCF"].mask(), 4u);
  EXPECT_EQ(kGfsr["UCBF"].mask(), 8u);
  EXPECT_EQ(kGfsr["UCIF"].mask(), 0x10u);
  EXPECT_EQ(kGfsr["UUT"].mask() | kGfsr["MULTI"].mask(), 0x8000'0100u);
  EXPECT_EQ(kGfsynr0["WNR"].mask(), 2u);
}

TEST(SmmuStreams, EntriesMatchWordsWrittenByHand) {
  EXPECT_EQ(kSmr["VALID"].put(1) | kSmr["MASK"].put(7) | kSmr["ID"].put(0x18), 0x8007'0018u);
  EXPECT_EQ(kExtendedSmr["MASK"].put(0x8000) | kExtendedSmr["ID"].put(0xffff), 0x8000'ffffu);
  EXPECT_EQ(kS2cr["TYPE"].put(std::to_underlying(StreamType::translate)) | kS2cr["CBNDX"].put(5), 5u);
  EXPECT_EQ(kS2cr["TYPE"].put(std::to_underlying(StreamType::bypass)), 0x1'0000u);
  EXPECT_EQ(kS2cr["TYPE"].put(std::to_underlying(StreamType::fault)), 0x2'0000u);
  EXPECT_EQ(kS2cr["EXIDVALID"].put(1), 0x400u);
  EXPECT_EQ(
      kCbar["TYPE"].put(std::to_underlying(ContextType::stage1)) | kCbar["BPSHCFG"].put(3) | kCbar["MEMATTR"].put(15),
      0x1'f300u);
  EXPECT_EQ(kNestedCbar["TYPE"].put(std::to_underlying(ContextType::nested)) | kNestedCbar["CBNDX"].put(2), 0x3'0200u);
  EXPECT_EQ(kCbar["VMID"].put(9) | kCbar["IRPTNDX"].put(1), 0x0100'0009u);
  EXPECT_EQ(kCba2r["VA64"].put(1) | kCba2r["VMID16"].put(0x1234), 0x1234'0001u);
}

TEST(SmmuContextBank, BitsMatchWordsWrittenByHand) {
  EXPECT_EQ(kSctlr["M"].put(1) | kSctlr["TRE"].put(1) | kSctlr["AFE"].put(1) | kSctlr["CFRE"].put(1) |
                kSctlr["CFIE"].put(1) | kSctlr["ASIDPNE"].put(1),
            0x1067u);
  EXPECT_EQ(kSctlr["CFCFG"].put(1) | kSctlr["HUPCF"].put(1), 0x180u);
  EXPECT_EQ(
      kTcr["T0SZ"].put(16) | kTcr["IRGN0"].put(1) | kTcr["ORGN0"].put(1) | kTcr["SH0"].put(3) | kTcr["EPD1"].put(1),
      0x80'3510u);
  EXPECT_EQ(kTcr["TG0"].put(2) | kTcr["EPD0"].put(1) | kTcr["A1"].put(1), 0x40'8080u);
  EXPECT_EQ(kTcr["TG1"].put(2) | kTcr["T1SZ"].put(25), 0x8019'0000u);
  EXPECT_EQ(kAArch32Tcr["EAE"].mask(), 0x8000'0000u);
  EXPECT_EQ(kStage2Tcr["RES1"].put(1) | kStage2Tcr["PASIZE"].put(2) | kStage2Tcr["SL0"].put(1) |
                kStage2Tcr["T0SZ"].put(24) | kStage2Tcr["SH0"].put(3) | kStage2Tcr["ORGN0"].put(1) |
                kStage2Tcr["IRGN0"].put(1),
            0x8002'3558u);
  EXPECT_EQ(kTcr2["PASIZE"].put(5) | kTcr2["AS"].put(1) | kTcr2["SEP"].put(7), 0x3'8015u);
  EXPECT_EQ(kTtbrBits["ASID"].put(0x12), 0x0012'0000'0000'0000u);
  EXPECT_EQ(kFsr["TF"].mask() | kFsr["AFF"].mask() | kFsr["PF"].mask() | kFsr["EF"].mask() | kFsr["ASF"].mask(), 0x9eu);
  EXPECT_EQ(kFsr["SS"].mask() | kFsr["FORMAT"].put(2), 0x4000'0400u);
  EXPECT_EQ(kFsynr0["WNR"].mask() | kFsynr0["PLVL"].put(3) | kFsynr0["PTWF"].mask(), 0x413u);
  EXPECT_EQ(kFsynr0["S1CBNDX"].put(3), 0x3'0000u);
  EXPECT_EQ(kTlbiVa64["ASID"].put(7) | kTlbiVa64["VA"].put(0x12345), 0x0007'0000'0001'2345u);
  EXPECT_EQ(kTlbiVa32["ASID"].put(7) | kTlbiVa32["VA"].put(0x12345), 0x1234'5007u);
}

}  // namespace
}  // namespace softiommu::hw::smmu
