// SPDX-License-Identifier: BSD-3-Clause
// Way to fail x what is returned x what is logged x what the devices translate through afterwards; with the driver
// "flat", which fails as it is told.
#include <gtest/gtest.h>

#include "contract/world.h"

namespace softiommu::testing {
namespace {

constexpr AttachFailure kHard[] = {AttachFailure::no_memory, AttachFailure::no_space, AttachFailure::busy,
                                   AttachFailure::no_device};

// A trio on domain A that is told to replace it by B.
class Failure : public ::testing::Test {
 protected:
  Failure() {
    old_ = world.domain(group(), 'A');
    next_ = world.domain(group(), 'B');
    EXPECT_TRUE(world.own(group()).attach(*old_));
    // B has served the group before, so that `incompatible` is its answer to give.
    EXPECT_TRUE(group().replace(*next_));
    EXPECT_TRUE(group().replace(*old_));
    calls_before_ = world.flat().calls;
  }
  ~Failure() override {
    world.flat().knobs = {};
    group().detach();
  }

  Group& group() { return world.trio(); }
  FlatKnobs& knobs() { return world.flat().knobs; }
  AttachError refused() {
    const auto answer = group().replace(*next_);
    EXPECT_FALSE(answer);
    return answer ? AttachError{} : answer.error();
  }
  void expect_refused() { EXPECT_FALSE(group().replace(*next_)); }
  void expect_on_old_domain() {
    EXPECT_EQ(world.sees(group()), "AAA");
    EXPECT_EQ(group().domain(), old_.get());
    EXPECT_FALSE(group().broken());
  }

