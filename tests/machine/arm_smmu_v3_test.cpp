// SPDX-License-Identifier: BSD-3-Clause
// The SMMUv3 model: registers, configuration, both stages, commands, events.
#include "machine/arm_smmu_v3_fixture.h"

namespace softiommu::test {
namespace {

using namespace smmu;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// ---- Registers --------------------------------------------------------------------------------------------------

TEST_F(ArmSmmuV3Test, DefaultUnitSaysWhatItCan) {
  EXPECT_EQ(r32(kIdr0),
            0x0d44'301bu);  // both stages, AArch64, coherent, 16-bit ids, MSI, little-endian, terminate, two-level
  EXPECT_EQ(r32(kIdr1), 0x0107'0010u);
  EXPECT_EQ(r32(kIdr3), 0x400u);  // RIL
  EXPECT_EQ(r32(kIdr5), 0x14u);   // 44 bits, 4K
}

TEST_F(ArmSmmuV3Test, EachOptionShowsInTheIdentification) {
  power_on({{"stages", 1},
            {"two_level", 0},
            {"asid_bits", 0},
            {"vmid_bits", 0},
            {"coherent", 0},
            {"messages", 0},
            {"dirty", 2},
            {"range_invalidation", 0},
            {"output_bits", 5},
            {"granules", 1u << 14},
            {"stream_id_bits", 9},
            {"command_queue", 5},
            {"event_queue", 6}});
  EXPECT_EQ(r32(kIdr0), 0x0540'0089u);
  EXPECT_EQ(r32(kIdr1), 0x00a6'0009u);
  EXPECT_EQ(r32(kIdr3), 0u);
  EXPECT_EQ(r32(kIdr5), 0x25u);
}

TEST_F(ArmSmmuV3Test, ControlIsAcknowledgedWithoutBitsThatMeanNothing) {
  w32(kCr0, 0xffff'ffff & ~kTranslate);
  EXPECT_EQ(r32(kCr0Ack), kEvents | kCommands);
  w32(kIrqCtrl, 0xffff'ffff);
  EXPECT_EQ(r32(kIrqCtrlAck), 5u);
}

TEST_F(ArmSmmuV3Test, WhatIsInUseCannotBeMoved) {
  start();
  for (const std::uint64_t offset : {kStrtabBase, kCmdqBase, kEventqBase}) {
    const std::uint64_t before = r64(offset);
    w64(offset, 0x12'3450'0000);
    EXPECT_EQ(r64(offset), before);
  }
  w32(kCmdqCons, 3);
  w32(kEventqProd, 3);
  w32(kStrtabCfg, 4);
  w32(kCr2, 0);
  EXPECT_EQ(r32(kCmdqCons) | r32(kEventqProd), 0u);
  EXPECT_EQ(r32(kStrtabCfg), 8u);
  EXPECT_EQ(r32(kCr2), 2u);
}

TEST_F(ArmSmmuV3Test, BypassAttributesTakeEffectWithUpdateOnly) {
  EXPECT_EQ(where(0x1234), 0x1234u);
  w32(kGbpa, 0x0010'0000);
  EXPECT_EQ(where(0x1234), 0x1234u);
  w32(kGbpa, 0x8010'0000);
  EXPECT_EQ(r32(kGbpa), 0x0010'0000u);
  EXPECT_FALSE(where(0x1234));
}

TEST_F(ArmSmmuV3Test, HalvesOfARegisterCanBeWrittenAlone) {
  w32(kStrtabBase + 4, 0x12);
  w32(kStrtabBase, 0x3456'7040);
  EXPECT_EQ(r64(kStrtabBase), 0x12'3456'7040u);
  w32(kIdr0, 0);
  EXPECT_NE(r32(kIdr0), 0u);
}

TEST_F(ArmSmmuV3Test, ResetForgetsEverything) {
  start();
  attach_stage1();
  map(0x1000, 0x7000);
  EXPECT_EQ(where(0x1000), 0x7000u);
  unit_->reset();
  EXPECT_EQ(r32(kCr0Ack) | r32(kEventqProd) | r32(kGerror), 0u);
  EXPECT_EQ(where(0x1000), 0x1000u);
}

// ---- Stream table -----------------------------------------------------------------------------------------------

TEST_F(ArmSmmuV3Test, AStreamBypassesAbortsOrIsInvalid) {
  start();
  set_ste(kBypass);
  EXPECT_EQ(where(0x1234), 0x1234u);
  EXPECT_FALSE(where(std::uint64_t{1} << 44));
  EXPECT_EQ(event().type, kAddressSize);
  set_ste(kAbort);
  submit(kCfgiSte | std::uint64_t{kDevice} << 32);
  EXPECT_EQ(event_of_read(0x1000), 0u) << "an abort is silent";
  set_ste(0);
  submit(kCfgiSte | std::uint64_t{kDevice} << 32);
  EXPECT_FALSE(where(0x1000));
  EXPECT_EQ(event(), (SmmuEvent{kBadSte, kDevice, 0, false, false, 0, 0}));
}

TEST_F(ArmSmmuV3Test, AStreamBeyondTheTableIsRecordedIfAskedFor) {
  start();
  EXPECT_FALSE(where(0x1000, Access::read, 256));
  EXPECT_EQ(event().type, kBadStream);
  turn_off(kTranslate);
  w32(kCr2, 0);
  turn_on(kTranslate);
  EXPECT_FALSE(where(0x1000, Access::read, 256));
  EXPECT_EQ(event().type, 0u);
}

TEST_F(ArmSmmuV3Test, ATwoLevelTableHasSpansAndHoles) {
  start();
  turn_off(kTranslate);
  const std::uint64_t l1 = new_table(), l2 = new_table(4);
  w64(kStrtabBase, l1);
  w32(kStrtabCfg, 0x1'0210);  // 16 bits, split 8
  turn_on(kTranslate);
  word(l1, 2) = l2 | 6;  // 32 entries for streams 0x200..0x21f
  word(l2, 8 * 3) = kBypass;
  EXPECT_TRUE(where(0x1000, Access::read, 0x203));
  EXPECT_FALSE(where(0x1000, Access::read, 0x204));
  EXPECT_EQ(event().type, kBadSte);
  EXPECT_FALSE(where(0x1000, Access::read, 0x220));
  EXPECT_EQ(event().type, kBadStream);
  EXPECT_FALSE(where(0x1000, Access::read, 0x100));
  EXPECT_EQ(event().type, kBadStream);
}

TEST_F(ArmSmmuV3Test, ATableThatIsNotThereIsAFetchFault) {
  start();
  turn_off(kTranslate);
  w64(kStrtabBase, kNothingThere);
  turn_on(kTranslate);
  EXPECT_FALSE(where(0x1000));
  EXPECT_EQ(event(), (SmmuEvent{kSteFetch, kDevice, 0, false, false, 0, kNothingThere + 64 * kDevice}));
}

TEST_F(ArmSmmuV3Test, AStreamEntryOfAStageThatIsMissingIsBad) {
  power_on({{"stages", 0}});
  start();
  attach_stage2();
  EXPECT_EQ(event_of_read(0x1000), kBadSte);
  power_on({{"stages", 1}});
  start();
  attach_stage1();
  EXPECT_EQ(event_of_read(0x1000), kBadSte);
}

TEST_F(ArmSmmuV3Test, IllegalStreamEntriesAreBad) {
  start();
  attach_stage1();
  const std::uint64_t good = kStage1 | descriptor_;
  const auto event_of = [&](std::uint64_t word0, std::uint64_t word1) {
    set_ste(word0, word1);
    submit(kCfgiSte | std::uint64_t{kDevice} << 32);
    return event_of_read(0x1000);
  };
  EXPECT_EQ(event_of(good, 0), kTranslation);
  EXPECT_EQ(event_of(good | std::uint64_t{1} << 59, 0), kBadSte) << "more descriptors than substreams";
  EXPECT_EQ(event_of(good, 0x0800'0000), kBadSte) << "stalls disabled where there are none";
  EXPECT_EQ(event_of(good, 0x8000'0000), kBadSte) << "an EL2 stream without EL2";
}

TEST_F(ArmSmmuV3Test, ASubstreamIsRefused) {
  start();
  set_ste(kBypass);
  EXPECT_FALSE(unit_->translate({.stream = kDevice, .pasid = 3, .iova = Iova{0x1000}, .access = Access::read}));
  EXPECT_EQ(event().type, kBadSubstream);
}

// ---- Context descriptors ----------------------------------------------------------------------------------------

TEST_F(ArmSmmuV3Test, IllegalDescriptorsAreBad) {
  power_on({{"asid_bits", 0}});
  start();
  attach_stage1();
  const auto event_of = [&](std::uint64_t word0, std::uint64_t word1) {
    word(descriptor_, 0) = word0;
    word(descriptor_, 1) = word1;
    submit(kCfgiCd | std::uint64_t{kDevice} << 32);
    return event_of_read(0x1000);
  };
  const std::uint64_t good = kCd | std::uint64_t{5} << 48;
  EXPECT_EQ(event_of(good, top_), kTranslation);
  EXPECT_EQ(event_of(good & ~kCdValid, top_), kBadCd);
  EXPECT_EQ(event_of(good & ~(std::uint64_t{1} << 41), top_), kBadCd) << "AArch32";
  EXPECT_EQ(event_of(good | 0x40, top_), kBadCd) << "64 KiB granule";
  EXPECT_EQ(event_of(good | 0x8000, top_), kBadCd) << "big-endian";
  EXPECT_EQ(event_of((good & ~std::uint64_t{0x3f}) | 40, top_), kBadCd) << "24 input bits";
  EXPECT_EQ(event_of(good | std::uint64_t{1} << 44, top_), kBadCd) << "stalls";
  EXPECT_EQ(event_of(good & ~(std::uint64_t{1} << 46), top_), kBadCd) << "RAZ/WI termination";
  EXPECT_EQ(event_of(good | std::uint64_t{1} << 56, top_), kBadCd) << "a 16-bit ASID";
  EXPECT_EQ(event_of(good, std::uint64_t{1} << 45), kBadCd) << "a table out of reach";
  EXPECT_EQ(event_of(good | 0x4000, top_), kTranslation) << "EPD0";
  EXPECT_EQ(event_of(good & ~(std::uint64_t{1} << 45), top_), 0u) << "faults are not recorded";
}

TEST_F(ArmSmmuV3Test, ADescriptorThatIsNotThereIsAFetchFault) {
  start();
  set_ste(kStage1 | kNothingThere);
  EXPECT_FALSE(where(0x1000));
  EXPECT_EQ(event(), (SmmuEvent{kCdFetch, kDevice, 0, false, false, 0, kNothingThere}));
}

// ---- Stage 1 ----------------------------------------------------------------------------------------------------

TEST_F(ArmSmmuV3Test, StageOneMapsPagesAndBlocks) {
  start();
  attach_stage1();
  map(0x1000, 0x7000);
  entry(top_, 0, 0x20'0000, 2) = 0x4000'0000 | (kLeaf & ~std::uint64_t{2});
  entry(top_, 0, 0x1'4000'0000, 1) = 0x8000'0000 | (kLeaf & ~std::uint64_t{2});
  EXPECT_EQ(where(0x1234), 0x7234u);
  EXPECT_EQ(dma(0x20'1234)->page_lg2, 21u);
  EXPECT_EQ(where(0x20'1234), 0x4000'1234u);
  EXPECT_EQ(where(0x1'4123'4567), 0x8123'4567u);
}

TEST_F(ArmSmmuV3Test, AMissingPageIsATranslationFaultWithAddressAndDirection) {
  start();
  attach_stage1();
  EXPECT_FALSE(where(0x1234));
  EXPECT_EQ(event(), (SmmuEvent{kTranslation, kDevice, 0x1234, true, false, 2, 0}));
  EXPECT_FALSE(writes(0x1234));
  EXPECT_FALSE(event().read);
  EXPECT_EQ(event_of_read(std::uint64_t{1} << 48), kTranslation) << "beyond T0SZ";
}

TEST_F(ArmSmmuV3Test, RightsComeFromTheLeafAndTheTablesAbove) {
  start();
  attach_stage1();
  map(0x1000, 0x7000, kLeaf | kReadOnly);
  map(0x2000, 0x7000, kLeaf & ~kUser);
  map(0x20'0000, 0x7000);
  entry(top_, 0, 0x20'0000, 2) |= std::uint64_t{2} << 61;  // APTable: read only below
  EXPECT_TRUE(where(0x1000) && !writes(0x1000));
  EXPECT_EQ(event().type, kPermission);
  EXPECT_EQ(event_of_read(0x2000), kPermission) << "privileged only";
  EXPECT_TRUE(where(0x20'0000) && !writes(0x20'0000));
  EXPECT_EQ(event().type, kPermission);
}

TEST_F(ArmSmmuV3Test, WalksThatLeaveMemoryOrTheOutputSizeFault) {
  start();
  attach_stage1();
  map(0x1000, std::uint64_t{1} << 45);
  EXPECT_EQ(event_of_read(0x1000), kAddressSize);
  entry(top_, 0, 0x4000'0000, 1) = kNothingThere | kTable;
  EXPECT_EQ(event_of_read(0x4000'0000), kWalkAbort);
  entry(top_, 0, 0x1'0000'0000, 1) = std::uint64_t{1} << 45 | kTable;
  EXPECT_FALSE(where(0x1'0000'0000));
  EXPECT_EQ(event().fault_class, 1u);
  word(top_, 1) = 0x7000 | kBlock | kUser | kAf;
  EXPECT_EQ(event_of_read(std::uint64_t{1} << 39), kTranslation) << "no blocks at level 0";
}

TEST_F(ArmSmmuV3Test, AClearAccessFlagFaultsUnlessHardwareSetsIt) {
  power_on({{"dirty", 1}});
  start();
  attach_stage1();
  map(0x1000, 0x7000, kLeaf & ~kAf);
  EXPECT_EQ(event_of_read(0x1000), kAccess);
  word(descriptor_, 0) |= std::uint64_t{1} << 43;  // HA
  submit(kCfgiCd | std::uint64_t{kDevice} << 32);
  EXPECT_TRUE(where(0x1000));
  EXPECT_TRUE(entry(top_, 0, 0x1000) & kAf);
}

TEST_F(ArmSmmuV3Test, AWriteToACleanPageMakesItDirty) {
  power_on({{"dirty", 2}});
  start();
  attach_stage1();
  word(descriptor_, 0) |= std::uint64_t{3} << 42;  // HA, HD
  map(0x1000, 0x7000, kLeaf | kReadOnly | kDbm);
  EXPECT_TRUE(where(0x1000));
  EXPECT_TRUE(entry(top_, 0, 0x1000) & kReadOnly) << "a read leaves it clean";
  EXPECT_TRUE(writes(0x1000));
  EXPECT_FALSE(entry(top_, 0, 0x1000) & kReadOnly);
  map(0x2000, 0x7000, (kLeaf | kReadOnly | kDbm) & ~kUser);
  EXPECT_FALSE(writes(0x2000));
  EXPECT_TRUE(entry(top_, 0, 0x2000) & kReadOnly) << "a refused write leaves it clean";
}

TEST_F(ArmSmmuV3Test, DirtyStateNeedsTheAccessFlagUpdateToo) {
  power_on({{"dirty", 2}});
  start();
  attach_stage1();
  word(descriptor_, 0) |= std::uint64_t{1} << 42;  // HD alone
  map(0x1000, 0x7000, kLeaf | kReadOnly | kDbm);
  EXPECT_FALSE(writes(0x1000));
}

TEST_F(ArmSmmuV3Test, TheTopByteIsIgnoredIfAskedFor) {
  start();
  attach_stage1();
  word(descriptor_, 0) |= std::uint64_t{1} << 38;
  map(0x1000, 0x7000);
  EXPECT_EQ(where(0xab00'0000'0000'1000), 0x7000u);
}

// ---- Stage 2 and both ---------------------------------------------------------------------------------------------

TEST_F(ArmSmmuV3Test, StageTwoWalksConcatenatedTables) {
  start();
  attach_stage2();
  map2(0x1000, 0x7000);
  map2((std::uint64_t{1} << 39) + 0x1000, 0x9000);
  map2(0x2000, 0x7000, kPage | kS2Read | kAf);
  EXPECT_EQ(where(0x1234), 0x7234u);
  EXPECT_EQ(where((std::uint64_t{1} << 39) + 0x1000), 0x9000u);
  EXPECT_TRUE(where(0x2000) && !writes(0x2000));
  EXPECT_EQ(event().type, kPermission);
}

TEST_F(ArmSmmuV3Test, AStageTwoFaultNamesItsInput) {
  start();
  attach_stage2();
  EXPECT_FALSE(where(0x5123));
  EXPECT_EQ(event(), (SmmuEvent{kTranslation, kDevice, 0x5123, true, true, 2, 0x5000}));
}

TEST_F(ArmSmmuV3Test, StageTwoShapesThatDoNotFitAreBad) {
  start();
  const auto event_of = [&](std::uint64_t word2, std::uint64_t word3) {
    set_ste(kStage2, 0, word2, word3);
    submit(kCfgiSte | std::uint64_t{kDevice} << 32);
    return event_of_read(0x1000);
  };
  const std::uint64_t table = new_table(2);
  EXPECT_EQ(event_of(kS2Config, table), kTranslation);
  EXPECT_EQ(event_of((kS2Config & ~(std::uint64_t{0x3f} << 32)) | std::uint64_t{64 - 48} << 32, table), kBadSte)
      << "wider than OAS";
  EXPECT_EQ(event_of(kS2Config & ~(std::uint64_t{3} << 38), table), kBadSte) << "40 bits do not start at level 2";
  EXPECT_EQ(event_of(kS2Config & ~(std::uint64_t{1} << 51), table), kBadSte) << "AArch32";
  EXPECT_EQ(event_of(kS2Config | std::uint64_t{1} << 57, table), kBadSte) << "stalls";
  EXPECT_EQ(event_of(kS2Config, std::uint64_t{1} << 41), kBadSte) << "a table out of reach";
}

TEST_F(ArmSmmuV3Test, BothStagesTranslateTablesDescriptorAndOutput) {
  start();
  attach_stage1();
  attach_stage2();
  map(0x1000, 0x10'0000);
  // Stage 1's structures are at IPAs 2^39 higher than they are.
  const std::uint64_t moved = std::uint64_t{1} << 39;
  for (std::uint64_t page = 0; page < 64; ++page) {
    const std::uint64_t at = (descriptor_ & ~std::uint64_t{0x3'ffff}) + page * 0x1000;
    map2(moved + at, at);
  }
  map2(0x10'0000, 0x9000);
  word(descriptor_, 1) = moved + top_;
  for (unsigned level = 3; level-- > 0;) entry(top_, 0, 0x1000, level) += moved;
  set_ste(kNested | (moved + descriptor_), 0, kS2Config | 7, top2_);
  EXPECT_EQ(where(0x1234), 0x9234u);
  set_ste(kNested | descriptor_, 0, kS2Config | 7, top2_);
  submit(kCfgiSte | std::uint64_t{kDevice} << 32);
  EXPECT_FALSE(where(0x1234));
  const SmmuEvent fault = event();
  EXPECT_TRUE(fault.stage2);
  EXPECT_EQ(fault.fault_class, 0u) << "the fetch of the descriptor";
}

// ---- Commands ---------------------------------------------------------------------------------------------------

class SmmuTlb : public ArmSmmuV3Test {
 protected:
  // Two pages are mapped, used, and unmapped without an invalidation.
  void fill(std::initializer_list<Choice> choices = {}) {
    power_on(choices);
    start();
    attach_stage1(5);
    for (const std::uint64_t iova : {0x1000u, 0x5000u}) {
      map(iova, iova + 0x7000);
      EXPECT_TRUE(where(iova));
      map(iova, 0, 0);
    }
  }
  std::string cached() { return std::string(where(0x1000) ? "1" : "-") + (where(0x5000) ? "5" : "-"); }
  static std::uint64_t asid(std::uint64_t id) { return id << 48; }
  static std::uint64_t vmid(std::uint64_t id) { return id << 32; }
};

TEST_F(SmmuTlb, KeepsWhatIsNotInvalidated) {
  fill();
  EXPECT_EQ(cached(), "15");
  submit(kSync);
  submit(kNhAsid | asid(6));
  submit(kNhAsid | asid(5) | vmid(1));
  submit(kNhVa | asid(6), 0x1000);
  submit(kNhVa | asid(5), 0x2000);
  submit(kS2Ipa, 0x1000);
  submit(kVmall | vmid(5));
  submit(kCfgiSte | std::uint64_t{kDevice} << 32);
  EXPECT_EQ(cached(), "15");
}

TEST_F(SmmuTlb, ForgetsByAddress) {
  fill();
  submit(kNhVa | asid(5), 0x1001);
  EXPECT_EQ(cached(), "-5");
  submit(kNhVaa, 0x5000);
  EXPECT_EQ(cached(), "--");
}

TEST_F(SmmuTlb, ForgetsByAsidVmidAndAll) {
  for (const std::uint64_t command : {kNhAsid | asid(5), kNhAll, kVmall, kNsnhAll}) {
    fill();
    submit(command);
    EXPECT_EQ(cached(), "--") << command;
  }
}

TEST_F(SmmuTlb, ForgetsRanges) {
  fill();
  submit(kNhVa | asid(5) | std::uint64_t{3} << 12, 0x1000 | 0x400);  // 4 pages of 4K: up to 0x4fff
  EXPECT_EQ(cached(), "-5");
  fill();
  submit(kNhVa | asid(5) | std::uint64_t{2} << 20, 0x2000 | 0x400);  // 2^2 pages: up to 0x5fff
  EXPECT_EQ(cached(), "1-");
  fill();
  submit(kNhVa | asid(5) | std::uint64_t{31} << 12 | std::uint64_t{63} << 20, 0x400);
  EXPECT_EQ(cached(), "--");
}

TEST_F(SmmuTlb, WithoutRangeInvalidationTheRangeIsOneAddress) {
  fill({{"range_invalidation", 0}});
  submit(kNhVa | asid(5) | std::uint64_t{31} << 12, 0x1000 | 0x400);
  EXPECT_EQ(cached(), "-5");
}

TEST_F(SmmuTlb, StageOneIsTaggedWithTheVmidOfItsStreamEntry) {
  start();
  attach_stage1(5);
  set_ste(kStage1 | descriptor_, 0, 9);
  map(0x1000, 0x8000);
  EXPECT_TRUE(where(0x1000));
  map(0x1000, 0, 0);
  submit(kNhAsid | asid(5));
  EXPECT_TRUE(where(0x1000));
  submit(kNhAsid | asid(5) | vmid(9));
  EXPECT_FALSE(where(0x1000));
}

TEST_F(SmmuTlb, StageTwoIsForgottenByIpaAndVmid) {
  start();
  attach_stage2(7);
  for (const std::uint64_t command : {kS2Ipa | vmid(7), kVmall | vmid(7)}) {
    map2(0x1000, 0x7000);
    EXPECT_TRUE(where(0x1000));
    map2(0x1000, 0, 0);
    submit(kNhAll | vmid(7));
    EXPECT_TRUE(where(0x1000)) << "stage 1 only";
    submit(command, 0x1000);
    EXPECT_FALSE(where(0x1000));
  }
}

TEST_F(ArmSmmuV3Test, ConfigurationIsCachedUntilItIsInvalidated) {
  start();
  set_ste(kBypass);
  EXPECT_TRUE(where(0x1000));
  const auto forgets = [&](std::uint64_t word0, std::uint64_t word1) {
    set_ste(kBypass);
    submit(kCfgiRange, 31);
    EXPECT_TRUE(where(0x1000));
    set_ste(kAbort);
    EXPECT_TRUE(where(0x1000)) << "cached";
    submit(word0, word1);
    return !where(0x1000);
  };
  EXPECT_FALSE(forgets(kCfgiSte | std::uint64_t{0x11} << 32, 0));
  EXPECT_TRUE(forgets(kCfgiSte | std::uint64_t{kDevice} << 32, 0));
  EXPECT_TRUE(forgets(kCfgiRange | std::uint64_t{0x1f} << 32, 3));  // 16 streams: 0x10..0x1f
  EXPECT_FALSE(forgets(kCfgiRange | std::uint64_t{0x18} << 32, 2));
  EXPECT_TRUE(forgets(kCfgiRange, 31));
}

TEST_F(ArmSmmuV3Test, SyncCompletesByMessageInterruptOrNothing) {
  start();
  const std::uint64_t status = new_table();
  word(status) = 0x1111'1111'1111'1111;
  submit(kSync | 0x1000 | std::uint64_t{0xabcd} << 32, status + 4);
  EXPECT_EQ(word(status), 0x0000'abcd'1111'1111u);
  EXPECT_THAT(interrupts_, IsEmpty());
  submit(kSync | 0x1000);
  EXPECT_THAT(interrupts_, ElementsAre(2u));
  submit(kSync);
  EXPECT_EQ(r32(kCmdqCons), 3u);
}

TEST_F(ArmSmmuV3Test, TheQueueWrapsAndRunsOnlyWhenEnabled) {
  start();
  for (int i = 0; i < 20; ++i) submit(kSync);
  EXPECT_EQ(r32(kCmdqCons), 20u);
  turn_off(kCommands);
  submit(kSync);
  EXPECT_EQ(r32(kCmdqCons), 20u);
  turn_on(kCommands);
  EXPECT_EQ(r32(kCmdqCons), 21u);
}

TEST_F(ArmSmmuV3Test, AnIllegalCommandStopsTheQueueUntilItIsReplacedAndAcknowledged) {
  start();
  submit(0xff);
  EXPECT_TRUE(queue_stopped());
  EXPECT_EQ(command_error(), 1u);
  EXPECT_THAT(interrupts_, ElementsAre(1u));
  submit(kSync);
  EXPECT_EQ(r32(kCmdqCons) & 0xff, 0u);
  word(commands_, 0) = kSync;
  w32(kGerrorN, r32(kGerror));
  EXPECT_FALSE(queue_stopped());
  EXPECT_EQ(r32(kCmdqCons) & 0xff, 2u);
}

TEST_F(ArmSmmuV3Test, CommandsOfWhatIsMissingAreIllegal) {
  const auto illegal = [&](std::uint64_t stages, std::uint64_t command) {
    power_on({{"stages", stages}});
    start();
    submit(command);
    return queue_stopped();
  };
  EXPECT_TRUE(illegal(0, kVmall) && illegal(0, kS2Ipa));
  EXPECT_TRUE(illegal(1, kNhAll) && illegal(1, kNhVa) && illegal(1, kCfgiCd));
  EXPECT_TRUE(illegal(2, kEl2All));
  EXPECT_FALSE(illegal(0, kNsnhAll) || illegal(1, kNsnhAll) || illegal(1, kVmall) || illegal(0, kNhVa));
}

TEST_F(ArmSmmuV3Test, AQueueThatIsNotThereIsAnAbort) {
  w64(kCmdqBase, kNothingThere | 4);
  turn_on(kCommands);
  w32(kCmdqProd, 1);
  EXPECT_TRUE(queue_stopped());
  EXPECT_EQ(command_error(), 2u);
}

// ---- Events -----------------------------------------------------------------------------------------------------

TEST_F(ArmSmmuV3Test, TheInterruptIsForAQueueThatWasEmpty) {
  start();
  attach_stage1();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(where(0x1000));
  EXPECT_THAT(interrupts_, ElementsAre(0u));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(event().type, kTranslation);
  EXPECT_FALSE(where(0x1000));
  EXPECT_THAT(interrupts_, ElementsAre(0u, 0u));
}

TEST_F(ArmSmmuV3Test, AFullQueueLosesEventsAndSaysSoOnce) {
  start();
  attach_stage1();
  for (int i = 0; i < 18; ++i) EXPECT_FALSE(where(0x1000));
  EXPECT_EQ(r32(kEventqProd), 0x8000'0010u);
  w32(kEventqCons, 0x8000'0010);
  EXPECT_FALSE(where(0x1000));
  EXPECT_EQ(r32(kEventqProd), 0x8000'0011u);
}

TEST_F(ArmSmmuV3Test, AnEventQueueThatIsNotThereIsAGlobalError) {
  start();
  turn_off(kEvents);
  w64(kEventqBase, kNothingThere | 4);
  turn_on(kEvents);
  EXPECT_FALSE(where(0x1000));
  EXPECT_EQ(r32(kGerror), 4u);
  EXPECT_THAT(interrupts_, ElementsAre(1u));
  EXPECT_FALSE(where(0x1000));
  EXPECT_EQ(r32(kGerror), 4u) << "until it is acknowledged";
}

// ---- Paranoid mode ----------------------------------------------------------------------------------------------

TEST_F(ArmSmmuV3Test, ParanoidModeNamesTheMissingTlbInvalidation) {
  power_on({}, true);
  start();
  attach_stage1();
  map(0x1000, 0x7000);
  EXPECT_TRUE(where(0x1000) && where(0x1000));
  EXPECT_THAT(findings_.all(), IsEmpty());
  map(0x1000, 0, 0);
  EXPECT_TRUE(where(0x1000));
  ASSERT_EQ(findings_.all().size(), 1u);
  EXPECT_NE(findings_.all()[0].find("CMD_TLBI_NH_VA"), std::string::npos);
}

TEST_F(ArmSmmuV3Test, ParanoidModeNamesTheMissingConfigurationInvalidation) {
  power_on({}, true);
  start();
  set_ste(kBypass);
  EXPECT_TRUE(where(0x1000));
  set_ste(kAbort);
  EXPECT_TRUE(where(0x1000));
  ASSERT_EQ(findings_.all().size(), 1u);
  EXPECT_NE(findings_.all()[0].find("CMD_CFGI_STE"), std::string::npos);
}

}  // namespace
}  // namespace softiommu::test
