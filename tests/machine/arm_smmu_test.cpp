// SPDX-License-Identifier: BSD-3-Clause
// The SMMUv1/v2 model: registers, stream mapping, each kind of context and table, faults, TLB maintenance.
#include "machine/arm_smmu_fixture.h"

namespace softiommu::test {
namespace {

using namespace smmu2;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// ---- Registers --------------------------------------------------------------------------------------------------

TEST_F(ArmSmmuTest, TheDefaultUnitSaysWhatItCan) {
  EXPECT_EQ(r32(kIdr0),
            0x7840'5e80u);  // both stages, nested, matching, 64 interrupts, coherent, 15-bit ids, 128 entries
  EXPECT_EQ(r32(kIdr1), 0x5000'8040u);  // 2 * 64 pages of 4 KiB, 64 banks
  EXPECT_EQ(r32(kIdr2), 0x5555u);       // 48 bits everywhere; 4K and 64K
  EXPECT_EQ(unit_->register_bytes(), 0x8'0000u);
}

TEST_F(ArmSmmuTest, EachOptionShowsInTheIdentification) {
  power_on({{"stages", 0},
            {"aarch32", 1},
            {"granules", 1u << 14},
            {"input_bits", 2},
            {"output_bits", 4},
            {"upstream_bits", 3},
            {"stream_id_bits", 16},
            {"stream_entries", 24},
            {"context_banks", 9},
            {"vmid_bits", 1},
            {"coherent", 0},
            {"address_translation", 0},
            {"register_page", 1}});
  EXPECT_EQ(r32(kIdr0), 0x4d09'1f18u);
  EXPECT_EQ(r32(kIdr1), 0xb000'8009u);
  EXPECT_EQ(r32(kIdr2), 0xa342u);
  EXPECT_EQ(unit_->register_bytes(), 0x20'0000u);
}

TEST_F(ArmSmmuTest, VersionOneHasNoneOfWhatVersionTwoBrought) {
  power_on({{"version", 0}, {"context_interrupts", 3}, {"stage2_banks", 4}});
  EXPECT_EQ(r32(kIdr0), 0x7803'5e80u);
  EXPECT_EQ(r32(kIdr1), 0x5004'8040u);
  EXPECT_EQ(r32(kIdr2), 0x0055u);
  w32(kCba2r, 0xffff'ffff);
  EXPECT_EQ(r32(kCba2r), 0u);
  w32(kCr0, 0x8000'0008);
  EXPECT_EQ(r32(kCr0), 0u);
}

TEST_F(ArmSmmuTest, UnitsThatTheArchitectureDoesNotKnowAreRefused) {
  EXPECT_EQ(make({{"version", 0}, {"vmid_bits", 1}}).error().code, EINVAL);
  EXPECT_EQ(make({{"version", 0}, {"aarch32", 0}}).error().code, EINVAL);
  EXPECT_EQ(make({{"version", 0}, {"stream_id_bits", 16}}).error().code, EINVAL);
  EXPECT_EQ(make({{"stream_matching", 0}, {"stream_id_bits", 8}}).error().code, EINVAL);
  EXPECT_EQ(make({{"stages", 0}, {"stage2_banks", 1}}).error().code, EINVAL);
  EXPECT_EQ(make({{"context_banks", 4}, {"stage2_banks", 4}}).error().code, EINVAL);
  EXPECT_EQ(make({{"context_banks", 4}, {"stage2_banks", 5}}).error().code, EINVAL);
  EXPECT_EQ(make({{"granules", 0}, {"aarch32", 0}}).error().code, EINVAL);
  EXPECT_EQ(make({{"granules", 0}, {"upstream_bits", 0}}).error().code, EINVAL);
}

TEST_F(ArmSmmuTest, HalvesOfARegisterCanBeWrittenAlone) {
  w32(bank(3, kTtbr0 + 4), 0x0012'0034);
  w32(bank(3, kTtbr0), 0x5678'9000);
  EXPECT_EQ(r64(bank(3, kTtbr0)), 0x0012'0034'5678'9000u);
  EXPECT_EQ(r32(bank(3, kTtbr0 + 4)), 0x0012'0034u);
}

TEST_F(ArmSmmuTest, WhatIsNowhereReadsAsZeroAndIgnoresWrites) {
  for (const std::uint64_t offset : {std::uint64_t{0x300}, std::uint64_t{0x2000}, bank(2, 0x900), kIdr0 + 1}) {
    w32(offset, 0xffff'ffff);
    EXPECT_EQ(r32(offset), 0u) << offset;
  }
  w32(kIdr0, 0);
  EXPECT_NE(r32(kIdr0), 0u);
  EXPECT_EQ(unit_->read(kIdr0, 2), 0u);
  EXPECT_EQ(r32(unit_->register_bytes()), 0u);
}

TEST_F(ArmSmmuTest, ResetLetsEverythingPass) {
  start();
  stage1();
  map(0x1000, 0x7000);
  EXPECT_EQ(where(0x1000), 0x7000u);
  unit_->reset();
  EXPECT_EQ(r32(kCr0), 1u);
  EXPECT_EQ(r32(kSmr) | r32(bank(0, kSctlr)), 0u);
  EXPECT_EQ(where(0x1000), 0x1000u);
}

// ---- Streams ----------------------------------------------------------------------------------------------------

TEST_F(ArmSmmuTest, WithoutClientAccessEverythingPasses) {
  start(kFaulting | 1);
  route(0, kDevice, kFault);
  EXPECT_TRUE(passes(kDevice));
  w32(kCr0, kFaulting);
  EXPECT_FALSE(passes(kDevice));
}

TEST_F(ArmSmmuTest, AnEntryPassesFaultsOrTranslates) {
  start();
  route(0, kDevice, kBypass);
  EXPECT_TRUE(passes(kDevice));
  EXPECT_EQ(global_fault_of(std::uint64_t{1} << 48), kUut) << "beyond what the unit puts out";
  for (const std::uint64_t type : {kFault, kFault | kBypass}) {
    route(0, kDevice, type);
    EXPECT_EQ(global_fault_of(0x1000), kIcf);
  }
  route(0, kDevice, 64);
  EXPECT_EQ(global_fault_of(0x1000), kUcbf) << "bank 64 of 64";
}

TEST_F(ArmSmmuTest, AStreamThatNothingMatchesFaultsOrPasses) {
  start();
  EXPECT_EQ(global_fault_of(0x1000, 0x11), kUsf);
  w32(kCr0, kFaulting & ~std::uint64_t{0x400});
  EXPECT_TRUE(passes(0x11));
  EXPECT_EQ(take(kGfsr), 0u);
}

TEST_F(ArmSmmuTest, MasksLeaveIdBitsOut) {
  start();
  route(1, 0x20, kBypass, 0x7);
  for (const std::uint32_t stream : {0x20u, 0x23u, 0x27u}) EXPECT_TRUE(passes(stream)) << stream;
  for (const std::uint32_t stream : {0x1fu, 0x28u, 0xa0u}) EXPECT_EQ(global_fault_of(0x1000, stream), kUsf) << stream;
}

TEST_F(ArmSmmuTest, EntriesThatBothMatchAreAConflict) {
  start();
  route(1, 0x20, kBypass, 0x7);
  route(9, 0x22, kBypass);
  EXPECT_TRUE(passes(0x21));
  EXPECT_EQ(global_fault_of(0x1000, 0x22), kSmcf);
  w32(kCr0, kFaulting & ~std::uint64_t{0x20'0000});
  EXPECT_TRUE(passes(0x22));
  w32(kSmr + 4 * 9, 0x22);
  EXPECT_TRUE(passes(0x22)) << "an entry without VALID matches nothing";
}

TEST_F(ArmSmmuTest, IdBitsThatTheUnitHasNotAreNotThere) {
  power_on({{"stream_id_bits", 8}});
  w32(kSmr, 0xffff'ffff);
  EXPECT_EQ(r32(kSmr), 0x80ff'00ffu);
  start();
  route(1, 0, kBypass, 0xff & ~kDevice);
  EXPECT_TRUE(passes(0x20));
  EXPECT_EQ(global_fault_of(0x1000, 0x120), kUsf);
}

TEST_F(ArmSmmuTest, ExtendedIdsHaveSixteenBitsAndTheirValidBitElsewhere) {
  power_on({{"stream_id_bits", 16}});
  start(kFaulting | 8);
  w32(kSmr + 4, 0x0001'ffff);
  w32(kS2cr + 4, kBypass);
  EXPECT_EQ(global_fault_of(0x1000, 0xffff), kUsf);
  w32(kS2cr + 4, kBypass | 0x400);
  EXPECT_TRUE(passes(0xffff) && passes(0xfffe));
  EXPECT_EQ(global_fault_of(0x1000, 0xfffd), kUsf);
}

TEST_F(ArmSmmuTest, WithoutMatchingTheIdIsTheEntrysNumber) {
  power_on({{"stream_matching", 0}, {"stream_id_bits", 5}});
  EXPECT_EQ(r32(kIdr0) & 0x0800'00ff, 0u);
  w32(kCr0, kFaulting);
  w32(kS2cr + 4 * 0x11, kBypass);
  w32(kS2cr + 4 * 0x12, kFault);
  EXPECT_TRUE(passes(0x11));
  EXPECT_EQ(global_fault_of(0x1000, 0x12), kIcf);
  EXPECT_EQ(global_fault_of(0x1000, 0x20), kUsf) << "more bits than ids have";
  w32(kSmr, 0x8000'0000);
  EXPECT_EQ(r32(kSmr), 0u);
}

TEST_F(ArmSmmuTest, AGlobalFaultSaysWhoAndWhereAndKeepsTheFirst) {
  start();
  EXPECT_FALSE(where(0x12'3456'7000, Access::write, 0x33));
  EXPECT_EQ(r64(kGfar), 0x12'3456'7000u);
  EXPECT_EQ(r32(kGfsynr0), 2u);
  EXPECT_EQ(r32(kGfsynr1), 0x33u);
  EXPECT_FALSE(where(0x1000, Access::read, 0x44));
  EXPECT_EQ(r32(kGfsynr1), 0x33u);
  EXPECT_EQ(take(kGfsr), kUsf | kMulti);
  EXPECT_EQ(r32(kGfsr), 0u);
  EXPECT_THAT(interrupts_, ElementsAre(0, 0));
}

TEST_F(ArmSmmuTest, GlobalFaultsAreSilentWithoutTheInterruptsEnable) {
  start(kFaulting & ~std::uint64_t{4});
  EXPECT_EQ(global_fault_of(0x1000, 0x33), kUsf);
  EXPECT_THAT(interrupts_, IsEmpty());
}

TEST_F(ArmSmmuTest, ASubstreamIsRefused) {
  start();
  route(0, kDevice, kBypass);
  EXPECT_FALSE(unit_->translate({.stream = kDevice, .pasid = 3, .iova = Iova{0x1000}, .access = Access::read}));
  EXPECT_EQ(take(kGfsr), kUut);
}

// ---- Contexts ---------------------------------------------------------------------------------------------------

TEST_F(ArmSmmuTest, AStageThatIsOffLetsAddressesPass) {
  start();
  stage1(0, 5, 0);
  EXPECT_TRUE(passes(kDevice));
}

TEST_F(ArmSmmuTest, StageOneTranslatesByTheLowerAndTheUpperTable) {
  start();
  stage1();
  map(0x1234'5000, 0x6000);
  EXPECT_EQ(where(0x1234'5678), 0x6678u);
  const std::uint64_t upper = new_table();
  entry(upper, 1, 0x7f'0000'0000) = 0x9000 | kLeaf;
  w32(bank(0, kTcr), 0x8019'3510);  // 39 bits in TTBR1, 4 KiB
  w64(bank(0, kTtbr1), upper);
  EXPECT_EQ(where(0xffff'ffff'0000'0010), 0x9010u);
  EXPECT_EQ(fault_of(0xffff'8000'0000'0000), kTf) << "outside T1SZ";
  EXPECT_EQ(where(0x1234'5678), 0x6678u);
}

TEST_F(ArmSmmuTest, AUnitWithoutTheGranuleOrTheSizeTranslatesNothing) {
  start();
  stage1();
  map(0x1000, 0x6000);
  w32(bank(0, kTcr), 0x80'b510);  // 16 KiB, which this unit has not
  EXPECT_EQ(fault_of(0x1000), kTf);
  w32(bank(0, kTcr), 0x80'3508);  // 56 bits
  EXPECT_EQ(fault_of(0x1000), kTf);
  w32(bank(0, kTcr), 0x80'3590);  // EPD0
  EXPECT_EQ(fault_of(0x1000), kTf);
}

TEST_F(ArmSmmuTest, TheOtherGranulesTranslate) {
  power_on({{"granules", 1u << 14 | 1u << 16}});
  start();
  stage1();
  w32(bank(0, kTcr), 0x80'751c);  // 64 KiB, 36 bits: two levels
  const std::uint64_t leaf64 = new_table(16);
  word(top_, 1) = leaf64 | kTable;
  word(leaf64, 2) = 0x50'0000 | kLeaf;
  EXPECT_EQ(where(0x2002'1234), 0x50'1234u);
  w32(bank(0, kTcr), 0x80'b51c);  // 16 KiB, 36 bits: the root is of level 2 with 2^11 entries
  const std::uint64_t root16 = new_table(4), leaf16 = new_table(4);
  w64(bank(0, kTtbr0), root16);
  word(root16, 0) = leaf16 | kTable;
  word(leaf16, 3) = 0x60'0000 | kLeaf;
  w32(bank(0, kTlbiAll), 0);
  EXPECT_EQ(where(0xd678), 0x60'1678u);
}

TEST_F(ArmSmmuTest, StageTwoTranslates) {
  start();
  stage2();
  map2(0x80'1234'5000, 0x6000);
  EXPECT_EQ(where(0x80'1234'5678), 0x6678u);
  EXPECT_EQ(fault_of(std::uint64_t{1} << 40), kTf);
}

TEST_F(ArmSmmuTest, ANestedContextGoesThroughBothStages) {
  start();
  stage1(0);
  stage2(1);
  w32(kCbar, kNested | 1 << 8);
  for (unsigned level = 1; level <= 3; ++level) entry(top_, 0, 0x4000, level);
  map(0x4000, 0x9000);
  map2(0x9000, 0x7'0000);
  const std::uint64_t tables[] = {top_, entry(top_, 0, 0x4000, 0) & ~0xfffull, entry(top_, 0, 0x4000, 1) & ~0xfffull,
                                  entry(top_, 0, 0x4000, 2) & ~0xfffull};
  for (const std::uint64_t table : tables) map2(table, table);
  EXPECT_EQ(where(0x4010), 0x7'0010u);
  entry(top2_, 1, 0x9000) = 0;
  w32(kTlbiVmid, 7);
  EXPECT_EQ(fault_of(0x4010, Access::read, 1), kTf);
  EXPECT_EQ(r64(bank(1, kIpaFar)), 0x9010u);
  EXPECT_EQ(r64(bank(1, kFar)), 0x4010u);
  entry(top2_, 1, tables[3]) = 0;
  EXPECT_EQ(fault_of(0x4010, Access::read, 1), kTf);
  EXPECT_EQ(r32(bank(1, kFsynr0)) & 0x400, 0x400u) << "it was the way to a table";
}

TEST_F(ArmSmmuTest, ContextsThatAreNotThereAreInvalid) {
  start();
  stage1();
  w32(kCbar, kStage1ThenFault);
  EXPECT_EQ(global_fault_of(0x1000), kIcf);
  w32(kCbar, kNested | 64 << 8);
  EXPECT_EQ(global_fault_of(0x1000), kIcf);
  w32(kCbar, kNested | 1 << 8);
  w32(kCbar + 4, kStage1);
  EXPECT_EQ(global_fault_of(0x1000), kIcf) << "bank 1 is not of stage 2";
  power_on({{"stages", 0}});
  start();
  stage2();
  EXPECT_EQ(global_fault_of(0x1000), kIcf);
  power_on({{"stages", 1}});
  start();
  stage1();
  EXPECT_EQ(global_fault_of(0x1000), kIcf);
  power_on({{"stages", 2}});
  start();
  stage1();
  stage2(1);
  w32(kCbar, kNested | 1 << 8);
  EXPECT_EQ(global_fault_of(0x1000), kIcf) << "both stages, but not one over the other";
}

TEST_F(ArmSmmuTest, BanksOfStageTwoOnlyStayThat) {
  power_on({{"stage2_banks", 2}});
  w32(kCbar + 4, kStage1 | 9);
  EXPECT_EQ(r32(kCbar + 4), 9u);
  w32(kCbar + 8, kStage1 | 9);
  EXPECT_EQ(r32(kCbar + 8), kStage1 | 9);
}

// ---- AArch32 ----------------------------------------------------------------------------------------------------

TEST_F(ArmSmmuTest, LongDescriptorsTranslate32Bits) {
  start();
  stage1();
  w32(kCba2r, 0);
  w32(bank(0, kTcr), 0x8080'3500);  // EAE, EPD1
  entry(top_, 1, 0xc000'1000) = 0x12'3456'7000 | kLeaf;
  EXPECT_EQ(where(0xc000'1234), 0x12'3456'7234u);
  EXPECT_EQ(fault_of(0x1'0000'0000), kTf);
  EXPECT_FALSE(where(0xdead'0000));
  EXPECT_EQ(r32(bank(0, kFsr)) & 0x600, 0x200u) << "FORMAT";
}

TEST_F(ArmSmmuTest, LongDescriptorsHaveAnUpperTable) {
  start();
  stage1();
  w32(kCba2r, 0);
  const std::uint64_t upper = new_table();
  w64(bank(0, kTtbr1), upper);
  w32(bank(0, kTcr), 0x8001'3500);  // TTBR1 has the upper half
  entry(top_, 1, 0x1000) = 0x6000 | kLeaf;
  entry(upper, 1, 0x4000'1000) = 0x7000 | kLeaf;
  EXPECT_EQ(where(0x1008), 0x6008u);
  EXPECT_EQ(where(0xc000'1008), 0x7008u);
}

TEST_F(ArmSmmuTest, StageTwoOfLongDescriptorsTakes40Bits) {
  start();
  stage2();
  w32(kCba2r, 0);
  map2(0x80'1234'5000, 0x6000);
  EXPECT_EQ(where(0x80'1234'5678), 0x6678u);
}

class ArmSmmuShort : public ArmSmmuTest {
 protected:
  void short_context(std::uint64_t tcr) {
    start();
    root_ = new_table(4);
    w32(kCbar, kStage1);
    w32(bank(0, kTcr), tcr);
    w64(bank(0, kTtbr0), root_ | 0x6a);
    w32(bank(0, kContextIdr), 0x1205);
    w32(bank(0, kSctlr), kOn | 6);  // AFE, TRE
  }
  std::uint32_t& first_level(std::uint64_t root, std::uint64_t iova) {
    return memory_->tables().as<std::uint32_t>(PhysAddr{root})[iova >> 20];
  }
  std::uint64_t root_ = 0;
};

TEST_F(ArmSmmuShort, ShortDescriptorsTranslate) {
  short_context(0x20);
  first_level(root_, 0x1230'0000) = 0x4560'0c02;
  EXPECT_EQ(where(0x1234'5678, Access::write), 0x4564'5678u);
  EXPECT_EQ(fault_of(0x1'0000'0000), kTf);
  first_level(root_, 0x1240'0000) = 0x4560'8c02;
  EXPECT_EQ(fault_of(0x1240'0000, Access::write), kPf);
  first_level(root_, 0x1250'0000) = 0x4560'0802;
  EXPECT_EQ(fault_of(0x1250'0000), kAff);
  EXPECT_EQ(r32(bank(0, kFsynr0)) & 3, 1u);
}

TEST_F(ArmSmmuShort, NSharesTheSpaceWithTheSecondTable) {
  short_context(0x1);
  const std::uint64_t upper = new_table(4);
  w64(bank(0, kTtbr1), upper);
  first_level(root_, 0x1230'0000) = 0x4560'0c02;
  first_level(upper, 0x9230'0000) = 0x7890'0c02;
  EXPECT_EQ(where(0x1230'0000), 0x4560'0000u);
  EXPECT_EQ(where(0x9230'0000), 0x7890'0000u);
  w32(bank(0, kTcr), 0x21);
  w32(bank(0, kTlbiAll), 0);
  EXPECT_EQ(fault_of(0x9230'0000), kTf) << "PD1";
}

TEST_F(ArmSmmuShort, AUnitWithoutThemTranslatesNothing) {
  power_on({{"aarch32", 1}});
  short_context(0x20);
  first_level(root_, 0x1230'0000) = 0x4560'0c02;
  EXPECT_EQ(fault_of(0x1230'0000), kTf);
}

TEST_F(ArmSmmuShort, TheirAsidIsInContextIdr) {
  short_context(0x20);
  first_level(root_, 0x1230'0000) = 0x4560'0c02;
  EXPECT_TRUE(where(0x1230'0000));
  first_level(root_, 0x1230'0000) = 0;
  w32(bank(0, kTlbiVa), 0x1230'0004);
  EXPECT_TRUE(where(0x1230'0000)) << "another ASID's";
  w32(bank(0, kTlbiVa), 0x1230'0005);
  EXPECT_FALSE(where(0x1230'0000));
}

// ---- Context faults ---------------------------------------------------------------------------------------------

TEST_F(ArmSmmuTest, EachFaultHasItsBit) {
  start();
  stage1();
  map(0x1000, 0x6000, kLeaf | kReadOnly);
  map(0x2000, 0x6000, kLeaf & ~std::uint64_t{0x400});
  EXPECT_EQ(fault_of(0x5000), kTf);
  EXPECT_EQ(fault_of(0x1000, Access::write), kPf);
  EXPECT_EQ(fault_of(0x2000), kAff);
  entry(top_, 0, 0x4000'0000'0000, 0) = kNothingThere | kTable;
  EXPECT_EQ(fault_of(0x4000'0000'0000), kEf);
  w32(bank(0, kTcr2), 0x3'8010);  // 32 output bits
  map(0x3000, 0x12'3456'7000);
  EXPECT_EQ(fault_of(0x3000), kAsf);
  w32(bank(0, kSctlr), kOn | 8);  // AFFD
  EXPECT_EQ(where(0x2000), 0x6000u);
}

TEST_F(ArmSmmuTest, AContextFaultSaysWhoWhereAndHow) {
  start();
  route(0, kDevice, 3);
  stage1(3);
  EXPECT_FALSE(where(0x12'3456'7000, Access::write));
  EXPECT_EQ(r32(bank(3, kFsr)), kTf | 0x400) << "AArch64";
  EXPECT_EQ(r64(bank(3, kFar)), 0x12'3456'7000u);
  EXPECT_EQ(r32(bank(3, kFsynr0)), 0x10u);
  EXPECT_EQ(r32(kCbfrsynra + 12), kDevice);
  EXPECT_EQ(r32(kGfsr), 0u);
  EXPECT_THAT(interrupts_, ElementsAre(4)) << "the interrupt of bank 3";
}

TEST_F(ArmSmmuTest, AnOutstandingFaultHoldsTheContextUpUnlessHitUnderIsAllowed) {
  start();
  stage1();
  map(0x1000, 0x6000);
  EXPECT_FALSE(where(0x5000));
  EXPECT_FALSE(where(0x1000));
  w32(bank(0, kSctlr), kOn | kHitUnder);
  EXPECT_TRUE(where(0x1000));
  EXPECT_FALSE(where(0x9000));
  EXPECT_EQ(r64(bank(0, kFar)), 0x5000u);
  EXPECT_EQ(fault_of(0x9000), kTf | kMulti);
}

TEST_F(ArmSmmuTest, WithoutTheEnableThereIsNoInterrupt) {
  start();
  stage1(0, 5, 0x21);
  EXPECT_EQ(fault_of(0x5000), kTf);
  EXPECT_THAT(interrupts_, IsEmpty());
}

TEST_F(ArmSmmuTest, InVersionOneABankChoosesItsInterrupt) {
  power_on({{"version", 0}, {"context_interrupts", 2}});
  start();
  stage2();
  w32(kCbar, kStage2 | 7 | 1 << 24);
  EXPECT_EQ(fault_of(0x5000), kTf);
  EXPECT_THAT(interrupts_, ElementsAre(2));
  w32(kCbar, kStage2 | 7 | 2 << 24);
  interrupts_.clear();
  EXPECT_EQ(fault_of(0x5000), kTf);
  EXPECT_EQ(take(kGfsr), kUcif);
  EXPECT_THAT(interrupts_, ElementsAre(0));
}

// ---- Stalls -----------------------------------------------------------------------------------------------------

TEST_F(ArmSmmuTest, AStalledTransactionIsTriedAgainWhenSoftwareSaysSo) {
  start();
  stage1(0, 5, kOn | kStalls);
  handler_ = [this](unsigned) {
    EXPECT_EQ(r32(bank(0, kFsr)) & kSs, kSs);
    map(0x5000, 0x6000);
    take(bank(0, kFsr));
    EXPECT_EQ(r32(bank(0, kFsr)) & kSs, kSs) << "only RESUME ends a stall";
    w32(bank(0, kResume), 0);
  };
  EXPECT_EQ(where(0x5008), 0x6008u);
  EXPECT_EQ(r32(bank(0, kFsr)) & ~0x600u, 0u);
  EXPECT_THAT(interrupts_, ElementsAre(1));
}

TEST_F(ArmSmmuTest, AStalledTransactionIsTerminatedWhenSoftwareSaysSoOrNothing) {
  start();
  stage1(0, 5, kOn | kStalls);
  EXPECT_FALSE(where(0x5000));
  EXPECT_FALSE(where(0x5000)) << "the context is held up";
  take(bank(0, kFsr));
  w32(bank(0, kResume), 1);
  handler_ = [this](unsigned) {
    map(0x7000, 0x6000);
    take(bank(0, kFsr));
    w32(bank(0, kResume), 1);
  };
  EXPECT_FALSE(where(0x7000));
  EXPECT_TRUE(where(0x7000));
}

TEST_F(ArmSmmuTest, ATransactionThatAlwaysFaultsIsGivenUp) {
  start();
  stage1(0, 5, kOn | kStalls);
  handler_ = [this](unsigned) {
    take(bank(0, kFsr));
    w32(bank(0, kResume), 0);
  };
  EXPECT_FALSE(where(0x7000));
  EXPECT_EQ(interrupts_.size(), 8u);
}

TEST_F(ArmSmmuTest, StallsCanBeDisabledForAll) {
  start(kFaulting | 0x100);
  stage1(0, 5, kOn | kStalls);
  EXPECT_EQ(fault_of(0x5000), kTf);
}

// ---- TLB maintenance --------------------------------------------------------------------------------------------

// 0x1000 and 0x2000 are remembered, and gone from the tables.
class ArmSmmuTlb : public ArmSmmuTest {
 protected:
  void remember_stage1() {
    start();
    stage1();
    for (const std::uint64_t iova : {0x1000u, 0x2000u}) {
      map(iova, 0x6000);
      EXPECT_TRUE(where(iova));
      entry(top_, 0, iova) = 0;
    }
    EXPECT_TRUE(both());
  }
  void remember_stage2() {
    start();
    stage2();
    for (const std::uint64_t ipa : {0x1000u, 0x2000u}) {
      map2(ipa, 0x6000);
      EXPECT_TRUE(where(ipa));
      entry(top2_, 1, ipa) = 0;
    }
    EXPECT_TRUE(both());
  }
  bool known(std::uint64_t iova) {
    const bool is = where(iova).has_value();
    take(bank(0, kFsr));
    return is;
  }
  bool both() { return known(0x1000) && known(0x2000); }
  bool neither() { return !known(0x1000) && !known(0x2000); }
};

TEST_F(ArmSmmuTlb, ByAddressAndAsid) {
  remember_stage1();
  w64(bank(0, kTlbiVa), std::uint64_t{6} << 48 | 1);
  EXPECT_TRUE(both()) << "another ASID";
  w64(bank(0, kTlbiVa), std::uint64_t{5} << 48 | 1);
  EXPECT_TRUE(!known(0x1000) && known(0x2000));
  w64(bank(0, kTlbiVal), std::uint64_t{5} << 48 | 2);
  EXPECT_TRUE(neither());
}

TEST_F(ArmSmmuTlb, ByAddressOfAllAsids) {
  remember_stage1();
  w64(bank(0, kTlbiVaa), 1);
  EXPECT_TRUE(!known(0x1000) && known(0x2000));
  w64(bank(0, kTlbiVaal), 2);
  EXPECT_TRUE(neither());
}

TEST_F(ArmSmmuTlb, ByAsid) {
  remember_stage1();
  w32(bank(0, kTlbiAsid), 4);
  EXPECT_TRUE(both());
  w32(bank(0, kTlbiAsid), 5);
  EXPECT_TRUE(neither());
}

TEST_F(ArmSmmuTlb, AnotherBanksOperationReachesTheSameVmidOnly) {
  remember_stage1();
  w32(kCbar + 4, kStage1 | 9);
  w32(bank(1, kTlbiAll), 0);
  EXPECT_TRUE(both()) << "VMID 9";
  w32(kCbar + 4, kStage1);
  w32(bank(1, kTlbiAll), 0);
  EXPECT_TRUE(neither());
}

TEST_F(ArmSmmuTlb, ByIntermediateAddress) {
  remember_stage2();
  w64(bank(0, kTlbiIpas2), 1);
  EXPECT_TRUE(!known(0x1000) && known(0x2000));
  w64(bank(0, kTlbiIpas2l), 2);
  EXPECT_TRUE(neither());
}

TEST_F(ArmSmmuTlb, VersionOneHasNoInvalidationByIntermediateAddress) {
  power_on({{"version", 0}});
  remember_stage2();
  w64(bank(0, kTlbiIpas2), 1);
  EXPECT_TRUE(both());
  w32(kTlbiVmid, 7);
  EXPECT_TRUE(neither());
}

TEST_F(ArmSmmuTlb, ByVmid) {
  remember_stage2();
  w32(kTlbiVmid, 6);
  EXPECT_TRUE(both());
  w32(kTlbiVmid, 0x107);
  EXPECT_TRUE(neither()) << "8 bits";
}

TEST_F(ArmSmmuTlb, WideVmidsAreInTheSecondAttributeRegister) {
  power_on({{"vmid_bits", 1}});
  start(kFaulting | 0x8000'0000);
  stage2();
  w32(kCba2r, 0x1007'0001);
  map2(0x1000, 0x6000);
  EXPECT_TRUE(where(0x1000));
  entry(top2_, 1, 0x1000) = 0;
  w32(kTlbiVmid, 7);
  EXPECT_TRUE(known(0x1000));
  w32(kTlbiVmid, 0x1007);
  EXPECT_FALSE(known(0x1000));
}

TEST_F(ArmSmmuTlb, AllOfTheNonHypervisorsButNotAllOfTheHypervisors) {
  remember_stage1();
  w32(kTlbiAllH, 0);
  EXPECT_TRUE(both());
  w32(kTlbiAllNsnh, 0);
  EXPECT_TRUE(neither());
}

TEST_F(ArmSmmuTlb, AsidsOfEightBitsAreComparedInEight) {
  start();
  stage1(0, 0x105);
  w32(bank(0, kTcr2), 0x3'8005);  // without AS
  map(0x1000, 0x6000);
  EXPECT_TRUE(where(0x1000));
  entry(top_, 0, 0x1000) = 0;
  w32(bank(0, kTlbiAsid), 5);
  EXPECT_FALSE(known(0x1000));
}

TEST_F(ArmSmmuTlb, ParanoidModeNamesWhatIsMissing) {
  power_on({}, true);
  remember_stage1();
  ASSERT_FALSE(findings_.all().empty());
  EXPECT_EQ(
      findings_.all().front(),
      "smmu0: stale translation: stream 0x10, bank 0, ASID 5, iova 0x1000: the TLB says 0x6000 but the tables say "
      "not present; missing: SMMU_CBn_TLBIVA or SMMU_CBn_TLBIASID");
}

TEST_F(ArmSmmuTest, ASynchronisationIsOverWhenItsWriteReturns) {
  w32(kGsync, 0);
  w32(bank(0, kSync), 0);
  EXPECT_EQ(r32(kGstatus) | r32(bank(0, kSync + 4)), 0u);
}

TEST_F(ArmSmmuTest, EachChangeOfConfigurationIsNoticedByPorts) {
  start();
  const std::uint64_t registers[] = {kCr0, kSmr, kS2cr, kCbar, kCba2r, bank(0, kSctlr), bank(0, kTtbr0)};
  for (const std::uint64_t offset : registers) {
    const std::uint64_t before = unit_->generation();
    w32(offset, r32(offset));
    EXPECT_GT(unit_->generation(), before) << offset;
  }
}

// ---- Translations for software ----------------------------------------------------------------------------------

TEST_F(ArmSmmuTest, SoftwareMayAskWhereAnAddressGoes) {
  start();
  stage1();
  map(0x1000, 0x12'3456'7000, kLeaf | kReadOnly);
  w64(bank(0, kAts1Pr), 0x1000);
  EXPECT_EQ(r64(bank(0, kPar)), 0x12'3456'7000u);
  w64(bank(0, kAts1Uw), 0x1000);
  EXPECT_EQ(r64(bank(0, kPar)), 1 | kPf);
  w64(bank(0, kAts1Pr), 0x5000);
  EXPECT_EQ(r64(bank(0, kPar)), 1 | kTf);
  EXPECT_EQ(r32(bank(0, kFsr)), 0u) << "that is no fault of a transaction";
  stage2(1);
  w64(bank(1, kAts1Pr), 0x1000);
  EXPECT_EQ(r64(bank(1, kPar)) & 1, 1u);
}

TEST_F(ArmSmmuTest, WhereTheUnitDoesNotTellTheQuestionIsIgnored) {
  power_on({{"address_translation", 0}});
  start();
  stage1();
  map(0x1000, 0x6000);
  w64(bank(0, kAts1Pr), 0x1000);
  EXPECT_EQ(r64(bank(0, kPar)), 0u);
}

}  // namespace
}  // namespace softiommu::test
