// SPDX-License-Identifier: BSD-3-Clause
// Substreams of the SMMUv3 model: tables of context descriptors, what a transaction without a substream does, what is
// cached; then 52-bit addresses and stalled transactions.
#include <thread>

#include "machine/arm_smmu_v3_fixture.h"

namespace softiommu::test {
namespace {

using namespace smmu;

constexpr std::uint64_t kDevice64 = std::uint64_t{kDevice} << 32;
constexpr std::uint64_t kLeaves4K = std::uint64_t{1} << 4, kLeaves64K = std::uint64_t{2} << 4;  // STE.S1Fmt
constexpr std::uint64_t kDssAbort = 0, kDssBypass = 1, kDssZero = 2;

class SmmuSubstreams : public ArmSmmuV3Test {
 protected:
  static constexpr std::uint64_t cd_max(std::uint64_t bits) { return bits << 59; }
  static constexpr std::uint64_t of(Pasid substream) { return std::uint64_t{substream} << 12; }

  void power_up(unsigned bits = 20) {
    power_on({{"substream_bits", bits}}, true);
    start();
  }
  // A descriptor at `place` whose table maps 0x1000 to `page`.
  void describe(std::uint64_t place, std::uint64_t asid, std::uint64_t page) {
    const std::uint64_t root = new_table();
    entry(root, 0, 0x1000) = page | kLeaf;
    word(place, 1) = root;
    word(place, 0) = kCd | asid << 48;
  }
  // A linear table of 2^bits descriptors, with substreams 0 (page 0x10'0000) and 3 (page 0x13'0000).
  void linear(std::uint64_t bits, std::uint64_t dss) {
    descriptor_ = new_table();
    describe(descriptor_, 8, 0x10'0000);
    describe(descriptor_ + 3 * 64, 9, 0x13'0000);
    set_ste(kStage1 | descriptor_ | cd_max(bits), dss);
  }
  unsigned event_in(Pasid substream, std::uint64_t iova = 0x1000) {
    EXPECT_FALSE(where_in(substream, iova));
    return event().type;
  }
};

TEST_F(SmmuSubstreams, TheUnitSaysHowManyThereAre) {
  power_on({{"substream_bits", 20}});
  EXPECT_EQ(r32(kIdr1) >> 6 & 0x1f, 20u);
  EXPECT_EQ(r32(kIdr0) >> 19 & 1, 1u) << "CD2L";
  power_on({{"substream_bits", 4}, {"two_level_descriptors", 0}});
  EXPECT_EQ(r32(kIdr0) >> 19 & 1, 0u);
}

TEST_F(SmmuSubstreams, EachHasADescriptorOfALinearTable) {
  power_up();
  linear(2, kDssZero);
  EXPECT_EQ(where_in(3, 0x1234), 0x13'0234u);
  EXPECT_EQ(where(0x1234), 0x10'0234u) << "S1DSS 2: what has no substream uses the first";
  EXPECT_EQ(event_in(2), kBadCd);
  EXPECT_EQ(event_in(4), kBadSubstream) << "beyond S1CDMax";
}

TEST_F(SmmuSubstreams, OneDescriptorIsForTransactionsWithoutOne) {
  power_up();
  attach_stage1();
  map(0x1000, 0x7000);
  EXPECT_EQ(where(0x1000), 0x7000u);
  EXPECT_EQ(event_in(1), kBadSubstream);
}

TEST_F(SmmuSubstreams, WithoutASubstreamATransactionMayBeRefusedOrPass) {
  power_up();
  linear(2, kDssAbort);
  EXPECT_FALSE(where(0x1000));
  EXPECT_EQ(event().type, kStreamDisabled);
  EXPECT_EQ(where_in(3, 0x1000), 0x13'0000u);
  set_ste(kStage1 | descriptor_ | cd_max(2), kDssBypass);
  submit(kCfgiSte | kDevice64);
  EXPECT_EQ(where(0x1234), 0x1234u);
  EXPECT_EQ(where_in(3, 0x1000), 0x13'0000u);
}

TEST_F(SmmuSubstreams, TwoLevelTablesHaveLeavesOfTwoSizesAndHoles) {
  power_up();
  for (const auto& [format, substream, place] :
       {std::tuple{kLeaves4K, Pasid{64 + 3}, 3u}, std::tuple{kLeaves64K, Pasid{1024 + 70}, 70u}}) {
    const std::uint64_t l1 = new_table(), l2 = new_table(16);
    word(l1, 1) = l2 | 1;
    describe(l2 + std::uint64_t{place} * 64, 9, 0x13'0000);
    set_ste(kStage1 | l1 | format | cd_max(20), kDssAbort);
    submit(kCfgiSte | kDevice64);
    EXPECT_EQ(where_in(substream, 0x1234), 0x13'0234u);
    EXPECT_EQ(event_in(1), kBadSubstream) << "its leaf is not there";
    EXPECT_EQ(event_in(substream + 1), kBadCd);
  }
}

TEST_F(SmmuSubstreams, IllegalTablesAreBadEntries) {
  power_on({{"substream_bits", 4}, {"two_level_descriptors", 0}});
  start();
  linear(4, kDssZero);
  const auto event_of = [&](std::uint64_t word0, std::uint64_t word1) {
    set_ste(word0, word1);
    submit(kCfgiSte | kDevice64);
    return event_in(3);
  };
  const std::uint64_t good = kStage1 | descriptor_ | cd_max(4);
  EXPECT_EQ(event_of(kStage1 | descriptor_ | cd_max(5), kDssZero), kBadSte) << "more than SSIDSIZE";
  EXPECT_EQ(event_of(good | kLeaves4K, kDssZero), kBadSte) << "no CD2L";
  EXPECT_EQ(event_of(good | 0x30, kDssZero), kBadSte) << "a reserved format";
  EXPECT_EQ(event_of(good, 3), kBadSte) << "a reserved S1DSS";
  EXPECT_EQ(event_of(kBypass, 0), kBadSubstream);
  EXPECT_EQ(event_of(kAbort, 0), 0u);
}

TEST_F(SmmuSubstreams, ADescriptorIsCachedUntilItsSubstreamIsNamed) {
  power_up();
  linear(2, kDssZero);
  EXPECT_EQ(where_in(3, 0x1000), 0x13'0000u);
  word(descriptor_, 8 * 3) &= ~kCdValid;
  submit(kCfgiCd | kDevice64 | of(2));
  EXPECT_EQ(where_in(3, 0x1000), 0x13'0000u) << "another substream's";
  ASSERT_EQ(findings_.all().size(), 1u);
  EXPECT_THAT(findings_.all().front(), ::testing::HasSubstr("stale configuration: stream 0x10, substream 0x3"));
  submit(kCfgiCd | kDevice64 | of(3));
  EXPECT_EQ(event_in(3), kBadCd);
  word(descriptor_, 8 * 3) |= kCdValid;
  submit(kCfgiCdAll | kDevice64);
  EXPECT_EQ(where_in(3, 0x1000), 0x13'0000u);
}

TEST_F(SmmuSubstreams, AMissingLeafIsRememberedUntilMoreThanTheLeafIsForgotten) {
  power_on({{"substream_bits", 20}});
  start();
  const std::uint64_t l1 = new_table(), l2 = new_table(16);
  set_ste(kStage1 | l1 | kLeaves64K | cd_max(20), kDssAbort);
  EXPECT_EQ(event_in(3), kBadSubstream);
  describe(l2 + 3 * 64, 9, 0x13'0000);
  word(l1) = l2 | 1;
  submit(kCfgiCd | kDevice64 | of(3), 1);
  EXPECT_EQ(event_in(3), kBadSubstream) << "Leaf: the first level stays";
  submit(kCfgiCd | kDevice64 | of(3));
  EXPECT_EQ(where_in(3, 0x1000), 0x13'0000u);
}

TEST_F(SmmuSubstreams, AnEventNamesTheSubstream) {
  power_up();
  linear(2, kDssZero);
  EXPECT_FALSE(where_in(3, 0x2000));
  const std::uint64_t word0 = word(events_);
  EXPECT_EQ(word0, kDevice64 | of(3) | 0x800u | kTranslation);
}

TEST_F(SmmuSubstreams, UnderStageTwoTheTableIsAtAnIntermediateAddress) {
  power_up();
  attach_stage2();
  const std::uint64_t l1 = new_table(), l2 = new_table(16), root = new_table();
  const auto visible = [&](std::uint64_t place) { map2(place, place); };
  visible(l1);
  for (unsigned i = 0; i < 16; ++i) visible(l2 + i * 0x1000);
  word(l1) = l2 | 1;
  word(l2, 8 * 3) = kCd | std::uint64_t{9} << 48;
  word(l2, 8 * 3 + 1) = root;
  set_ste(kNested | l1 | kLeaves64K | cd_max(20), kDssBypass, kS2Config | 7, top2_);
  EXPECT_EQ(event_in(3), kTranslation) << "the table of stage 1 is not mapped by stage 2";
  std::uint64_t at = root;
  visible(at);
  entry(root, 0, 0x1000) = 0x5000 | kLeaf;
  for (unsigned level = 0; level < 3; ++level) {
    at = word(at) & 0xffff'ffff'f000;
    visible(at);
  }
  map2(0x5000, 0x7000);
  EXPECT_EQ(where_in(3, 0x1234), 0x7234u);
  EXPECT_EQ(where(0x5234), 0x7234u) << "S1DSS 1: what has no substream has stage 2 alone";
}

// ---- 52-bit addresses -------------------------------------------------------------------------------------------

constexpr std::uint64_t kHigh = 0xa'1234'5678'0000;

TEST_F(ArmSmmuV3Test, LargeGranulesPutOutFiftyTwoBits) {
  power_on({{"output_bits", 6}, {"wide_input", 1}, {"granules", 1u << 12 | 1u << 16}});
  EXPECT_EQ(r32(kIdr5), 0x456u);
  start();
  descriptor_ = new_table();
  top_ = new_table(16);
  const std::uint64_t below = new_table(16), leaves = new_table(16);
  word(top_, std::uint64_t{0xa} << 6) = below | kTable;
  word(below) = leaves | kTable;
  word(leaves, 1) = (kHigh & 0xffff'ffff'ffff) | (kHigh >> 48) << 12 | kLeaf;
  word(descriptor_, 0) = (kCd & ~std::uint64_t{0x7'0000'00ff}) | std::uint64_t{6} << 32 | 1 << 6 | 12;
  word(descriptor_, 1) = top_;
  set_ste(kStage1 | descriptor_);
  EXPECT_EQ(where(0xa'0000'0001'2345), kHigh + 0x2345);
}

TEST_F(ArmSmmuV3Test, SmallGranulesStayAtFortyEightBits) {
  power_on({{"output_bits", 6}});
  start();
  attach_stage1();
  word(descriptor_, 0) = (word(descriptor_, 0) & ~std::uint64_t{0x3f}) | 12;
  EXPECT_EQ(event_of_read(0x1000), kBadCd) << "52 input bits";
  set_ste(kBypass);
  submit(kCfgiSte | kDevice64);
  EXPECT_EQ(where(kHigh), kHigh);
}

// ---- Stalls -----------------------------------------------------------------------------------------------------

constexpr std::uint64_t kCdStalls = std::uint64_t{1} << 44, kRetry = 1 << 12;

class SmmuStalls : public ArmSmmuV3Test {
 protected:
  void power_up() {
    power_on({{"stalls", 1}});
    start();
    attach_stage1();
    word(descriptor_, 0) |= kCdStalls;
  }
  // A read on a thread of its own, as a device's; what is done meanwhile must end it.
  template <class Meanwhile>
  std::optional<std::uint64_t> read_beside(const Meanwhile& meanwhile) {
    std::optional<std::uint64_t> found;
    std::thread device([&] { found = where(0x1234); });
    while (r32(kEventqProd) == produced_) std::this_thread::yield();
    produced_ = r32(kEventqProd);
    meanwhile();
    device.join();
    return found;
  }
  std::uint64_t stalled_word(unsigned nth = 0) { return word(events_, 4 * nth + 1); }
  std::uint32_t produced_ = 0;
};

TEST_F(SmmuStalls, TheUnitSaysWhetherItStalls) {
  for (const auto& [choice, model] : {std::pair{0u, 1u}, {1u, 0u}, {2u, 2u}}) {
    power_on({{"stalls", choice}});
    EXPECT_EQ(r32(kIdr0) >> 24 & 3, model);
    EXPECT_EQ(r32(kIdr5) >> 16, choice == 0 ? 0u : 16u);
  }
}

TEST_F(SmmuStalls, AFaultWaitsAndIsTriedAgain) {
  power_up();
  const auto found = read_beside([&] {
    EXPECT_EQ(stalled_word() >> 31 & 1, 1u);
    map(0x1000, 0x7000);
    submit(kResume | kDevice64 | kRetry, stalled_word() & 0xffff);
  });
  EXPECT_EQ(found, 0x7234u);
}

TEST_F(SmmuStalls, AFaultIsTerminatedByResumeAndByStream) {
  power_up();
  EXPECT_FALSE(read_beside([&] { submit(kResume | kDevice64, stalled_word() & 0xffff); }));
  EXPECT_FALSE(read_beside([&] { submit(kStallTerm | kDevice64); }));
}

TEST_F(SmmuStalls, AWrongTagOrStreamChangesNothing) {
  power_up();
  EXPECT_FALSE(read_beside([&] {
    map(0x1000, 0x7000);
    submit(kResume | kDevice64 | kRetry, (stalled_word() & 0xffff) + 1);
    submit(kResume | kDevice64 | kRetry, 0xffff);
    submit(kResume | std::uint64_t{kDevice + 1} << 32 | kRetry, stalled_word() & 0xffff);
    submit(kStallTerm | std::uint64_t{kDevice + 1} << 32);
    EXPECT_FALSE(queue_stopped());
    submit(kResume | kDevice64, stalled_word() & 0xffff);
  }));
}

TEST_F(SmmuStalls, TurningTheUnitOffEndsThem) {
  power_up();
  read_beside([&] { turn_off(kTranslate); });
}

TEST_F(SmmuStalls, WithoutAQueueToTellOfItAFaultDoesNotWait) {
  power_up();
  turn_off(kEvents);
  EXPECT_FALSE(where(0x1000));
}

TEST_F(SmmuStalls, AnInvalidationDoesNotWaitForThem) {
  power_up();
  EXPECT_FALSE(read_beside([&] {
    submit(kNsnhAll);
    submit(kSync);
    EXPECT_EQ(r32(kCmdqCons) & 31, 2u);
    submit(kStallTerm | kDevice64);
  }));
}

TEST_F(SmmuStalls, DescriptorsAgreeWithTheUnitAndTheStream) {
  power_up();
  set_ste(kStage1 | descriptor_, 0x0800'0000);
  EXPECT_EQ(event_of_read(0x1000), kBadCd) << "S1STALLD";
  power_on({{"stalls", 2}});
  start();
  attach_stage1();
  EXPECT_EQ(event_of_read(0x1000), kBadCd) << "stalls cannot be turned off";
  power_on();
  start();
  submit(kResume | kDevice64);
  EXPECT_TRUE(queue_stopped()) << "no such command without stalls";
}

}  // namespace
}  // namespace softiommu::test
