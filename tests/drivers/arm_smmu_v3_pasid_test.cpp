// SPDX-License-Identifier: BSD-3-Clause
// PASIDs behind the SMMUv3 driver: what is attached to one, beside what the device's other requests do; and stalls.
// Paranoid mode is on: a descriptor or an entry that the hardware remembers wrongly is a finding.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/fault.h"
#include "core/page_faults.h"
#include "drivers/driver_rig.h"

namespace softiommu {
namespace {

using softiommu::testing::kBoth;
using softiommu::testing::kWindow;

class SmmuRig : public softiommu::testing::DriverRig {
 protected:
  static constexpr Pasid kPasid = 5, kOther = 6;

  SmmuRig() : DriverRig("arm-smmu-v3") {}
  void TearDown() override {
    fault::disarm();
    if (system_)
      for (const auto& group : system_->groups())
        for (const Pasid pasid : {kPasid, kOther, far_}) group->detach_pasid(pasid);
    DriverRig::TearDown();
  }
  // One unit, the first device as `device` says, the second without anything.
  void boot_with(const std::string& options, const std::string& device = "pasid_bits = 20") {
    boot(unit("a", options) + edu(2, "a") + device + "\n" + edu(3, "a"));
  }
  Domain* mapped(Iova iova, const DomainRequest& request = {.pasid = true}) {
    Domain* const domain = domain_for(kFirst, request);
    EXPECT_TRUE(domain->map(iova, pa_, kPageSize, kBoth));
    return domain;
  }
  bool writes_in(Pasid pasid, Iova iova) {
    port(kFirst).use_pasid(pasid);
    const bool done = writes(kFirst, iova);
    port(kFirst).use_pasid(0);
    return done;
  }
  AttachResult<> attach(Domain& domain, Pasid pasid) { return group(kFirst).attach_pasid(domain, pasid, handle_); }
  Domain* blocked() { return group(kFirst).driver().static_domain(DomainType::blocked); }
  Domain* identity() { return group(kFirst).driver().static_domain(DomainType::identity); }

