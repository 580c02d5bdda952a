// SPDX-License-Identifier: BSD-3-Clause
// One test per row of docs/differences.md that is the core's: what the contract answers, and what Linux 7.2 does.
#include <gtest/gtest.h>

#include "base/fault.h"
#include "contract/world.h"

namespace softiommu::testing {
namespace {

constexpr StreamId kAlone = 2 << 3;

class Differences : public ::testing::TestWithParam<Rules> {
 protected:
  World make(FlatKnobs knobs = {}) {
    return World(driver_cases().front(), {.rules = GetParam(), .knobs = std::move(knobs)});
  }
  bool linux7() const { return GetParam() == Rules::linux7; }
  const int a_program = 0;
};

INSTANTIATE_TEST_SUITE_P(Rules, Differences, ::testing::Values(Rules::contract, Rules::linux7), [](const auto& test) {
  return std::string(test.param == Rules::linux7 ? "Linux" : "Contract");
});

TEST_P(Differences, ABlockedDomainForADeviceWithDirectRegionsWarnsOnLinuxOnly) {
  World world = make({.reserved = {{kAlone, {{{Iova{0}, Iova{0xfff}}, ReservedRegion::Kind::direct}}}}});
  const LogCapture log(log::Level::warning);
  EXPECT_EQ(world.alone().claim_dma_owner(&a_program).error().code, EINVAL);
  EXPECT_EQ(log.lines(), linux7() ? 1u : 0u) << log.all();
  EXPECT_EQ(world.alone().domain(), world.alone().default_domain());
}

TEST_P(Differences, IncompatibleForAFreshDomainIsHandedOnByLinux) {
  World world = make();
  const auto fresh = world.domain(world.own(world.alone()), 'A');
  world.flat().knobs.fail_prepare = FlatKnobs::Step{0, AttachFailure::incompatible};
  const LogCapture log(log::Level::warning);
  EXPECT_EQ(world.alone().attach(*fresh).error().code, linux7() ? EINVAL : ENODEV);
  EXPECT_EQ(log.lines(), linux7() ? 0u : 1u) << log.all();
}

TEST_P(Differences, TheContainersSearchGoesOnAfterAHardFailureOnLinux) {
  World world = make();
  DomainSet set(world.system());
  ASSERT_TRUE(set.attach(world.own(world.alone()), {}, world.fill('A')));
  world.own(world.second());
  fault::fail_point("core.prepare", linux7() ? 2 : 1);  // Linux's first is for its fresh domain
  const auto answer = set.attach(world.second(), {}, world.fill('A'));
  EXPECT_EQ(answer.has_value(), linux7());
  EXPECT_EQ(set.members().size(), linux7() ? 2u : 1u);
}

TEST_P(Differences, ReplaceIsGuardedByBoth) {
  World world = make();
  const auto foreign = world.domain(world.foreign(), 'F');
  EXPECT_EQ(world.own(world.alone()).replace(*foreign).error().code, EINVAL);
}

}  // namespace
}  // namespace softiommu::testing
