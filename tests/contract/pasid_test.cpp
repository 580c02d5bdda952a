// SPDX-License-Identifier: BSD-3-Clause
// PASIDs of a group (core-rules 10), with the driver "flat", which has them where it is told and fails as it is told.
#include <gtest/gtest.h>

#include "contract/world.h"

namespace softiommu::testing {
namespace {

constexpr StreamId kFirst = 0x18, kSecond = 0x19;  // 03.0, 03.1
constexpr Pasid kPasid = 100;

// The first two of the trio have PASIDs.
class Pasids : public ::testing::Test {
 protected:
  Pasids() {
    world.own(group());
    a_ = world.domain(group(), 'A');
    b_ = world.domain(group(), 'B');
  }
  ~Pasids() override {
    knobs() = {.pasid_bits = {{kFirst, 8}, {kSecond, 20}}};
    group().detach_pasid(kPasid);
  }

  static World::Setup setup() { return {.knobs = {.pasid_bits = {{kFirst, 8}, {kSecond, 20}}}}; }
  Group& group() { return world.trio(); }
  FlatKnobs& knobs() { return world.flat().knobs; }
  // What each device of the group has at the PASID: A, B, or '-'.
  std::string at(Pasid pasid) {
    std::string seen;
    for (const Device* device : group().devices()) {
      const auto found = world.flat().pasids.find({device, pasid});
      seen += found == world.flat().pasids.end() ? '-' : found->second == a_.get() ? 'A' : 'B';
    }
    return seen;
  }
  AttachFailure failure(const AttachResult<>& answer) {
    EXPECT_FALSE(answer);
    return answer ? AttachFailure::no_device : answer.error().failure;
  }