  AttachHandle handle_;
  Pasid far_ = 70'000;  // in another leaf of a two-level table
};

class SmmuPasids : public SmmuRig, public ::testing::WithParamInterface<std::string> {
 protected:
  static constexpr Iova kHere = kWindow, kThere = kWindow + kPageSize;
};
INSTANTIATE_TEST_SUITE_P(Tables, SmmuPasids,
                         ::testing::Values("substream_bits = 20", "substream_bits = 4",
                                           "substream_bits = 20\ntwo_level_descriptors = false",
                                           "substream_bits = 20\nstalls = \"choice\"",
                                           "substream_bits = 20\ncoherent = false\nstages = \"1\""));

TEST_P(SmmuPasids, AreAttachedReplacedAndDetachedBesideTheOtherRequests) {
  boot_with(GetParam());
  Domain *const plain = mapped(kHere), *const first = mapped(kThere), *const second = mapped(kHere);
  ASSERT_TRUE(group(kFirst).attach(*plain));
  ASSERT_TRUE(attach(*first, kPasid));
  EXPECT_TRUE(writes(kFirst, kHere) && writes_in(kPasid, kThere) && !writes_in(kPasid, kHere));
  ASSERT_TRUE(group(kFirst).replace_pasid(*second, kPasid, handle_));
  EXPECT_TRUE(writes_in(kPasid, kHere) && !writes_in(kPasid, kThere));
  group(kFirst).detach_pasid(kPasid);
  EXPECT_TRUE(writes(kFirst, kHere) && !writes_in(kPasid, kHere));
}

TEST_P(SmmuPasids, StayWhileTheOtherRequestsChange) {
  boot_with(GetParam());
  Domain *const plain = mapped(kHere), *const next = mapped(kThere), *const of_pasid = mapped(kThere);
  ASSERT_TRUE(group(kFirst).attach(*plain));
  ASSERT_TRUE(attach(*of_pasid, kPasid));
  ASSERT_TRUE(group(kFirst).replace(*next));
  EXPECT_TRUE(writes(kFirst, kThere) && !writes(kFirst, kHere) && writes_in(kPasid, kThere));
  ASSERT_TRUE(group(kFirst).replace(*identity()));
  EXPECT_TRUE(writes(kFirst, Iova{pa_.value}) && writes_in(kPasid, kThere)) << "S1DSS: bypass";
  ASSERT_TRUE(group(kFirst).replace(*blocked()));
  EXPECT_TRUE(!writes(kFirst, Iova{pa_.value}) && writes_in(kPasid, kThere)) << "S1DSS: abort";
  ASSERT_TRUE(group(kFirst).replace(*plain));
  EXPECT_TRUE(writes(kFirst, kHere) && writes_in(kPasid, kThere));
}

TEST_P(SmmuPasids, SeeWhatIsUnmapped) {
  boot_with(GetParam());
  Domain* const domain = mapped(kHere);
  ASSERT_TRUE(attach(*domain, kPasid));
  ASSERT_TRUE(attach(*domain, kOther));
  EXPECT_TRUE(writes_in(kPasid, kHere) && writes_in(kOther, kHere));
  EXPECT_EQ(domain->unmap(kHere, kPageSize), kPageSize);
  EXPECT_FALSE(writes_in(kPasid, kHere) || writes_in(kOther, kHere));
}

TEST_P(SmmuPasids, AreOnAStageOneOfOneIdWithTheOtherRequests) {
  boot_with(GetParam());
  Domain* const domain = mapped(kHere);
  ASSERT_TRUE(group(kFirst).attach(*domain));
  ASSERT_TRUE(attach(*domain, kPasid));
  EXPECT_TRUE(writes(kFirst, kHere) && writes_in(kPasid, kHere));
  group(kFirst).detach_pasid(kPasid);
  EXPECT_TRUE(writes(kFirst, kHere)) << "the id is still in use";
}

TEST_F(SmmuRig, PasidsAreAsWideAsTheDeviceTheUnitAndItsTables) {
  boot_with("substream_bits = 16", "pasid_bits = 10");
  EXPECT_EQ(group(kFirst).driver().pasid_bits(*system_->device(kFirst)), 10u);
  EXPECT_EQ(group(kSecond).driver().pasid_bits(*system_->device(kSecond)), 0u) << "the device has none";
  system_.reset();
  boot_with("substream_bits = 8");
  EXPECT_EQ(group(kFirst).driver().pasid_bits(*system_->device(kFirst)), 8u);
  system_.reset();
  boot_with("substream_bits = 20\ntwo_level_descriptors = false");
  EXPECT_EQ(group(kFirst).driver().pasid_bits(*system_->device(kFirst)), 10u) << "a linear table";
}

TEST_F(SmmuRig, ALeafOfTheTableIsMadeWhenItsFirstPasidIsAttached) {
  boot_with("substream_bits = 20");
  Domain* const domain = mapped(kWindow);
  ASSERT_TRUE(attach(*domain, kPasid));
  EXPECT_FALSE(writes_in(far_, kWindow)) << "that there is none is remembered";
  const std::uint64_t before = machine_->memory().tables().allocated_pages();
  ASSERT_TRUE(attach(*domain, far_));
  EXPECT_EQ(machine_->memory().tables().allocated_pages(), before + 16);
  EXPECT_TRUE(writes_in(far_, kWindow) && writes_in(kPasid, kWindow));
}

TEST_F(SmmuRig, ALeafThatCannotBeHadIsNoMemory) {
  boot_with("substream_bits = 20");
  Domain* const domain = mapped(kWindow);
  fault::fail_point("memory.table", 1);
  const auto answer = attach(*domain, far_);
  fault::disarm();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().failure, AttachFailure::no_memory);
  EXPECT_FALSE(writes_in(far_, kWindow));
}

TEST_F(SmmuRig, APasidIsOnStageOneOnly) {
  boot_with("substream_bits = 8\nforce_write_back = true");
  const auto refused = [&](Domain& domain) { return attach(domain, kPasid).error(); };
  EXPECT_EQ(refused(*domain_for(kFirst, {.nest_parent = true})).failure, AttachFailure::incompatible);
  EXPECT_EQ(refused(*identity()).failure, AttachFailure::incompatible);
}

TEST_F(SmmuRig, StageTwoAndPasidsExcludeEachOther) {
  boot_with("substream_bits = 8\nforce_write_back = true");
  Domain *const parent = mapped(kWindow, {.nest_parent = true}), *const domain = mapped(kWindow);
  ASSERT_TRUE(group(kFirst).attach(*parent));
  EXPECT_TRUE(writes(kFirst, kWindow));
  EXPECT_EQ(attach(*domain, kPasid).error().failure, AttachFailure::busy);
  ASSERT_TRUE(group(kFirst).replace(*blocked()));
  ASSERT_TRUE(attach(*domain, kPasid));
  EXPECT_EQ(group(kFirst).replace(*parent).error().failure, AttachFailure::busy);
  EXPECT_TRUE(writes_in(kPasid, kWindow));
}

TEST_F(SmmuRig, AStageTwoUnitHasNone) {
  boot_with("substream_bits = 8\nstages = \"2\"");
  EXPECT_EQ(group(kFirst).driver().pasid_bits(*system_->device(kFirst)), 0u);
  EXPECT_EQ(system_->allocate_domain(group(kFirst), {.pasid = true}).error().code, EOPNOTSUPP);
}

TEST_F(SmmuRig, ABlockedDeviceSaysNothingOfRequestsWithAPasid) {
  boot_with("substream_bits = 8");
  ASSERT_TRUE(attach(*mapped(kWindow), kPasid));
  EXPECT_FALSE(writes_in(kPasid, kWindow + kPageSize));
  EXPECT_EQ(lines_.count("F_TRANSLATION stream 0x10 substream 0x5 iova 0x40001000 write"), 1u) << lines_.all;
}

// ---- Stalls -----------------------------------------------------------------------------------------------------

class Answering final : public PageRequestHandler {
 public:
  explicit Answering(std::function<PageAnswer(const PageRequest&)> answer) : answer_(std::move(answer)) {}
  void handle(PageRequestSet set) override {
    requests.push_back(set.requests().front());
    set.answer(answer_(set.requests().front()));
  }
  std::vector<PageRequest> requests;

