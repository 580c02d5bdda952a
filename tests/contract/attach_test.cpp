// SPDX-License-Identifier: BSD-3-Clause
// What every driver promises about attach, replace and detach, whatever hardware it drives.
#include <gtest/gtest.h>

#include "base/fault.h"
#include "check/counting_new.h"
#include "contract/world.h"

namespace softiommu::testing {
namespace {

class Attach : public ::testing::TestWithParam<DriverCase> {
 protected:
  World world{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(EveryDriver, Attach, ::testing::ValuesIn(driver_cases()), case_name);

class AttachShared : public Attach {};
INSTANTIATE_TEST_SUITE_P(DriversWhoseDomainsServeManyGroups, AttachShared,
                         ::testing::ValuesIn(cases_where(&DriverCase::shares)), case_name);
class AttachUnshared : public Attach {};
INSTANTIATE_TEST_SUITE_P(DriversWhoseDomainsServeOneGroup, AttachUnshared,
                         ::testing::ValuesIn(cases_where(std::not_fn(&DriverCase::shares))), case_name);
class AttachMisfit : public Attach {};
INSTANTIATE_TEST_SUITE_P(DriversOfUnequalDevices, AttachMisfit, ::testing::ValuesIn(cases_where(&DriverCase::misfits)),
                         case_name);

TEST_P(Attach, ADeviceTranslatesThroughTheDomainThatItIsAttachedTo) {
  const auto domain = world.domain(world.alone(), 'A');
  ASSERT_TRUE(world.own(world.alone()).attach(*domain));
  EXPECT_EQ(world.sees(world.alone()), "A");
  EXPECT_EQ(world.alone().domain(), domain.get());
  world.alone().detach();
}

TEST_P(Attach, AllDevicesOfAGroupAreAttachedTogether) {
  const auto domain = world.domain(world.trio(), 'A');
  ASSERT_TRUE(world.own(world.trio()).attach(*domain));
  EXPECT_EQ(world.sees(world.trio()), "AAA");
  world.trio().detach();
  EXPECT_EQ(world.sees(world.trio()), "---");
}

TEST_P(Attach, AMappingMadeAfterTheAttachIsSeenAndAnUnmappedOneIsNot) {
  auto domain = world.system().allocate_domain(world.alone()).value();
  ASSERT_TRUE(world.own(world.alone()).attach(*domain));
  EXPECT_EQ(world.sees(world.alone()), "-");
  ASSERT_TRUE(world.map(*domain, 'A'));
  EXPECT_EQ(world.sees(world.alone()), "A");
  EXPECT_EQ(domain->unmap(world.iova(), kPageSize), kPageSize);
  EXPECT_EQ(world.sees(world.alone()), "-");
  world.alone().detach();
}

TEST_P(Attach, AnOwnedGroupIsBlockedBeforeAttachAndAfterDetach) {
  const auto domain = world.domain(world.alone(), 'A');
  world.own(world.alone());
  EXPECT_EQ(world.sees(world.alone()), "-");
  ASSERT_TRUE(world.alone().attach(*domain));
  world.alone().detach();
  EXPECT_EQ(world.sees(world.alone()), "-");
  EXPECT_EQ(world.alone().domain()->type(), DomainType::blocked);
}

TEST_P(Attach, AGroupThatIsAttachedIsBusyEvenForTheDomainThatItIsOn) {
  const auto first = world.domain(world.alone(), 'A'), second = world.domain(world.alone(), 'B');
  ASSERT_TRUE(world.own(world.alone()).attach(*first));
  EXPECT_EQ(world.alone().attach(*second).error().failure, AttachFailure::busy);
  EXPECT_EQ(world.alone().attach(*first).error().failure, AttachFailure::busy);
  EXPECT_EQ(world.sees(world.alone()), "A");
  world.alone().detach();
}

TEST_P(Attach, ReplaceMovesTheWholeGroup) {
  const auto first = world.domain(world.trio(), 'A'), second = world.domain(world.trio(), 'B');
  ASSERT_TRUE(world.own(world.trio()).attach(*first));
  ASSERT_TRUE(world.trio().replace(*second));
  EXPECT_EQ(world.sees(world.trio()), "BBB");
  world.trio().detach();
}

TEST_P(AttachShared, OneDomainServesDevicesOfTwoUnitsThatAgree) {
  const auto domain = world.domain(world.alone(), 'A');
  ASSERT_TRUE(world.own(world.alone()).attach(*domain));
  ASSERT_TRUE(world.own(world.twin()).attach(*domain));
  EXPECT_EQ(world.sees(world.alone()) + world.sees(world.twin()), "AA");
  domain->unmap(world.iova(), kPageSize);
  EXPECT_EQ(world.sees(world.alone()) + world.sees(world.twin()), "--");
  ASSERT_TRUE(world.map(*domain, 'B'));
  EXPECT_EQ(world.sees(world.alone()) + world.sees(world.twin()), "BB");
  world.alone().detach();
  EXPECT_EQ(world.sees(world.alone()) + world.sees(world.twin()), "-B");
  world.twin().detach();
}

TEST_P(AttachUnshared, ADomainThatServesOneGroupIsIncompatibleWithEveryOtherAndNothingIsLogged) {
  const auto domain = world.domain(world.alone(), 'A');
  ASSERT_TRUE(world.own(world.alone()).attach(*domain));
  const LogCapture log(log::Level::info);
  EXPECT_EQ(world.own(world.twin()).attach(*domain).error().failure, AttachFailure::incompatible);
  EXPECT_EQ(log.lines(), 0u) << log.all();
  EXPECT_EQ(world.sees(world.alone()) + world.sees(world.twin()), "A-");
  world.alone().detach();
}

TEST_P(Attach, AnotherDriversDomainIsIncompatibleAndNothingIsLogged) {
  const auto foreign = world.domain(world.foreign(), 'F');
  const auto own = world.domain(world.alone(), 'A');
  ASSERT_TRUE(world.own(world.alone()).attach(*own));
  const LogCapture log;
  EXPECT_EQ(world.alone().replace(*foreign).error().failure, AttachFailure::incompatible);
  world.alone().detach();
  const auto refused = world.alone().attach(*foreign);
  EXPECT_EQ(refused.error().code, EINVAL);
  EXPECT_STREQ(refused.error().reason.property, "IOMMU driver");
  EXPECT_EQ(log.lines(), 0u) << log.all();
}

TEST_P(Attach, AnotherDriversStaticDomainIsIncompatible) {
  Domain* const blocked = world.foreign().driver().static_domain(DomainType::blocked);
  ASSERT_NE(blocked, nullptr);
  EXPECT_EQ(world.own(world.alone()).replace(*blocked).error().failure, AttachFailure::incompatible);
}

TEST_P(AttachMisfit, ADomainThatDoesNotFitIsIncompatibleWithItsReasonAndNothingIsLogged) {
  const auto domain = world.domain(world.odd(), 'O'), old = world.domain(world.alone(), 'A');
  ASSERT_TRUE(world.own(world.alone()).attach(*old));
  const LogCapture log(log::Level::info);
  const auto answer = world.alone().replace(*domain);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().failure, AttachFailure::incompatible);
  EXPECT_STRNE(answer.error().reason.property, "");
  EXPECT_NE(answer.error().reason.domain_value, answer.error().reason.device_value);
  EXPECT_EQ(log.lines(), 0u) << log.all();
  EXPECT_EQ(world.sees(world.alone()), "A");
  world.alone().detach();
}

// The search leaves out what fit() says cannot fit: it must never be wrong about that.
TEST_P(Attach, DevicesWithUnequalFitAreIncompatible) {
  std::vector<Group*> groups{&world.alone(), &world.trio(), &world.second(), &world.twin(), &world.odd()};
  for (Group* maker : groups) {
    for (Group* user : groups) {
      const auto domain = world.domain(*maker, 'A');
      const bool may_fit = maker->driver().fit(*maker->devices()[0]) == user->driver().fit(*user->devices()[0]);
      const auto answer = world.own(*user).attach(*domain);
      if (!may_fit) {
        EXPECT_FALSE(answer) << maker->id() << " to " << user->id();
      }
      if (!answer) {
        EXPECT_EQ(answer.error().failure, AttachFailure::incompatible);
      }
      user->release_dma_owner();
    }
  }
}

TEST_P(Attach, AnyGroupCanBeAttachedToADomainFreshlyMadeForIt) {
  for (const auto& group : world.system().groups()) {
    const auto domain = world.domain(*group, 'A');
    EXPECT_TRUE(world.own(*group).attach(*domain)) << group->device_names();
    group->release_dma_owner();
  }
}

TEST_P(Attach, ADomainCanBeAttachedAgainAfterItsLastGroupLeft) {
  const auto domain = world.domain(world.trio(), 'A');
  world.own(world.trio());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(world.trio().attach(*domain));
    EXPECT_EQ(world.sees(world.trio()), "AAA");
    world.trio().detach();
  }
}

TEST_P(Attach, AFailedPrepareLeavesEveryDeviceOnItsOldDomain) {
  const auto old = world.domain(world.trio(), 'A'), next = world.domain(world.trio(), 'B');
  ASSERT_TRUE(world.own(world.trio()).attach(*old));
  fault::fail_point("core.prepare");
  EXPECT_EQ(world.trio().replace(*next).error().failure, AttachFailure::no_memory);
  EXPECT_EQ(world.sees(world.trio()), "AAA");
  EXPECT_EQ(world.trio().domain(), old.get());
  world.trio().detach();
}

TEST_P(Attach, ACommitThatFailsForTheSecondOfThreeLeavesAllOnTheOldDomain) {
  const auto old = world.domain(world.trio(), 'A'), next = world.domain(world.trio(), 'B');
  ASSERT_TRUE(world.own(world.trio()).attach(*old));
  fault::fail_point("core.commit", 2);
  EXPECT_EQ(world.trio().replace(*next).error().failure, AttachFailure::no_memory);
  EXPECT_EQ(world.sees(world.trio()), "AAA");
  EXPECT_FALSE(world.trio().broken());
  ASSERT_TRUE(world.trio().replace(*next));
  EXPECT_EQ(world.sees(world.trio()), "BBB");
  world.trio().detach();
}

TEST_P(Attach, ACommitThatFailsForTheSecondOfThreeLeavesABlockedGroupBlocked) {
  const auto domain = world.domain(world.trio(), 'B');
  world.own(world.trio());
  fault::fail_point("core.commit", 2);
  EXPECT_FALSE(world.trio().attach(*domain));
  EXPECT_EQ(world.sees(world.trio()), "---");
  EXPECT_EQ(world.trio().domain()->type(), DomainType::blocked);
}

TEST_P(Attach, ADeviceWhoseUndoIsRefusedIsBlockedAndTheGroupSaysSo) {
  const auto old = world.domain(world.trio(), 'A'), next = world.domain(world.trio(), 'B');
  ASSERT_TRUE(world.own(world.trio()).attach(*old));
  const LogCapture log(log::Level::error);
  fault::fail_point("core.commit", 3);
  fault::fail_point("core.undo", 1);  // of the second device: undo goes backwards
  EXPECT_EQ(world.trio().replace(*next).error().failure, AttachFailure::no_memory);
  fault::disarm();
  EXPECT_EQ(world.sees(world.trio()), GetParam().one_by_one ? "A-A" : "---");
  EXPECT_TRUE(world.trio().broken());
  EXPECT_EQ(log.lines(), GetParam().one_by_one ? 1u : 2u);
  EXPECT_TRUE(log.has("0000:00:03.1")) << log.all();
  EXPECT_EQ(world.trio().replace(*next).error().failure, AttachFailure::no_device);
  world.trio().detach();
  EXPECT_EQ(world.sees(world.trio()), "---");
}

TEST_P(Attach, DetachAndReleaseAllocateNothing) {
  const auto domain = world.domain(world.trio(), 'A');
  ASSERT_TRUE(world.own(world.trio()).attach(*domain));
  const std::uint64_t before = check::allocations(), pages = world.table_pages();
  check::fail_nth_allocation(1);
  world.trio().detach();
  check::fail_nth_allocation(0);
  EXPECT_EQ(check::allocations(), before);
  EXPECT_LE(world.table_pages(), pages);
}

TEST_P(Attach, AttachAndDetachGiveBackAllThatTheyTook) {
  world.own(world.trio());
  const std::uint64_t pages = world.table_pages();
  for (int i = 0; i < 20; ++i) {
    const auto domain = world.domain(world.trio(), 'A');
    ASSERT_TRUE(world.trio().attach(*domain));
    world.trio().detach();
  }
  EXPECT_EQ(world.table_pages(), pages);
}

TEST_P(AttachMisfit, EveryDecisionIsInTheJournalWithItsReason) {
  const auto misfit = world.domain(world.odd(), 'O');
  world.own(world.alone());
  world.system().journal().clear();
  EXPECT_FALSE(world.alone().attach(*misfit));
  const auto records = world.attaches();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].devices, "0000:00:02.0");
  EXPECT_EQ(records[0].domain, misfit->id());
  EXPECT_EQ(records[0].domain_driver, world.alone().driver().name());
  EXPECT_EQ(records[0].error->failure, AttachFailure::incompatible);
}

}  // namespace
}  // namespace softiommu::testing
