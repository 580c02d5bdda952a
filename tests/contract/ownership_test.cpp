// SPDX-License-Identifier: BSD-3-Clause
// Who may use a group's DMA, and what the group rests on when nobody attaches it (core-rules 8 and 9).
#include <gtest/gtest.h>

#include "contract/world.h"

namespace softiommu::testing {
namespace {

class Ownership : public ::testing::TestWithParam<DriverCase> {
 protected:
  World world{GetParam()};
  Group& group = world.alone();
  const int a_program = 0, another_program = 0;
};

INSTANTIATE_TEST_SUITE_P(EveryDriver, Ownership, ::testing::ValuesIn(driver_cases()), case_name);

TEST_P(Ownership, AClaimBlocksTheGroupAndTheReleaseGivesItsDefaultDomainBack) {
  Domain* const usual = group.default_domain();
  EXPECT_EQ(group.domain(), usual);
  ASSERT_TRUE(group.claim_dma_owner(&a_program));
  EXPECT_EQ(group.domain()->type(), DomainType::blocked);
  EXPECT_TRUE(group.dma_owner_claimed());
  group.release_dma_owner();
  EXPECT_EQ(group.domain(), usual);
  EXPECT_FALSE(group.dma_owner_claimed());
}

TEST_P(Ownership, ASecondClaimIsEPERMEvenByTheSameOwner) {
  ASSERT_TRUE(group.claim_dma_owner(&a_program));
  EXPECT_EQ(group.claim_dma_owner(&a_program).error().code, EPERM);
  EXPECT_EQ(group.claim_dma_owner(&another_program).error().code, EPERM);
}

TEST_P(Ownership, AClaimWithoutAnOwnerIsEINVAL) { EXPECT_EQ(group.claim_dma_owner(nullptr).error().code, EINVAL); }

TEST_P(Ownership, SharedClaimsAreCountedPerOwner) {
  ASSERT_TRUE(group.share_dma_owner(&a_program));
  ASSERT_TRUE(group.share_dma_owner(&a_program));
  EXPECT_EQ(group.share_dma_owner(&another_program).error().code, EPERM);
  group.release_dma_owner();
  EXPECT_TRUE(group.dma_owner_claimed());
  group.release_dma_owner();
  EXPECT_TRUE(group.share_dma_owner(&another_program));
}

TEST_P(Ownership, AKernelDriverAndAProgramExcludeEachOther) {
  ASSERT_TRUE(group.use_default_domain());
  ASSERT_TRUE(group.use_default_domain());
  EXPECT_EQ(group.claim_dma_owner(&a_program).error().code, EPERM);
  group.unuse_default_domain();
  group.unuse_default_domain();
  ASSERT_TRUE(group.claim_dma_owner(&a_program));
  EXPECT_EQ(group.use_default_domain().error().code, EBUSY);
}

TEST_P(Ownership, AnAttachedGroupCannotBeClaimed) {
  const auto domain = world.domain(group, 'A');
  ASSERT_TRUE(group.attach(*domain));
  EXPECT_EQ(group.claim_dma_owner(&a_program).error().code, EBUSY);
  group.detach();
  EXPECT_EQ(group.domain(), group.default_domain());
}

TEST_P(Ownership, AReleaseTakesTheGroupOffItsDomain) {
  const auto domain = world.domain(group, 'A');
  ASSERT_TRUE(group.claim_dma_owner(&a_program));
  ASSERT_TRUE(group.attach(*domain));
  group.release_dma_owner();
  EXPECT_EQ(group.domain(), group.default_domain());
  EXPECT_EQ(world.sees(group), "-");
}

// With the driver "flat".
class FlatOwnership : public ::testing::Test {
 protected:
  static World::Setup with(FlatKnobs knobs) { return {.knobs = std::move(knobs)}; }
  const int a_program = 0;
};

TEST_F(FlatOwnership, HardwareWithoutABlockedSettingGetsAnEmptyDomainAtTheClaim) {
  World world(driver_cases().front(), with({.no_blocked = true}));
  const unsigned allocated = world.flat().calls.allocate;
  ASSERT_TRUE(world.alone().claim_dma_owner(&a_program));
  EXPECT_EQ(world.flat().calls.allocate, allocated + 1);
  EXPECT_EQ(world.alone().domain()->type(), DomainType::paging);
  EXPECT_EQ(world.sees(world.alone()), "-");
  world.alone().release_dma_owner();
  ASSERT_TRUE(world.alone().claim_dma_owner(&a_program));
  EXPECT_EQ(world.flat().calls.allocate, allocated + 1);
}

TEST_F(FlatOwnership, ThatDomainCannotBeMadeMeansThatTheClaimFails) {
  World world(driver_cases().front(), with({.no_blocked = true}));
  world.flat().knobs.allocate_errno = ENOMEM;
  EXPECT_EQ(world.alone().claim_dma_owner(&a_program).error().code, ENOMEM);
  EXPECT_FALSE(world.alone().dma_owner_claimed());
  EXPECT_EQ(world.alone().domain(), world.alone().default_domain());
}

TEST_F(FlatOwnership, AReleaseWhoseDefaultDomainCannotBeAttachedStaysBlockedAndIsLogged) {
  World world(driver_cases().front());
  ASSERT_TRUE(world.alone().claim_dma_owner(&a_program));
  world.flat().knobs.refuse_paging = true;
  const LogCapture log(log::Level::error);
  world.alone().release_dma_owner();
  EXPECT_EQ(world.alone().domain()->type(), DomainType::blocked);
  EXPECT_TRUE(log.has("iommu group 0")) << log.all();
  EXPECT_TRUE(world.alone().claim_dma_owner(&a_program));
  world.flat().knobs.refuse_paging = false;
  world.alone().release_dma_owner();
  EXPECT_EQ(world.alone().domain(), world.alone().default_domain());
}

TEST_F(FlatOwnership, ADetachThatCanPrepareNothingBlocksTheGroup) {
  World world(driver_cases().front(), with({.no_blocked = true}));
  const auto domain = world.domain(world.trio(), 'A');
  ASSERT_TRUE(world.trio().claim_dma_owner(&a_program));
  ASSERT_TRUE(world.trio().attach(*domain));
  world.flat().knobs.refuse_paging = true;
  const LogCapture log(log::Level::error);
  world.trio().detach();
  EXPECT_EQ(world.trio().domain(), nullptr);
  EXPECT_EQ(world.sees(world.trio()), "---");
  EXPECT_EQ(log.lines(), 1u) << log.all();
}

TEST_F(FlatOwnership, AKernelDriverBringsAParkedGroupBackToItsDefaultDomain) {
  World world(driver_cases().front());
  ASSERT_TRUE(world.alone().claim_dma_owner(&a_program));
  world.flat().knobs.refuse_paging = true;
  const LogCapture log(log::Level::error);
  world.alone().release_dma_owner();
  EXPECT_EQ(world.alone().use_default_domain().error().code, ENOSPC);
  world.flat().knobs.refuse_paging = false;
  EXPECT_TRUE(world.alone().use_default_domain());
  EXPECT_EQ(world.alone().domain(), world.alone().default_domain());
}

}  // namespace
}  // namespace softiommu::testing
