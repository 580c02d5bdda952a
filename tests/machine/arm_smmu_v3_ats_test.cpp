// SPDX-License-Identifier: BSD-3-Clause
// The SMMUv3 model and devices with TLBs of their own: translation requests, translated requests, invalidation of what
// devices keep, page requests and their answers.
#include "machine/arm_smmu_v3_fixture.h"
#include "machine/device_tlb.h"

namespace softiommu::test {
namespace {

using namespace smmu;

constexpr std::uint64_t kAtcInv = 0x40, kPriResp = 0x41, kSsv = 0x800, kGlobal = 0x200;
constexpr std::uint64_t kDevice64 = std::uint64_t{kDevice} << 32, kEats = std::uint64_t{1} << 28;
constexpr std::uint64_t kPriqBase = 0xc0, kPriqProd = 0x100c8, kPriqCons = 0x100cc;
constexpr std::uint32_t kRequests = 2, kCheck = 0x10;  // CR0
constexpr unsigned kBadAts = 0x05, kForbidden = 0x07;

class SmmuAts : public ArmSmmuV3Test {
 protected:
  void SetUp() override {
    ArmSmmuV3Test::SetUp();
    power_on({{"ats", 1}, {"pri", 1}, {"substream_bits", 4}}, true);
    start();
    attach_stage1();
    map(0x1000, 0x7000);
    map(0x2000, 0x8000, kLeaf | kReadOnly);
    set_ste(kStage1 | descriptor_, kEats);
    requests_ = new_table();
    w64(kPriqBase, requests_ | 2);
    w32(kIrqCtrl, 7);
    turn_on(kRequests);
    unit_->add_device_tlb(kDevice, tlb_);
    tlb_.enable(true, true);
  }
  void TearDown() override {
    unit_->remove_device_tlb(kDevice);
    ArmSmmuV3Test::TearDown();
  }
  std::optional<Translation> ask(std::uint64_t iova, Access access = Access::read, Pasid pasid = 0) {
    return unit_->translate_for_device({.stream = kDevice, .pasid = pasid, .iova = Iova{iova}, .access = access});
  }
  // Through the device's TLB.
  std::optional<std::uint64_t> device_reads(std::uint64_t iova, Pasid pasid = 0) {
    const auto answer = tlb_.translate(*unit_, {.stream = kDevice, .pasid = pasid, .iova = Iova{iova}});
    requested_ = answer.page_requested;
    if (!answer.translation) return std::nullopt;
    return answer.translation->page.value + iova % 0x1000;
  }
  // The oldest page request, taken from the queue.
  std::pair<std::uint64_t, std::uint64_t> request() {
    const std::uint32_t cons = r32(kPriqCons) & 7;
    if (cons == (r32(kPriqProd) & 7)) return {};
    w32(kPriqCons, (cons + 1) & 7);
    return {word(requests_, 2 * (cons & 3)), word(requests_, 2 * (cons & 3) + 1)};
  }

