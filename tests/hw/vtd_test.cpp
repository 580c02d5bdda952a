// SPDX-License-Identifier: BSD-3-Clause
// Golden words of hw/vtd.h: capability registers as real machines print them at boot, and structures written out by
// hand from the VT-d specification.
#include "hw/vtd.h"

#include <gtest/gtest.h>

#include <set>

namespace softiommu::hw::vtd {
namespace {

// "DMAR: dmar1: reg_base_addr fed91000 ver 1:0 cap c9008020660262 ecap f0105a": a laptop of 2011.
constexpr std::uint64_t kCap2011 = 0x00c9'0080'2066'0262, kEcap2011 = 0xf0105a;
// "cap d2008c40660462 ecap f050da": a desktop of 2015.
constexpr std::uint64_t kCap2015 = 0x00d2'008c'4066'0462, kEcap2015 = 0xf050da;
// "cap 8d2078c106f0466 ecap f020df": a server of 2017.
constexpr std::uint64_t kCap2017 = 0x08d2'078c'106f'0466, kEcap2017 = 0xf020df;

TEST(VtdRegisters, StandWhereTheSpecificationPutsThem) {
  EXPECT_EQ(kVer.offset, 0x00u);
  EXPECT_EQ(kCap.offset, 0x08u);
  EXPECT_EQ(kEcap.offset, 0x10u);
  EXPECT_EQ(kGcmd.offset, 0x18u);
  EXPECT_EQ(kGsts.offset, 0x1cu);
  EXPECT_EQ(kRtaddr.offset, 0x20u);
  EXPECT_EQ(kCcmd.offset, 0x28u);
  EXPECT_EQ(kFsts.offset, 0x34u);
  EXPECT_EQ(kFectl.offset, 0x38u);
  EXPECT_EQ(kFedata.offset, 0x3cu);
  EXPECT_EQ(kFeaddr.offset, 0x40u);
  EXPECT_EQ(kFeuaddr.offset, 0x44u);
  EXPECT_EQ(kPmen.offset, 0x64u);
  EXPECT_EQ(kIqh.offset, 0x80u);
  EXPECT_EQ(kIqt.offset, 0x88u);
  EXPECT_EQ(kIqa.offset, 0x90u);
  EXPECT_EQ(kIcs.offset, 0x9cu);
  EXPECT_EQ(kIectl.offset, 0xa0u);
  EXPECT_EQ(kIqercd.offset, 0xb0u);
  EXPECT_EQ(kIrta.offset, 0xb8u);
}

TEST(VtdCapabilities, OldLaptopHas39BitsAndNoLargePages) {
  EXPECT_EQ(domain_id_bits(kCap2011), 8u);
  EXPECT_EQ(guest_address_width(kCap2011), 39u);
  EXPECT_TRUE(supports_levels(kCap2011, 3));
  EXPECT_FALSE(supports_levels(kCap2011, 4));
  EXPECT_EQ(kCap["SLLPS"].get(kCap2011), 0u);
  EXPECT_EQ(kCap["MAMV"].get(kCap2011), 9u);
  EXPECT_TRUE(kCap["PSI"].is_set(kCap2011));
  EXPECT_TRUE(kCap["PLMR"].is_set(kCap2011));
  EXPECT_TRUE(kCap["DWD"].is_set(kCap2011) && kCap["DRD"].is_set(kCap2011));
  EXPECT_EQ(fault_record_offset(kCap2011, 0), 0x200u);
  EXPECT_EQ(fault_record_count(kCap2011), 1u);
  EXPECT_EQ(iotlb_offset(kEcap2011), 0x100u);
  EXPECT_FALSE(kEcap["SC"].is_set(kEcap2011));
  EXPECT_FALSE(kEcap["C"].is_set(kEcap2011));
  EXPECT_TRUE(kEcap["QI"].is_set(kEcap2011) && kEcap["PT"].is_set(kEcap2011) && kEcap["IR"].is_set(kEcap2011));
}

TEST(VtdCapabilities, DesktopHas48BitTablesAndLargePages) {
  EXPECT_TRUE(supports_levels(kCap2015, 4));
  EXPECT_FALSE(supports_levels(kCap2015, 3));
  EXPECT_EQ(guest_address_width(kCap2015), 39u);
  EXPECT_EQ(kCap["SLLPS"].get(kCap2015), 3u);
  EXPECT_EQ(kCap["MAMV"].get(kCap2015), 18u);
  EXPECT_EQ(fault_record_offset(kCap2015, 0), 0x400u);
  EXPECT_EQ(iotlb_offset(kEcap2015), 0x500u);
  EXPECT_TRUE(kEcap["SC"].is_set(kEcap2015));
}

TEST(VtdCapabilities, ServerHasEightFaultRegistersAndCoherentWalks) {
  EXPECT_EQ(domain_id_bits(kCap2017), 16u);
  EXPECT_EQ(guest_address_width(kCap2017), 48u);
  EXPECT_EQ(fault_record_count(kCap2017), 8u);
  EXPECT_EQ(fault_record_offset(kCap2017, 7), 0x170u);
  EXPECT_EQ(iotlb_offset(kEcap2017), 0x200u);
  EXPECT_TRUE(kEcap["C"].is_set(kEcap2017) && kEcap["DT"].is_set(kEcap2017));
}

TEST(VtdGlobalCommand, BitsMatchStatusBits) {
  EXPECT_EQ(kGcmd["TE"].put(1), 0x8000'0000u);
  EXPECT_EQ(kGcmd["SRTP"].put(1), 0x4000'0000u);
  EXPECT_EQ(kGcmd["WBF"].put(1), 0x0800'0000u);
  EXPECT_EQ(kGcmd["QIE"].put(1), 0x0400'0000u);
  EXPECT_EQ(kGcmd["TE"].mask(), kGsts["TES"].mask());
  EXPECT_EQ(kGcmd["SRTP"].mask(), kGsts["RTPS"].mask());
  EXPECT_EQ(kGcmd["QIE"].mask(), kGsts["QIES"].mask());
  EXPECT_EQ(kGcmd["WBF"].mask(), kGsts["WBFS"].mask());
}

// Domain-selective and device-selective for domain 5 and 00:02.0.
TEST(VtdInvalidationRegisters, MatchWordsWrittenByHand) {
  EXPECT_EQ(kCcmd["ICC"].put(1) | kCcmd["CIRG"].put(3) | kCcmd["SID"].put(0x0010) | kCcmd["DID"].put(5),
            0xe000'0000'0010'0005u);
  EXPECT_EQ(
      kIotlb["IVT"].put(1) | kIotlb["IIRG"].put(2) | kIotlb["DR"].put(1) | kIotlb["DW"].put(1) | kIotlb["DID"].put(5),
      0xa003'0005'0000'0000u);
  EXPECT_EQ(kIva["ADDR"].put(0x12345) | kIva["IH"].put(1) | kIva["AM"].put(9), 0x1234'5049u);
  EXPECT_EQ(kCcmd["CAIG"].put(1), 0x0800'0000'0000'0000u);
  EXPECT_EQ(kIotlb["IAIG"].put(1), 0x0200'0000'0000'0000u);
}

TEST(VtdFaultRegisters, DecodeARecordWrittenByHand) {
  // A read by 00:02.0 of page 0xfffff000 that had no read permission.
  constexpr std::uint64_t low = 0xffff'f000, high = 0xc000'0006'0000'0010;
  EXPECT_TRUE(kFrcdHigh["F"].is_set(high));
  EXPECT_TRUE(kFrcdHigh["T1"].is_set(high));
  EXPECT_EQ(kFrcdHigh["FR"].get(high), 6u);
  EXPECT_EQ(kFrcdHigh["SID"].get(high), source_id(0, 2, 0));
  EXPECT_EQ(kFrcdLow["FI"].in_place(low), 0xffff'f000u);
  EXPECT_EQ(kFsts["PFO"].mask() | kFsts["PPF"].mask() | kFsts["IQE"].mask(), 0x13u);
  EXPECT_EQ(kFsts["FRI"].put(2), 0x200u);
  EXPECT_EQ(kFectl.reset, 0x8000'0000u);
  EXPECT_EQ(kFectl["IP"].put(1), 0x4000'0000u);
}

TEST(VtdStructures, MatchWordsWrittenByHand) {
  EXPECT_EQ(kRootEntry0["CTP"].put(0x1000'0) | kRootEntry0["P"].put(1), 0x1000'0001u);
  EXPECT_EQ(kContextEntry0["SSPTPTR"].put(0x12345) | kContextEntry0["TT"].put(2) | kContextEntry0["FPD"].put(1) |
                kContextEntry0["P"].put(1),
            0x1234'500bu);
  EXPECT_EQ(kContextEntry1["DID"].put(0xabcd) | kContextEntry1["AW"].put(2), 0xab'cd02u);
  EXPECT_EQ(kContextEntry0.unnamed(), 0xff0u);
  EXPECT_EQ(kContextEntry1.unnamed(), 0xffff'ffff'ff00'0080u);
  EXPECT_EQ(aw_of_levels(3), 1u);
  EXPECT_EQ(aw_of_levels(5), 3u);
}

TEST(VtdDescriptors, MatchWordsWrittenByHand) {
  EXPECT_EQ(kContextCacheDescriptor0["TYPE"].put(1) | kContextCacheDescriptor0["G"].put(3) |
                kContextCacheDescriptor0["DID"].put(5) | kContextCacheDescriptor0["SID"].put(0x10) |
                kContextCacheDescriptor0["FM"].put(3),
            0x0003'0010'0005'0031u);
  EXPECT_EQ(kIotlbDescriptor0["TYPE"].put(2) | kIotlbDescriptor0["G"].put(3) | kIotlbDescriptor0["DR"].put(1) |
                kIotlbDescriptor0["DW"].put(1) | kIotlbDescriptor0["DID"].put(5),
            0x5'00f2u);
  EXPECT_EQ(kWaitDescriptor0["TYPE"].put(5) | kWaitDescriptor0["SW"].put(1) | kWaitDescriptor0["FN"].put(1) |
                kWaitDescriptor0["SDATA"].put(2),
            0x2'0000'0065u);
  EXPECT_EQ(kWaitDescriptor1["SADDR"].in_place(0x1'0000'1237), 0x1'0000'1234u);
  EXPECT_EQ(kDeviceTlbDescriptor0["TYPE"].put(3) | kDeviceTlbDescriptor0["SID"].put(0x100) |
                kDeviceTlbDescriptor0["MIP"].put(4),
            0x100'0004'0003u);
  EXPECT_EQ(descriptor_type(0xe05), 0x75u);
}

TEST(VtdQueue, HasTwoHundredFiftySixDescriptorsAPage) {
  EXPECT_EQ(queue_bytes(0x1000'0000), 4096u);
  EXPECT_EQ(queue_bytes(0x1000'0002), 16384u);
  EXPECT_EQ(kIqt["QT"].in_place(0xffff'ffff), 0x7'fff0u);
  EXPECT_EQ(kIqa["IQA"].in_place(0x1000'0802), 0x1000'0000u);
}

TEST(VtdFaultReasons, AreEachNamedOnce) {
  std::set<FaultReason> seen;
  for (const FaultReasonRow& row : kFaultReasons) EXPECT_TRUE(seen.insert(row.reason).second) << row.name;
  EXPECT_FALSE(find_fault_reason(FaultReason{0x1})->qualified);
  EXPECT_TRUE(find_fault_reason(FaultReason{0x5})->qualified);
  EXPECT_EQ(find_fault_reason(FaultReason{0xc})->name, "LSS.2");
  EXPECT_EQ(find_fault_reason(FaultReason::none), nullptr);
}

}  // namespace
}  // namespace softiommu::hw::vtd
