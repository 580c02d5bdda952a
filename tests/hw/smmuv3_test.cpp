// SPDX-License-Identifier: BSD-3-Clause
// Golden words of hw/smmuv3.h: identification registers as real units have them, and structures written out by hand
// from Arm IHI 0070.
#include "hw/smmuv3.h"

#include <gtest/gtest.h>

#include <utility>

namespace softiommu::hw::smmuv3 {
namespace {

// "arm-smmu-v3: ias 44-bit, oas 44-bit (features 0x00000305)" of a virtual machine: stage 1, AArch64, coherent,
// 16-bit ASIDs, little-endian, terminate only, two-level stream tables; 16 stream id bits, queues of 2^19; 44 bits, 4K
// and 64K.
constexpr std::uint64_t kIdr0Virtual = 0x0d40'101a, kIdr1Virtual = 0x0273'0010, kIdr5Virtual = 0x54;

TEST(Smmuv3Registers, StandWhereTheSpecificationPutsThem) {
  EXPECT_EQ(kIdr0.offset, 0x00u);
  EXPECT_EQ(kIdr1.offset, 0x04u);
  EXPECT_EQ(kIdr3.offset, 0x0cu);
  EXPECT_EQ(kIdr5.offset, 0x14u);
  EXPECT_EQ(kIidr.offset, 0x18u);
  EXPECT_EQ(kAidr.offset, 0x1cu);
  EXPECT_EQ(kCr0.offset, 0x20u);
  EXPECT_EQ(kCr0Ack.offset, 0x24u);
  EXPECT_EQ(kCr1.offset, 0x28u);
  EXPECT_EQ(kCr2.offset, 0x2cu);
  EXPECT_EQ(kGbpa.offset, 0x44u);
  EXPECT_EQ(kIrqCtrl.offset, 0x50u);
  EXPECT_EQ(kIrqCtrlAck.offset, 0x54u);
  EXPECT_EQ(kGerror.offset, 0x60u);
  EXPECT_EQ(kGerrorN.offset, 0x64u);
  EXPECT_EQ(kStrtabBase.offset, 0x80u);
  EXPECT_EQ(kStrtabBaseCfg.offset, 0x88u);
  EXPECT_EQ(kCmdqBase.offset, 0x90u);
  EXPECT_EQ(kCmdqProd.offset, 0x98u);
  EXPECT_EQ(kCmdqCons.offset, 0x9cu);
  EXPECT_EQ(kEventqBase.offset, 0xa0u);
  EXPECT_EQ(kEventqProd.offset, 0x100a8u) << "page 1";
  EXPECT_EQ(kEventqCons.offset, 0x100acu);
  EXPECT_EQ(kPriqBase.offset, 0xc0u);
  EXPECT_EQ(kPriqProd.offset, 0x100c8u);
  EXPECT_EQ(kPriqCons.offset, 0x100ccu);
}

TEST(Smmuv3Identification, OfAVirtualMachineIsReadRight) {
  EXPECT_TRUE(kIdr0["S1P"].is_set(kIdr0Virtual));
  EXPECT_FALSE(kIdr0["S2P"].is_set(kIdr0Virtual));
  EXPECT_EQ(kIdr0["TTF"].get(kIdr0Virtual), 2u);
  EXPECT_TRUE(kIdr0["COHACC"].is_set(kIdr0Virtual));
  EXPECT_TRUE(kIdr0["ASID16"].is_set(kIdr0Virtual));
  EXPECT_EQ(kIdr0["TTENDIAN"].get(kIdr0Virtual), 2u);
  EXPECT_EQ(kIdr0["STALL_MODEL"].get(kIdr0Virtual), 1u);
  EXPECT_TRUE(kIdr0["TERM_MODEL"].is_set(kIdr0Virtual));
  EXPECT_EQ(kIdr0["ST_LEVEL"].get(kIdr0Virtual), 1u);
  EXPECT_EQ(kIdr1["SIDSIZE"].get(kIdr1Virtual), 16u);
  EXPECT_EQ(kIdr1["CMDQS"].get(kIdr1Virtual), 19u);
  EXPECT_EQ(kIdr1["EVENTQS"].get(kIdr1Virtual), 19u);
  EXPECT_EQ(kIdr5["OAS"].get(kIdr5Virtual), 4u);
  EXPECT_TRUE(kIdr5["GRAN4K"].is_set(kIdr5Virtual) && kIdr5["GRAN64K"].is_set(kIdr5Virtual));
  EXPECT_FALSE(kIdr5["GRAN16K"].is_set(kIdr5Virtual));
}

TEST(Smmuv3Identification, OtherFeaturesStandWhereTheSpecificationPutsThem) {
  EXPECT_EQ(kIdr0["HTTU"].put(2), 0x80u);
  EXPECT_EQ(kIdr0["HYP"].put(1), 0x200u);
  EXPECT_EQ(kIdr0["ATS"].put(1), 0x400u);
  EXPECT_EQ(kIdr0["MSI"].put(1), 0x2000u);
  EXPECT_EQ(kIdr0["SEV"].put(1), 0x4000u);
  EXPECT_EQ(kIdr0["PRI"].put(1), 0x1'0000u);
  EXPECT_EQ(kIdr0["VMID16"].put(1), 0x4'0000u);
  EXPECT_EQ(kIdr0["CD2L"].put(1), 0x8'0000u);
  EXPECT_EQ(kIdr3["RIL"].put(1), 0x400u);
  EXPECT_EQ(kIdr3["BBML"].put(2), 0x1000u);
  EXPECT_EQ(kIdr3["FWB"].put(1), 0x100u);
  EXPECT_EQ(kIdr1["SSIDSIZE"].put(20), 0x500u);
  EXPECT_EQ(kIdr1["PRIQS"].put(7), 0x3800u);
  EXPECT_EQ(kIdr5["VAX"].put(1) | kIdr5["OAS"].put(6), 0x406u);
  EXPECT_EQ(kIdr5["STALL_MAX"].put(16), 0x10'0000u);
  EXPECT_EQ(kIdr1["TABLES_PRESET"].put(1) | kIdr1["QUEUES_PRESET"].put(1), 0x6000'0000u);
}

TEST(Smmuv3Control, BitsMatchWordsWrittenByHand) {
  EXPECT_EQ(kCr0["SMMUEN"].put(1) | kCr0["EVENTQEN"].put(1) | kCr0["CMDQEN"].put(1), 0xdu);
  EXPECT_EQ(kCr1["TABLE_SH"].put(3) | kCr1["TABLE_OC"].put(1) | kCr1["TABLE_IC"].put(1) | kCr1["QUEUE_SH"].put(3) |
                kCr1["QUEUE_OC"].put(1) | kCr1["QUEUE_IC"].put(1),
            0xd75u);
  EXPECT_EQ(kCr2["PTM"].put(1) | kCr2["RECINVSID"].put(1), 0x6u);
  EXPECT_EQ(kGbpa["UPDATE"].put(1) | kGbpa["ABORT"].put(1), 0x8010'0000u);
  EXPECT_EQ(kIrqCtrl["EVENTQ_IRQEN"].put(1) | kIrqCtrl["GERROR_IRQEN"].put(1), 0x5u);
  EXPECT_EQ(kGerror["CMDQ_ERR"].put(1) | kGerror["EVENTQ_ABT_ERR"].put(1), 0x5u);
  EXPECT_EQ(kStrtabBaseCfg["FMT"].put(1) | kStrtabBaseCfg["SPLIT"].put(8) | kStrtabBaseCfg["LOG2SIZE"].put(16),
            0x1'0210u);
  EXPECT_EQ(kCmdqCons["ERR"].get(0x0100'0003), 1u);
  EXPECT_EQ(kEventqProd["OVFLG"].get(0x8000'0000), 1u);
  EXPECT_EQ(
      kQueueBaseBits["RA"].put(1) | kQueueBaseBits["ADDR"].in_place(0x1'2340'0000) | kQueueBaseBits["LOG2SIZE"].put(8),
      0x4000'0001'2340'0008u);
}

TEST(Smmuv3StreamTable, EntriesMatchWordsWrittenByHand) {
  EXPECT_EQ(kL1Std["L2Ptr"].in_place(0x1234'4000) | kL1Std["Span"].put(9), 0x1234'4009u);
  EXPECT_EQ(kSte0["V"].put(1) | kSte0["Config"].put(4), 0x9u);
  EXPECT_EQ(kSte0["V"].put(1) | kSte0["Config"].put(5) | kSte0["S1ContextPtr"].in_place(0x1234'5040), 0x1234'504bu);
  EXPECT_EQ(kSte0["S1CDMax"].put(5), 0x2800'0000'0000'0000u);
  EXPECT_EQ(kSte1["S1CIR"].put(1) | kSte1["S1COR"].put(1) | kSte1["S1CSH"].put(3) | kSte1["SHCFG"].put(1),
            0x1000'0000'00d4u);
  EXPECT_EQ(kSte1["S1STALLD"].put(1) | kSte1["S1DSS"].put(2) | kSte1["STRW"].put(2), 0x8800'0002u);
  EXPECT_EQ(kSte1["S2FWB"].put(1) | kSte1["MEV"].put(1), 0x208'0000u);
  // VMID 7, 40 bits in and out from level 1, 4 KiB, write-back inner shareable, AArch64, faults recorded.
  EXPECT_EQ(kSte2["S2VMID"].put(7) | kSte2["S2T0SZ"].put(24) | kSte2["S2SL0"].put(1) | kSte2["S2IR0"].put(1) |
                kSte2["S2OR0"].put(1) | kSte2["S2SH0"].put(3) | kSte2["S2PS"].put(2) | kSte2["S2AA64"].put(1) |
                kSte2["S2PTW"].put(1) | kSte2["S2R"].put(1),
            0x044a'3558'0000'0007u);
  EXPECT_EQ(kSte2["S2AFFD"].put(1) | kSte2["S2HD"].put(1) | kSte2["S2HA"].put(1) | kSte2["S2S"].put(1),
            0x03a0'0000'0000'0000u);
  EXPECT_EQ(kSte3["S2TTB"].in_place(0xffff'ffff'ffff'ffff), 0x000f'ffff'ffff'fff0u);
}

// Tables of context descriptors: linear for 16 substreams; two-level with 64 KiB leaves for 2^20.
TEST(Smmuv3StreamTable, EntriesOfSubstreamsMatchWordsWrittenByHand) {
  const auto format = [](S1Format which) { return kSte0["S1Fmt"].put(std::to_underlying(which)); };
  const auto without = [](S1Default what) { return kSte1["S1DSS"].put(std::to_underlying(what)); };
  EXPECT_EQ(format(S1Format::linear) | kSte0["S1CDMax"].put(4), 0x2000'0000'0000'0000u);
  EXPECT_EQ(format(S1Format::leaves_4k), 0x10u);
  EXPECT_EQ(format(S1Format::leaves_64k) | kSte0["S1CDMax"].put(20), 0xa000'0000'0000'0020u);
  EXPECT_EQ(without(S1Default::abort), 0u);
  EXPECT_EQ(without(S1Default::bypass), 1u);
  EXPECT_EQ(without(S1Default::substream0), 2u);
  EXPECT_EQ(kSte1["EATS"].put(1), 0x1000'0000u);
  EXPECT_EQ(kL1Cd["V"].put(1) | kL1Cd["L2Ptr"].in_place(0x1234'5fff), 0x1234'5001u);
}

TEST(Smmuv3ContextDescriptor, MatchesWordsWrittenByHand) {
  // ASID 0x1234, 48 bits in and out, 4 KiB, write-back inner shareable, no TTB1, faults recorded and aborted.
  EXPECT_EQ(kCd0["ASID"].put(0x1234) | kCd0["T0SZ"].put(16) | kCd0["IR0"].put(1) | kCd0["OR0"].put(1) |
                kCd0["SH0"].put(3) | kCd0["EPD1"].put(1) | kCd0["V"].put(1) | kCd0["IPS"].put(5) | kCd0["AA64"].put(1) |
                kCd0["R"].put(1) | kCd0["A"].put(1) | kCd0["ASET"].put(1),
            0x1234'e205'c000'3510u);
  EXPECT_EQ(kCd0["HD"].put(1) | kCd0["HA"].put(1), 0x0c00'0000'0000u);
  EXPECT_EQ(kCd0["S"].put(1) | kCd0["TBI0"].put(1) | kCd0["AFFD"].put(1), 0x1048'0000'0000u);
  EXPECT_EQ(kCd0["EPD0"].put(1) | kCd0["ENDI"].put(1) | kCd0["TG0"].put(2), 0xc080u);
  EXPECT_EQ(kCd1["TTB0"].in_place(0xffff'ffff'ffff'ffff), 0x000f'ffff'ffff'fff0u);
  EXPECT_EQ(kCd3["MAIR0"].put(0xff00), 0xff00u);
}

TEST(Smmuv3Commands, MatchWordsWrittenByHand) {
  EXPECT_EQ(kCommandCfgi0["Opcode"].put(std::uint64_t{3}) | kCommandCfgi0["StreamID"].put(0x10), 0x10'0000'0003u);
  EXPECT_EQ(kCommandCfgi0["SubstreamID"].put(0x12345), 0x1234'5000u);
  EXPECT_EQ(kCommandCfgi1["Range"].put(31), 31u);
  // TLBI_NH_VA, ASID 5, leaf, (3 + 1) * 2^2 granules of 4 KiB from 0x40000000.
  EXPECT_EQ(kCommandTlbi0["Opcode"].put(0x12) | kCommandTlbi0["NUM"].put(3) | kCommandTlbi0["SCALE"].put(2) |
                kCommandTlbi0["ASID"].put(5),
            0x0005'0000'0020'3012u);
  EXPECT_EQ(kCommandTlbi1["Leaf"].put(1) | kCommandTlbi1["TG"].put(1) | kCommandTlbi1["TTL"].put(3) |
                kCommandTlbi1["Address"].in_place(0x4000'0fff),
            0x4000'0701u);
  EXPECT_EQ(kCommandTlbi0["VMID"].put(0xabcd), 0xabcd'0000'0000u);
  EXPECT_EQ(kCommandSync0["Opcode"].put(0x46) | kCommandSync0["CS"].put(1) | kCommandSync0["MSH"].put(3) |
                kCommandSync0["MSIATTR"].put(0xf) | kCommandSync0["MSIDATA"].put(7),
            0x7'0fc0'1046u);
  EXPECT_EQ(kCommandSync1["MSIADDR"].in_place(0x1234'5677), 0x1234'5674u);
}

TEST(Smmuv3Commands, OfDevicesAndFaultsMatchWordsWrittenByHand) {
  EXPECT_EQ(kCommandAtcInv0["Opcode"].put(0x40) | kCommandAtcInv0["SSV"].put(1) |
                kCommandAtcInv0["SubstreamID"].put(3) | kCommandAtcInv0["StreamID"].put(0x10),
            0x10'0000'3840u);
  EXPECT_EQ(kCommandAtcInv0["Global"].put(1), 0x200u);
  EXPECT_EQ(kCommandAtcInv1["Size"].put(2) | kCommandAtcInv1["Address"].in_place(0x4000'4fff), 0x4000'4002u);
  EXPECT_EQ(kCommandPriResp0["Opcode"].put(0x41) | kCommandPriResp0["SSV"].put(1), 0x841u);
  EXPECT_EQ(kCommandPriResp1["PRGIndex"].put(0x1ff) | kCommandPriResp1["Resp"].put(2), 0x21ffu);
  EXPECT_EQ(std::to_underlying(PriResponse::failure), 0);
  EXPECT_EQ(std::to_underlying(PriResponse::invalid), 1);
  EXPECT_EQ(kCommandResume0["Opcode"].put(0x44) | kCommandResume0["Ac"].put(1) | kCommandResume0["StreamID"].put(0x10),
            0x10'0000'1044u);
  EXPECT_EQ(kCommandResume0["Ab"].put(1), 0x2000u);
  EXPECT_EQ(kCommandResume1["STAG"].put(0xabcd), 0xabcdu);
}

TEST(Smmuv3PageRequests, DecodeARequestWrittenByHand) {
  // A write to 0x40000000 by stream 0x10 with PASID 5, the last of group 7.
  constexpr std::uint64_t words[kPriWords] = {0xe000'0005'0000'0010, 0x4000'0007};
  EXPECT_EQ(kPri0["StreamID"].get(words[0]), 0x10u);
  EXPECT_EQ(kPri0["SubstreamID"].get(words[0]), 5u);
  EXPECT_TRUE(kPri0["SSV"].is_set(words[0]) && kPri0["Last"].is_set(words[0]) && kPri0["W"].is_set(words[0]));
  EXPECT_FALSE(kPri0["R"].is_set(words[0]) || kPri0["X"].is_set(words[0]) || kPri0["Priv"].is_set(words[0]));
  EXPECT_EQ(kPri1["PRGIndex"].get(words[1]), 7u);
  EXPECT_EQ(kPri1["Address"].in_place(words[1]), 0x4000'0000u);
}

TEST(Smmuv3Commands, HaveTheSpecificationsNumbers) {
  EXPECT_EQ(std::to_underlying(Opcode::cfgi_ste), 0x03);
  EXPECT_EQ(std::to_underlying(Opcode::cfgi_ste_range), 0x04);
  EXPECT_EQ(std::to_underlying(Opcode::cfgi_cd), 0x05);
  EXPECT_EQ(std::to_underlying(Opcode::cfgi_cd_all), 0x06);
  EXPECT_EQ(std::to_underlying(Opcode::tlbi_nh_all), 0x10);
  EXPECT_EQ(std::to_underlying(Opcode::tlbi_nh_asid), 0x11);
  EXPECT_EQ(std::to_underlying(Opcode::tlbi_nh_va), 0x12);
  EXPECT_EQ(std::to_underlying(Opcode::tlbi_nh_vaa), 0x13);
  EXPECT_EQ(std::to_underlying(Opcode::tlbi_s12_vmall), 0x28);
  EXPECT_EQ(std::to_underlying(Opcode::tlbi_s2_ipa), 0x2a);
  EXPECT_EQ(std::to_underlying(Opcode::tlbi_nsnh_all), 0x30);
  EXPECT_EQ(std::to_underlying(Opcode::atc_inv), 0x40);
  EXPECT_EQ(std::to_underlying(Opcode::pri_resp), 0x41);
  EXPECT_EQ(std::to_underlying(Opcode::resume), 0x44);
  EXPECT_EQ(std::to_underlying(Opcode::stall_term), 0x45);
  EXPECT_EQ(std::to_underlying(Opcode::sync), 0x46);
}

TEST(Smmuv3Events, DecodeARecordWrittenByHand) {
  // F_TRANSLATION of a read by stream 0x10, stage 1, the input address.
  constexpr std::uint64_t words[kEventWords] = {0x10'0000'0010, 0x0208'0000'0000, 0x4000'0123, 0};
  EXPECT_EQ(static_cast<Event>(kEvent0["Event"].get(words[0])), Event::f_translation);
  EXPECT_EQ(kEvent0["StreamID"].get(words[0]), 0x10u);
  EXPECT_TRUE(kEvent1["RnW"].is_set(words[1]));
  EXPECT_FALSE(kEvent1["S2"].is_set(words[1]));
  EXPECT_EQ(kEvent1["CLASS"].get(words[1]), 2u);
  EXPECT_EQ(kEvent1["S2"].put(1), 0x80'0000'0000u);
  EXPECT_EQ(kEvent1["Stall"].put(1) | kEvent1["STAG"].put(0xbeef), 0x8000'beefu);
  EXPECT_STREQ(name_of(Event{0x05}), "F_BAD_ATS_TREQ");
  EXPECT_STREQ(name_of(Event{0x0a}), "C_BAD_CD");
  EXPECT_STREQ(name_of(Event{0x02}), "C_BAD_STREAMID");
  EXPECT_STREQ(name_of(Event{0x7f}), "unknown event");
}

}  // namespace
}  // namespace softiommu::hw::smmuv3