 private:
  std::function<PageAnswer(const PageRequest&)> answer_;
};

TEST_F(SmmuRig, AStalledAccessGoesOnWhenItsPageIsBrought) {
  boot_with("stalls = \"choice\"", "stalls = true");
  Domain* const domain = domain_for(kFirst);
  Answering handler([&](const PageRequest& request) {
    EXPECT_TRUE(domain->map(Iova{request.address}, pa_, kPageSize, kBoth));
    return PageAnswer::success;
  });
  domain->set_page_request_handler(handler);
  ASSERT_TRUE(group(kFirst).attach(*domain, &handle_));
  EXPECT_TRUE(writes(kFirst, kWindow));
  ASSERT_EQ(handler.requests.size(), 1u);
  EXPECT_EQ(handler.requests[0].address, kWindow.value);
  EXPECT_EQ(handler.requests[0].rights, PageRight::write);
  EXPECT_EQ(lines_.count("event"), 0u) << lines_.all;
}

TEST_F(SmmuRig, AStalledAccessEndsWhenItIsRefusedOrNobodyTakesIt) {
  boot_with("stalls = \"always\"", "");
  Domain *const domain = domain_for(kFirst), *const deaf = domain_for(kFirst);
  Answering handler([](const PageRequest&) { return PageAnswer::invalid; });
  domain->set_page_request_handler(handler);
  ASSERT_TRUE(group(kFirst).attach(*domain, &handle_));
  EXPECT_FALSE(writes(kFirst, kWindow));
  EXPECT_EQ(handler.requests.size(), 1u);
  ASSERT_TRUE(group(kFirst).replace(*deaf));
  EXPECT_FALSE(writes(kFirst, kWindow));
}

TEST_F(SmmuRig, OnlyDevicesThatCanStallDo) {
  boot_with("stalls = \"choice\"", "stalls = true");
  Domain* const domain = domain_for(kSecond);
  Answering handler([](const PageRequest&) { return PageAnswer::invalid; });
  domain->set_page_request_handler(handler);
  ASSERT_TRUE(group(kSecond).attach(*domain, &handle_));
  EXPECT_FALSE(writes(kSecond, kWindow));
  EXPECT_TRUE(handler.requests.empty());
  EXPECT_EQ(lines_.count("F_TRANSLATION"), 1u);
}

TEST_F(SmmuRig, AnAnswerOfAnotherThreadReachesTheStalledAccess) {
  boot_with("stalls = \"choice\"\nsubstream_bits = 8", "stalls = true\npasid_bits = 8");
  class Keeping final : public PageRequestHandler {
   public:
    void handle(PageRequestSet set) override {
      const std::scoped_lock lock(mutex);
      kept.push_back(std::move(set));
    }
    std::mutex mutex;
    std::vector<PageRequestSet> kept;
  } handler;
  Domain* const domain = domain_for(kFirst, {.pasid = true});
  domain->set_page_request_handler(handler);
  ASSERT_TRUE(attach(*domain, kPasid));
  bool written = false;
  std::thread device([&] { written = writes_in(kPasid, kWindow); });
  for (bool came = false; !came; std::this_thread::yield()) {
    const std::scoped_lock lock(handler.mutex);
    came = !handler.kept.empty();
  }
  EXPECT_EQ(handler.kept[0].requests()[0].pasid, kPasid);
  EXPECT_TRUE(domain->map(kWindow, pa_, kPageSize, kBoth));
  handler.kept[0].answer(PageAnswer::success);
  device.join();
  EXPECT_TRUE(written);
}

}  // namespace
}  // namespace softiommu