  unsigned woken_ = 0;
  DeviceTlb tlb_{[this] { ++woken_; }};
  bool requested_ = false;
  std::uint64_t requests_ = 0;
};

TEST_F(SmmuAts, TheUnitSaysSo) {
  EXPECT_EQ(r32(kIdr0) >> 10 & 1, 1u);
  EXPECT_EQ(r32(kIdr0) >> 16 & 1, 1u);
  EXPECT_EQ(r32(kIdr1) >> 11 & 0x1f, 7u);
}

TEST_F(SmmuAts, ARequestIsAnsweredWithThePageAndItsRights) {
  EXPECT_EQ(ask(0x1234)->page, PhysAddr{0x7000});
  EXPECT_TRUE(ask(0x1234)->write);
  const auto read_only = ask(0x2000, Access::write);
  EXPECT_TRUE(read_only && read_only->read && !read_only->write);
  EXPECT_EQ(event().type, 0u) << "the answer says it";
}

TEST_F(SmmuAts, APageThatIsNotThereIsAnAnswerWithoutAnEvent) {
  const auto answer = ask(0x5000);
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->read || answer->write);
  EXPECT_EQ(event().type, 0u);
}

TEST_F(SmmuAts, RequestsOfOtherStreamsAreRefusedAndRecorded) {
  for (const auto& [word0, word1] : {std::pair{kStage1 | descriptor_, std::uint64_t{0}}, {kBypass, kEats}}) {
    set_ste(word0, word1);
    submit(kCfgiSte | kDevice64);
    EXPECT_FALSE(ask(0x1000));
    EXPECT_EQ(event().type, kBadAts);
  }
  set_ste(kAbort);
  submit(kCfgiSte | kDevice64);
  EXPECT_FALSE(ask(0x1000));
  EXPECT_EQ(event().type, 0u);
  set_ste(kStage1 | descriptor_, kEats << 1);
  submit(kCfgiSte | kDevice64);
  EXPECT_FALSE(ask(0x1000));
  EXPECT_EQ(event().type, kBadSte) << "split-stage ATS";
}

TEST_F(SmmuAts, WithoutASubstreamAnIdentityIsAnswered) {
  set_ste(kStage1 | descriptor_ | std::uint64_t{4} << 59, kEats | 1);
  submit(kCfgiSte | kDevice64);
  EXPECT_EQ(ask(0x1'2345)->page, PhysAddr{0x1'2000});
}

TEST_F(SmmuAts, TheDeviceKeepsATranslationUntilItIsTold) {
  EXPECT_EQ(device_reads(0x1000), 0x7000u);
  map(0x1000, 0x9000);
  submit(kNsnhAll);
  EXPECT_EQ(device_reads(0x1000), 0x7000u);
  ASSERT_EQ(findings_.all().size(), 1u);
  EXPECT_THAT(findings_.all().front(), ::testing::EndsWith("missing: CMD_ATC_INV"));
  submit(kAtcInv | kDevice64, 0x1000);
  EXPECT_EQ(device_reads(0x1000), 0x9000u);
}

TEST_F(SmmuAts, AnInvalidationIsForARangeAndAPasid) {
  const auto kept_after = [&](std::uint64_t word0, std::uint64_t word1) {
    map(0x1000, 0x7000);
    submit(kAtcInv | kDevice64, 52);
    device_reads(0x1000);
    map(0x1000, 0x9000);
    submit(word0 | kDevice64, word1);
    return device_reads(0x1000) == 0x7000u;
  };
  EXPECT_FALSE(kept_after(kAtcInv, 0x1000)) << "the page";
  EXPECT_TRUE(kept_after(kAtcInv, 0x2000)) << "another page";
  EXPECT_FALSE(kept_after(kAtcInv, 2)) << "four pages";
  EXPECT_TRUE(kept_after(kAtcInv, 0x4002)) << "the next four";
  EXPECT_FALSE(kept_after(kAtcInv, 52)) << "everything";
  EXPECT_TRUE(kept_after(kAtcInv | kSsv | 3 << 12, 0x1000)) << "of a PASID";
  EXPECT_FALSE(kept_after(kAtcInv | kSsv | kGlobal, 0x1000)) << "of every PASID";
}

TEST_F(SmmuAts, ADeviceThatDoesNotAnswerStopsTheNextSynchronisation) {
  submit(kAtcInv | std::uint64_t{kDevice + 1} << 32, 52);
  EXPECT_FALSE(queue_stopped());
  submit(kSync);
  EXPECT_TRUE(queue_stopped());
  EXPECT_EQ(command_error(), 3u) << "CERROR_ATC_INV_SYNC";
  w32(kGerrorN, r32(kGerror));
  EXPECT_EQ(r32(kCmdqCons) & 31, r32(kCmdqProd) & 31) << "the same command again is done";
}

TEST_F(SmmuAts, TranslatedRequestsAreCheckedWhereSoftwareAsksForIt) {
  EXPECT_EQ(device_reads(0x1000), 0x7000u);
  set_ste(kStage1 | descriptor_, 0);
  submit(kCfgiSte | kDevice64);
  EXPECT_EQ(device_reads(0x1000), 0x7000u);
  turn_on(kCheck);
  EXPECT_FALSE(device_reads(0x1000));
  EXPECT_EQ(event().type, kForbidden);
  turn_off(kTranslate);
  EXPECT_FALSE(device_reads(0x1000));
}

TEST_F(SmmuAts, APageRequestIsQueuedAndAnswered) {
  interrupts_.clear();
  EXPECT_FALSE(device_reads(0x5000, 3));
  EXPECT_FALSE(requested_) << "a substream that there is not";
  EXPECT_FALSE(device_reads(0x5000));
  EXPECT_TRUE(requested_);
  EXPECT_THAT(interrupts_, ::testing::Contains(3u));
  const auto [word0, word1] = request();
  EXPECT_EQ(word0, 0x5000'0000'0000'0000u | kDevice) << "to read, the last of its group";
  EXPECT_EQ(word1 & ~std::uint64_t{0x1ff}, 0x5000u);
  map(0x5000, 0xa000);
  submit(kPriResp | kDevice64, (word1 & 0x1ff) | 2 << 12);
  EXPECT_EQ(woken_, 1u);
  EXPECT_EQ(device_reads(0x5000), 0xa000u);
}

TEST_F(SmmuAts, AnAnswerMayRefuseAPageOrEndTheRequests) {
  const auto answered = [&](std::uint64_t code) {
    device_reads(0x5000);
    submit(kPriResp | kDevice64, (request().second & 0x1ff) | code << 12);
    device_reads(0x5000);
    return requested_;
  };
  EXPECT_FALSE(answered(1)) << "invalid";
  EXPECT_FALSE(tlb_.has_failed());
  EXPECT_FALSE(answered(0));
  EXPECT_TRUE(tlb_.has_failed());
  submit(kPriResp | kDevice64, 3 << 12);
  EXPECT_TRUE(queue_stopped()) << "no such answer";
}

TEST_F(SmmuAts, WhatCannotBeQueuedIsAnsweredAtOnce) {
  for (std::uint64_t page = 0x10; page < 0x14; ++page) device_reads(page << 12);
  EXPECT_EQ(woken_, 0u);
  device_reads(0x14'000);
  EXPECT_EQ(woken_, 1u) << "full: try again";
  EXPECT_NE(r32(kPriqProd) >> 31, 0u);
  EXPECT_FALSE(tlb_.has_failed());
  turn_off(kRequests);
  device_reads(0x15'000);
  EXPECT_TRUE(tlb_.has_failed());
}

TEST_F(ArmSmmuV3Test, WithoutAtsThereIsNothingOfIt) {
  start();
  attach_stage1();
  set_ste(kStage1 | descriptor_, kEats);
  EXPECT_FALSE(unit_->translate_for_device({.stream = kDevice, .iova = Iova{0x1000}}));
  w32(kPriqProd, 5);
  EXPECT_EQ(r32(kPriqProd), 0u);
  w64(kPriqBase, 0x1000);
  EXPECT_EQ(r64(kPriqBase), 0u);
  submit(kAtcInv | kDevice64, 52);
  EXPECT_TRUE(queue_stopped());
}

}  // namespace
}  // namespace softiommu::test