  World world{driver_cases().front(), setup()};
  std::unique_ptr<Domain> a_, b_;
  AttachHandle handle_, other_handle_;
};

TEST_F(Pasids, AreAttachedOnEveryDeviceThatHasThem) {
  ASSERT_TRUE(group().attach_pasid(*a_, kPasid, handle_));
  EXPECT_EQ(at(kPasid), "AA-");
  EXPECT_EQ(group().domain(kPasid), a_.get());
  EXPECT_EQ(group().domain()->type(), DomainType::blocked) << "requests without a PASID are not touched";
}

TEST_F(Pasids, AreIndependentOfEachOther) {
  ASSERT_TRUE(group().attach_pasid(*a_, kPasid, handle_));
  ASSERT_TRUE(group().attach_pasid(*b_, 7, handle_));
  group().detach_pasid(7);
  EXPECT_EQ(at(kPasid) + at(7), "AA----");
}

TEST_F(Pasids, AreBusyWhileAttachedEvenForTheSameDomain) {
  ASSERT_TRUE(group().attach_pasid(*a_, kPasid, handle_));
  EXPECT_EQ(failure(group().attach_pasid(*b_, kPasid, handle_)), AttachFailure::busy);
  EXPECT_EQ(failure(group().attach_pasid(*a_, kPasid, handle_)), AttachFailure::busy);
  EXPECT_EQ(at(kPasid), "AA-");
}

TEST_F(Pasids, AreMovedByReplace) {
  ASSERT_TRUE(group().attach_pasid(*a_, kPasid, handle_));
  ASSERT_TRUE(group().replace_pasid(*b_, kPasid, other_handle_));
  EXPECT_EQ(at(kPasid), "BB-");
  EXPECT_EQ(group().domain(kPasid), b_.get());
}

TEST_F(Pasids, CannotBeReplacedBeforeTheyAreAttached) {
  EXPECT_EQ(failure(group().replace_pasid(*a_, kPasid, handle_)), AttachFailure::incompatible);
  EXPECT_EQ(group().domain(kPasid), nullptr);
}

TEST_F(Pasids, ReplacedByTheirOwnDomainDoNotReachTheDriver) {
  ASSERT_TRUE(group().attach_pasid(*a_, kPasid, handle_));
  const FlatCalls before = world.flat().calls;
  ASSERT_TRUE(group().replace_pasid(*a_, kPasid, other_handle_));
  EXPECT_EQ(world.flat().calls, before);
  EXPECT_EQ(group().page_faults().find(kPasid).handle, &other_handle_);
}

TEST_F(Pasids, NeedADriverThatAttachesThem) {
  knobs().no_pasids = true;
  const auto answer = group().attach_pasid(*a_, kPasid, handle_);
  EXPECT_EQ(failure(answer), AttachFailure::no_device);
  EXPECT_EQ(answer.error().code, EOPNOTSUPP);
}

TEST_F(Pasids, NeedAnEmptyBlockedDomainToGoBackTo) {
  knobs().no_blocked = true;
  EXPECT_EQ(group().attach_pasid(*a_, kPasid, handle_).error().code, EOPNOTSUPP);
}

TEST_F(Pasids, AreRefusedAnotherDriversDomainBeforeAnyDriverIsAsked) {
  const auto foreign = world.domain(world.foreign(), 'F');
  const FlatCalls before = world.flat().calls;
  EXPECT_EQ(failure(group().attach_pasid(*foreign, kPasid, handle_)), AttachFailure::incompatible);
  EXPECT_EQ(world.flat().calls, before);
}

TEST_F(Pasids, Are1AndMoreAndFitEveryDeviceThatHasThem) {
  EXPECT_EQ(failure(group().attach_pasid(*a_, 0, handle_)), AttachFailure::incompatible);
  EXPECT_EQ(failure(group().attach_pasid(*a_, 256, handle_)), AttachFailure::incompatible);
  EXPECT_TRUE(group().attach_pasid(*a_, 255, handle_));
  group().detach_pasid(255);
}

TEST_F(Pasids, AnswerUnsupportedBeforeIncompatibleBeforeBusy) {
  const auto foreign = world.domain(world.foreign(), 'F');
  ASSERT_TRUE(group().attach_pasid(*a_, kPasid, handle_));
  EXPECT_EQ(failure(group().attach_pasid(*foreign, kPasid, handle_)), AttachFailure::incompatible);
  knobs().no_pasids = true;
  EXPECT_EQ(group().attach_pasid(*foreign, kPasid, handle_).error().code, EOPNOTSUPP);
}

TEST_F(Pasids, ThatFailAtTheSecondDeviceAreGoneFromTheFirst) {
  knobs().fail_commit = FlatKnobs::Step{1, AttachFailure::no_space};
  EXPECT_EQ(failure(group().attach_pasid(*a_, kPasid, handle_)), AttachFailure::no_space);
  EXPECT_EQ(at(kPasid), "---");
  EXPECT_EQ(group().domain(kPasid), nullptr);
  EXPECT_FALSE(group().broken());
}

TEST_F(Pasids, WhoseReplaceFailsStayOnTheOldDomainOnEveryDevice) {
  ASSERT_TRUE(group().attach_pasid(*a_, kPasid, handle_));
  for (const std::size_t device : {0u, 1u}) {
    knobs().fail_commit = FlatKnobs::Step{device, AttachFailure::no_memory};
    EXPECT_EQ(failure(group().replace_pasid(*b_, kPasid, other_handle_)), AttachFailure::no_memory);
    EXPECT_EQ(at(kPasid), "AA-");
  }
  EXPECT_EQ(group().page_faults().find(kPasid).handle, &handle_) << "requests still belong to the old attach";
}

TEST_F(Pasids, WhoseWayBackIsRefusedLeaveTheGroupBroken) {
  ASSERT_TRUE(group().attach_pasid(*a_, kPasid, handle_));
  knobs().fail_commit = FlatKnobs::Step{1, AttachFailure::no_memory};
  knobs().refuse_undo = {0};
  EXPECT_EQ(failure(group().replace_pasid(*b_, kPasid, other_handle_)), AttachFailure::no_memory);
  EXPECT_TRUE(group().broken());
  knobs().fail_commit.reset();
  EXPECT_EQ(failure(group().attach_pasid(*a_, 7, handle_)), AttachFailure::no_device);
}

TEST_F(Pasids, OfADriverThatThrowsAreNoMemory) {
  knobs().throw_in_prepare = true;
  EXPECT_EQ(failure(group().attach_pasid(*a_, kPasid, handle_)), AttachFailure::no_memory);
  EXPECT_EQ(group().domain(kPasid), nullptr);
}

TEST_F(Pasids, DetachedTwiceAreDetached) {
  ASSERT_TRUE(group().attach_pasid(*a_, kPasid, handle_));
  group().detach_pasid(kPasid);
  group().detach_pasid(kPasid);
  EXPECT_EQ(at(kPasid), "---");
  EXPECT_TRUE(group().attach_pasid(*b_, kPasid, handle_));
}

TEST_F(Pasids, ThatAreAttachedKeepTheGroupFromAnotherOwner) {
  ASSERT_TRUE(group().attach_pasid(*a_, kPasid, handle_));
  const LogCapture log;
  group().release_dma_owner();
  EXPECT_EQ(at(kPasid), "---") << "an owner that goes leaves none behind";
  EXPECT_TRUE(log.has("PASID 100 was still attached"));
  world.own(group());
}

TEST_F(Pasids, OfAGroupWithoutOneAreAttachedToNothing) {
  Group& alone = world.own(world.alone());
  const auto domain = world.domain(alone, 'C');
  const FlatCalls before = world.flat().calls;
  ASSERT_TRUE(alone.attach_pasid(*domain, kPasid, handle_));
  EXPECT_EQ(world.flat().calls, before);
  alone.detach_pasid(kPasid);
}

TEST_F(Pasids, AreInTheJournal) {
  ASSERT_TRUE(group().attach_pasid(*a_, kPasid, handle_));
  EXPECT_EQ(world.attaches().back().pasid, kPasid);
  EXPECT_NE(describe(world.attaches().back()).find("for PASID 100"), std::string::npos);
}

// A device without PASIDs has nothing to switch.
TEST_F(Pasids, OfARealDriverAreUnsupportedUnlessItAttachesThem) {
  unsigned attaching = 0;
  for (const DriverCase& row : driver_cases().subspan(1)) {
    World real(row);
    Group& group = real.own(real.alone());
    const auto domain = real.domain(group, 'A');
    const auto answer = group.attach_pasid(*domain, kPasid, handle_);
    EXPECT_EQ(answer.has_value(), group.driver().attaches_pasids()) << row.name;
    if (!answer) {
      EXPECT_EQ(answer.error().code, EOPNOTSUPP) << row.name;
      continue;
    }
    ++attaching;
    group.detach_pasid(kPasid);
  }
  EXPECT_GT(attaching, 0u);
}

}  // namespace
}  // namespace softiommu::testing