  World world{driver_cases().front()};
  std::unique_ptr<Domain> old_, next_;
  FlatCalls calls_before_{};
};

TEST_F(Failure, OfPrepareIsReturnedAsItIsAndCallsNothingElse) {
  const LogCapture log(log::Level::info);
  for (const std::size_t device : {0u, 1u, 2u}) {
    for (const AttachFailure failure : kHard) {
      knobs().fail_prepare = FlatKnobs::Step{device, failure};
      const AttachError error = refused();
      EXPECT_EQ(error.failure, failure);
      EXPECT_EQ(error.code, to_errno(failure));
      EXPECT_STREQ(error.reason.property, "a knob");
      expect_on_old_domain();
    }
  }
  EXPECT_EQ(world.flat().calls.commit, calls_before_.commit);
  EXPECT_EQ(world.flat().calls.abandon, calls_before_.abandon);
  EXPECT_EQ(log.lines(), 0u) << log.all();
}

TEST_F(Failure, IncompatibleFromPrepareIsReturnedAndLogsNothing) {
  const LogCapture log(log::Level::debug);
  knobs().fail_prepare = FlatKnobs::Step{1, AttachFailure::incompatible};
  EXPECT_EQ(refused().failure, AttachFailure::incompatible);
  EXPECT_EQ(log.lines(), 0u) << log.all();
  expect_on_old_domain();
}

TEST_F(Failure, OfCommitIsReturnedAndTheDevicesBeforeItGoBackInReverse) {
  for (const AttachFailure failure : kHard) {
    knobs().fail_commit = FlatKnobs::Step{2, failure};
    world.flat().undone.clear();
    EXPECT_EQ(refused().failure, failure);
    EXPECT_EQ(world.flat().undone, (std::vector<std::string>{"0000:00:03.1", "0000:00:03.0"}));
    expect_on_old_domain();
  }
  EXPECT_EQ(world.flat().calls.abandon, calls_before_.abandon + std::size(kHard));
  EXPECT_EQ(world.flat().calls.finish, calls_before_.finish);
}

TEST_F(Failure, OfTheFirstCommitUndoesNothing) {
  knobs().fail_commit = FlatKnobs::Step{0, AttachFailure::no_device};
  EXPECT_EQ(refused().failure, AttachFailure::no_device);
  EXPECT_EQ(world.flat().calls.undo, calls_before_.undo);
  expect_on_old_domain();
}

TEST_F(Failure, IncompatibleFromCommitIsReportedAsABrokenDriverAndBecomesNoDevice) {
  const LogCapture log(log::Level::error);
  knobs().fail_commit = FlatKnobs::Step{1, AttachFailure::incompatible};
  EXPECT_EQ(refused().failure, AttachFailure::no_device);
  EXPECT_EQ(log.lines(), 1u);
  EXPECT_TRUE(log.has("driver flat is broken: commit")) << log.all();
  expect_on_old_domain();
}

TEST_F(Failure, IncompatibleForADomainMadeForTheGroupIsReportedAndBecomesNoDevice) {
  const auto fresh = world.domain(group(), 'F');
  const LogCapture log(log::Level::error);
  knobs().fail_prepare = FlatKnobs::Step{0, AttachFailure::incompatible};
  EXPECT_EQ(group().replace(*fresh).error().failure, AttachFailure::no_device);
  EXPECT_TRUE(log.has("driver flat is broken: prepare")) << log.all();
  expect_on_old_domain();
}

TEST_F(Failure, IncompatibleForADomainMadeForAnotherGroupIsNoBug) {
  const auto others = world.domain(world.second(), 'F');
  const LogCapture log(log::Level::info);
  knobs().fail_prepare = FlatKnobs::Step{0, AttachFailure::incompatible};
  EXPECT_EQ(group().replace(*others).error().failure, AttachFailure::incompatible);
  EXPECT_EQ(log.lines(), 0u) << log.all();
}

TEST_F(Failure, ThrownMemoryExhaustionBecomesNoMemory) {
  knobs().throw_in_prepare = true;
  EXPECT_EQ(refused().failure, AttachFailure::no_memory);
  expect_on_old_domain();
  knobs().throw_in_prepare = false;
  knobs().throw_in_commit = true;
  EXPECT_EQ(refused().failure, AttachFailure::no_memory);
  expect_on_old_domain();
}

TEST_F(Failure, LeaksNoContext) {
  const unsigned in_use = world.flat().contexts_in_use(0);
  knobs().throw_in_prepare = true;
  expect_refused();
  knobs() = {.fail_prepare = FlatKnobs::Step{2, AttachFailure::no_memory}};
  expect_refused();
  knobs() = {.fail_commit = FlatKnobs::Step{2, AttachFailure::no_memory}};
  expect_refused();
  EXPECT_EQ(world.flat().contexts_in_use(0), in_use);
}

TEST_F(Failure, OfTheWayBackBlocksThatDeviceOnly) {
  const LogCapture log(log::Level::error);
  knobs().fail_commit = FlatKnobs::Step{2, AttachFailure::no_device};
  knobs().refuse_undo = {0};
  EXPECT_EQ(refused().failure, AttachFailure::no_device);
  EXPECT_EQ(world.sees(group()), "-AA");
  EXPECT_TRUE(group().broken());
  EXPECT_EQ(world.flat().calls.block, calls_before_.block + 1);
  EXPECT_TRUE(log.has("pci 0000:00:03.0")) << log.all();
}

TEST_F(Failure, OfADetachBlocksTheDeviceAndDetachesTheOthers) {
  const LogCapture log(log::Level::error);
  knobs().fail_commit = FlatKnobs::Step{1, AttachFailure::no_device};
  group().detach();
  EXPECT_EQ(world.sees(group()), "---");
  EXPECT_EQ(group().domain()->type(), DomainType::blocked);
  EXPECT_TRUE(group().broken());
  EXPECT_TRUE(log.has("0000:00:03.1")) << log.all();
  EXPECT_EQ(world.flat().calls.finish, calls_before_.finish + 1);
}

TEST_F(Failure, TheDomainThatTheGroupIsOnSucceedsWithoutTheDriver) {
  EXPECT_TRUE(group().replace(*old_));
  EXPECT_EQ(world.flat().calls, calls_before_);
}

TEST_F(Failure, AnotherDriversDomainNeverReachesTheDriver) {
  const auto foreign = world.domain(world.foreign(), 'F');
  EXPECT_EQ(group().replace(*foreign).error().failure, AttachFailure::incompatible);
  EXPECT_EQ(world.flat().calls, calls_before_);
  expect_on_old_domain();
}

TEST(FailureOfOneDevice, LeavesItOnItsOldDomainWhateverTheFailure) {
  World world(driver_cases().front());
  const auto old = world.domain(world.alone(), 'A'), next = world.domain(world.second(), 'B');
  ASSERT_TRUE(world.own(world.alone()).attach(*old));
  for (const AttachFailure failure : kHard) {
    world.flat().knobs = {.fail_prepare = FlatKnobs::Step{0, failure}};
    EXPECT_EQ(world.alone().replace(*next).error().failure, failure);
    EXPECT_EQ(world.sees(world.alone()), "A");
    world.flat().knobs = {.fail_commit = FlatKnobs::Step{0, failure}};
    EXPECT_EQ(world.alone().replace(*next).error().failure, failure);
    EXPECT_EQ(world.sees(world.alone()), "A");
  }
  world.flat().knobs = {};
  world.alone().detach();
}

TEST(FailureOfAllocation, IsReturnedAndAForeignDomainIsReported) {
  World world(driver_cases().front());
  for (const int code : {ENOMEM, EOPNOTSUPP, ENODEV}) {
    world.flat().knobs.allocate_errno = code;
    EXPECT_EQ(world.system().allocate_domain(world.alone()).error().code, code);
  }
  world.flat().knobs = {.allocate_foreign = true};
  const LogCapture log(log::Level::error);
  EXPECT_EQ(world.system().allocate_domain(world.alone()).error().code, ENODEV);
  EXPECT_TRUE(log.has("driver flat is broken"));
}

TEST(LimitedContexts, AreNoSpaceAndTheGroupStaysWhereItWas) {
  World limited(driver_cases().front(), {.more_toml = R"(
[[iommu]]
name = "small"
model = "test-flat"
contexts = 2
[[device]]
address = "00:09.0"
model = "test-dma"
iommu = "small"
[[device]]
address = "00:0a.0"
model = "test-dma"
iommu = "small"
)"});
  Group& first = limited.group("09.0");
  Group& last = limited.group("0a.0");
  limited.own(first);
  const auto a = limited.domain(first, 'A'), b = limited.domain(first, 'B');
  ASSERT_TRUE(first.attach(*a));
  EXPECT_EQ(first.replace(*b).error().failure, AttachFailure::no_space);
  EXPECT_EQ(limited.sees(first), "A");
  limited.own(last);
  EXPECT_TRUE(first.replace(*b));
  EXPECT_EQ(limited.sees(first), "B");
  first.detach();
}

}  // namespace
}  // namespace softiommu::testing
