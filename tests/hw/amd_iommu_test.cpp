// SPDX-License-Identifier: BSD-3-Clause
// Golden words of hw/amd_iommu.h: feature registers as real units have them, and structures written out by hand from
// AMD 48882.
#include "hw/amd_iommu.h"

#include <gtest/gtest.h>

#include <utility>

namespace softiommu::hw::amd {
namespace {

// "AMD-Vi: Extended features (0x58f77ef22294a5a): PPR NX GT IA PC GA_vAPIC" of a server.
constexpr std::uint64_t kServer = 0x058f'77ef'2229'4a5a;

TEST(AmdRegisters, StandWhereTheSpecificationPutsThem) {
  EXPECT_EQ(kDeviceTable.offset, 0x0000u);
  EXPECT_EQ(kCommandBase.offset, 0x0008u);
  EXPECT_EQ(kEventBase.offset, 0x0010u);
  EXPECT_EQ(kControl.offset, 0x0018u);
  EXPECT_EQ(kExclusionBase.offset, 0x0020u);
  EXPECT_EQ(kExclusionLimit.offset, 0x0028u);
  EXPECT_EQ(kFeatures.offset, 0x0030u);
  EXPECT_EQ(kPprBase.offset, 0x0038u);
  EXPECT_EQ(kFeatures2.offset, 0x01a0u);
  EXPECT_EQ(kCommandHead.offset, 0x2000u);
  EXPECT_EQ(kCommandTail.offset, 0x2008u);
  EXPECT_EQ(kEventHead.offset, 0x2010u);
  EXPECT_EQ(kEventTail.offset, 0x2018u);
  EXPECT_EQ(kStatus.offset, 0x2020u);
  EXPECT_EQ(kPprHead.offset, 0x2030u);
  EXPECT_EQ(kPprTail.offset, 0x2038u);
}

TEST(AmdRegisters, FeaturesOfAServerAreReadRight) {
  EXPECT_FALSE(kFeatures["PreFSup"].is_set(kServer) || kFeatures["XTSup"].is_set(kServer));
  EXPECT_TRUE(kFeatures["PPRSup"].is_set(kServer) && kFeatures["NXSup"].is_set(kServer));
  EXPECT_TRUE(kFeatures["GTSup"].is_set(kServer) && kFeatures["IASup"].is_set(kServer));
  EXPECT_TRUE(kFeatures["PCSup"].is_set(kServer) && kFeatures["GIoSup"].is_set(kServer));
  EXPECT_FALSE(kFeatures["GASup"].is_set(kServer) || kFeatures["SNPSup"].is_set(kServer));
  EXPECT_EQ(most_host_levels(kServer), 6u);
  EXPECT_EQ(most_guest_levels(kServer), 4u);
  EXPECT_EQ(kFeatures["GLXSup"].get(kServer), 1u) << "two levels of GCR3 tables";
  EXPECT_EQ(kFeatures["PASmax"].get(kServer), 15u) << "16 bits of PASID";
}

TEST(AmdRegisters, LevelsFollowFromTheFeatures) {
  EXPECT_EQ(most_host_levels(0x000), 4u);
  EXPECT_EQ(most_host_levels(0x400), 5u);
  EXPECT_EQ(most_host_levels(0x800), 6u);
  EXPECT_EQ(most_host_levels(0xc00), 0u) << "3: no host tables";
  EXPECT_EQ(most_guest_levels(0x1000), 0u) << "GATS without GTSup";
  EXPECT_EQ(most_guest_levels(0x0010), 4u);
  EXPECT_EQ(most_guest_levels(0x1010), 5u);
}

TEST(AmdRegisters, ControlOfARunningUnit) {
  // Translation, event log with interrupt, command buffer, guest tables.
  EXPECT_EQ(kControl["IommuEn"].mask() | kControl["EventLogEn"].mask() | kControl["EventIntEn"].mask() |
                kControl["CmdBufEn"].mask() | kControl["GTEn"].mask(),
            0x1'100du);
  EXPECT_EQ(kControl["GCR3TRPMode"].mask(), std::uint64_t{1} << 58);
  EXPECT_EQ(kControl["PprLogEn"].mask() | kControl["PprIntEn"].mask() | kControl["PprEn"].mask(), 0xe000u);
}

TEST(AmdRegisters, ATableOfAllDevicesAndABufferOf512Commands) {
  EXPECT_EQ(kDeviceTable["DevTabBase"].in_place(0x1234'5000) | kDeviceTable["Size"].put(511), 0x1234'51ffu);
  EXPECT_EQ(kCommandBase["ComBase"].in_place(0x8000'0000) | kCommandBase["ComLen"].put(9), 0x0900'0000'8000'0000u);
}

// V, TV, three levels from 0x12345000, IR, IW; domain 7.
TEST(AmdDeviceTable, AnEntryOnAHostTable) {
  const std::uint64_t word0 = kDte0["V"].put(1) | kDte0["TV"].put(1) | kDte0["Mode"].put(3) |
                              kDte0["HostTableRoot"].in_place(0x1234'5000) | kDte0["IR"].put(1) | kDte0["IW"].put(1);
  EXPECT_EQ(word0, 0x6000'0000'1234'5603u);
  EXPECT_EQ(kDte0["HAD"].put(kKeepDirty), 0x180u);
  EXPECT_EQ(kDte1["DomainID"].put(7) | kDte1["I"].put(1), 0x1'0000'0007u);
  EXPECT_EQ(kDte1["SE"].mask(), 0x2'0000'0000u);
  EXPECT_EQ(kDte1["SA"].mask(), 0x4'0000'0000u) << "bit 98, which Linux calls no page fault";
  EXPECT_EQ(kDte1["EX"].mask(), std::uint64_t{1} << 39) << "bit 103";
}

TEST(AmdDeviceTable, TheGcr3TableStandsInThreePieces) {
  constexpr std::uint64_t kTable = 0x000f'edcb'a987'6000;
  const std::uint64_t word0 = gcr3_in_dte0(kTable), word1 = gcr3_in_dte1(kTable);
  EXPECT_EQ(word0, 0x1800'0000'0000'0000u) << "bits 14:12 at 60:58";
  EXPECT_EQ(word1, 0xfedc'b800'530e'0000u) << "bits 30:15 at 31:16, 51:31 at 63:43";
  EXPECT_EQ(gcr3_table(word0, word1), kTable);
  EXPECT_EQ(gcr3_table(~std::uint64_t{0}, ~std::uint64_t{0}), 0x000f'ffff'ffff'f000u);
}

TEST(AmdDeviceTable, GuestTranslation) {
  EXPECT_EQ(kDte0["GV"].put(1) | kDte0["GIoV"].put(1) | kDte0["GLX"].put(1), 0x01c0'0000'0000'0000u);
  EXPECT_EQ(kDte0["PPR"].mask(), 0x0010'0000'0000'0000u);
  EXPECT_EQ(kDte2["GuestPagingMode"].put(1), 0x0040'0000'0000'0000u) << "five levels: bits 183:182";
}

TEST(AmdCommands, AreTheWordsOfTheSpecification) {
  const auto opcode = [](Opcode code) { return kOpcode.put(std::to_underlying(code)); };
  EXPECT_EQ(
      opcode(Opcode::completion_wait) | kCompletionWait0["S"].put(1) | kCompletionWait0["Address"].in_place(0x12348),
      0x1000'0000'0001'2349u);
  EXPECT_EQ(opcode(Opcode::invalidate_devtab_entry) | kInvalidateDevice0["DeviceID"].put(0x0210),
            0x2000'0000'0000'0210u);
  EXPECT_EQ(opcode(Opcode::invalidate_iommu_pages) | kInvalidatePages0["DomainID"].put(5) |
                kInvalidatePages0["PASID"].put(0x12345),
            0x3000'0005'0001'2345u);
  EXPECT_EQ(kInvalidatePages1["S"].put(1) | kInvalidatePages1["PDE"].put(1) | kInvalidatePages1["GN"].put(1) |
                kInvalidatePages1["Address"].in_place(0x7fff'ffff'ffff'f000),
            0x7fff'ffff'ffff'f007u)
      << "everything of a PASID";
  EXPECT_EQ(opcode(Opcode::complete_ppr_request) | kCompletePpr0["DeviceID"].put(0x10) | kCompletePpr0["PASID"].put(9),
            0x7000'0009'0000'0010u);
  EXPECT_EQ(kCompletePpr1["GN"].put(1) | kCompletePpr1["Tag"].put(0x1ff) | kCompletePpr1["Code"].put(1),
            0x0000'11ff'0000'0004u);
  EXPECT_EQ(opcode(Opcode::invalidate_iommu_all), 0x8000'0000'0000'0000u);
}

// "Event logged [IO_PAGE_FAULT device=00:02.0 domain=0x0005 address=0xdeadb000 flags=0x0020]"
TEST(AmdEvents, APageFaultOfAWrite) {
  constexpr std::uint64_t kWord = 0x2020'0005'0000'0010;
  EXPECT_EQ(static_cast<Event>(kEvent0["EventCode"].get(kWord)), Event::io_page_fault);
  EXPECT_EQ(kEvent0["DeviceID"].get(kWord), 0x10u);
  EXPECT_EQ(kEvent0["DomainID"].get(kWord), 5u);
  EXPECT_TRUE(kEvent0["RW"].is_set(kWord));
  EXPECT_FALSE(kEvent0["PR"].is_set(kWord) || kEvent0["I"].is_set(kWord) || kEvent0["GN"].is_set(kWord));
  EXPECT_EQ(kEvent0["I"].mask() >> 48, 0x008u);
  EXPECT_EQ(kEvent0["TR"].mask() >> 48, 0x100u);
}

TEST(AmdPageRequests, OneForWritingUnderAPasid) {
  constexpr std::uint64_t kWord = 0x1124'2011'2345'0010;
  EXPECT_EQ(kPpr0["Code"].get(kWord), kPageServiceRequest);
  EXPECT_EQ(kPpr0["DeviceID"].get(kWord), 0x10u);
  EXPECT_EQ(kPpr0["PASID_15_0"].get(kWord), 0x2345u);
  EXPECT_EQ(kPpr0["PASID_19_16"].get(kWord), 8u);
  EXPECT_EQ(kPpr0["Tag"].get(kWord), 0x011u);
  EXPECT_TRUE(kPpr0["GN"].is_set(kWord) && kPpr0["Write"].is_set(kWord) && kPpr0["Read"].is_set(kWord));
}

}  // namespace
}  // namespace softiommu::hw::amd
