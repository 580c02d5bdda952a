// SPDX-License-Identifier: BSD-3-Clause
// Units, groups, default domains, reserved regions and deferred attach when a system comes up.
#include <gtest/gtest.h>

#include "contract/world.h"

namespace softiommu::testing {
namespace {

constexpr StreamId kAlone = 2 << 3, kTrio = 3 << 3;  // requester ids of 00:02.0 and 00:03.0
constexpr IovaRange kDirect{Iova{0x10000}, Iova{0x11fff}};

class BringUp : public ::testing::TestWithParam<DriverCase> {
 protected:
  World world{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(EveryDriver, BringUp, ::testing::ValuesIn(driver_cases()), case_name);

TEST_P(BringUp, GroupsAreNumberedInProbeOrder) {
  unsigned next = 0;
  for (const char* device : {"02.0", "03.0", "04.0", "05.0", "06.0", "07.0"})
    EXPECT_EQ(world.group(device).id(), next++) << device;
  EXPECT_EQ(world.system().groups().size(), next);
  EXPECT_EQ(world.system().group(next), nullptr);
}

TEST_P(BringUp, DevicesThatCannotBeIsolatedAreOneGroup) {
  EXPECT_EQ(world.trio().devices().size(), 3u);
  EXPECT_EQ(world.trio().device_names(), "0000:00:03.0, 0000:00:03.1, 0000:00:03.2");
  EXPECT_NE(world.trio().reason(), "");
  EXPECT_EQ(&world.group("03.2"), &world.trio());
}

TEST_P(BringUp, ADeviceWithoutAnIommuHasNoGroupAndReachesAllMemory) {
  EXPECT_EQ(world.device("08.0").group(), nullptr);
  EXPECT_EQ(world.device("08.0").driver(), nullptr);
}

TEST_P(BringUp, EachGroupIsOnItsDefaultDomainAndReachesNothing) {
  for (const auto& group : world.system().groups()) {
    ASSERT_NE(group->domain(), nullptr);
    EXPECT_EQ(group->domain(), group->default_domain());
    if (group->domain()->type() == DomainType::paging) {
      EXPECT_EQ(world.sees(*group), std::string(group->devices().size(), '-'));
    }
  }
}

TEST(FlatBringUp, SaysWhichDeviceGoesToWhichGroup) {
  const LogCapture log(log::Level::info);
  World world(driver_cases().front());
  EXPECT_TRUE(log.has("pci 0000:00:02.0: Adding to iommu group 0"));
  EXPECT_TRUE(log.has("pci 0000:00:03.2: Adding to iommu group 1"));
}

TEST(FlatBringUp, AUnitWithoutADriverLeavesItsDevicesWithoutGroups) {
  const DriverCase nobody{"none", [] { return std::unique_ptr<Driver>(); }, driver_cases().front().units};
  const LogCapture log(log::Level::warning);
  World world(nobody);
  EXPECT_EQ(world.device("02.0").group(), nullptr);
  EXPECT_EQ(world.foreign().id(), 0u);
  EXPECT_TRUE(log.has("iommu u0: no driver for test-flat"));
}

TEST(FlatBringUp, ADeviceThatItsDriverDoesNotServeHasNoGroup) {
  const LogCapture log(log::Level::error);
  World world(driver_cases().front(), {.knobs = {.unserved = {kAlone}}});
  EXPECT_EQ(world.device("02.0").group(), nullptr);
  EXPECT_EQ(world.trio().id(), 0u);
  EXPECT_TRUE(log.has("pci 0000:00:02.0"));
}

TEST(FlatBringUp, AGroupWhoseDefaultDomainCannotBeMadeIsLeftOut) {
  const LogCapture log(log::Level::error);
  World world(driver_cases().front(), {.knobs = {.allocate_errno = ENOMEM}});
  EXPECT_EQ(world.device("02.0").group(), nullptr);
  EXPECT_EQ(world.device("02.0").driver(), nullptr);
  EXPECT_EQ(world.system().groups().size(), 0u);
  EXPECT_TRUE(log.has("0000:00:03.0, 0000:00:03.1, 0000:00:03.2")) << log.all();
}

// Without a Machine, whose file check would refuse this.
TEST(BringUpOfHardware, AFunctionOfAnotherDriverInOneIsolationSetIsLeftOut) {
  const auto memory = Memory::create({}).value();
  Findings findings;
  const UnitModel models[] = {flat_unit_model(), other_flat_unit_model()};
  const auto unit = [&](const UnitModel& model, std::string name) {
    return model.create({.name = std::move(name), .memory = *memory, .findings = findings}, Options(model.options))
        .value();
  };
  const auto u0 = unit(models[0], "u0"), u1 = unit(models[1], "u1");
  const Hardware hardware{.tables = memory->tables(),
                          .memory_top = memory->top(),
                          .units = {u0.get(), u1.get()},
                          .functions = {{"0000:00:02.0", {0x10}, u0.get()}, {"0000:00:02.1", {0x11}, u1.get()}},
                          .isolation_reasons = {"a test"}};
  std::vector<std::unique_ptr<Driver>> drivers;
  drivers.push_back(make_flat_driver());
  drivers.push_back(make_other_flat_driver());
  const LogCapture log(log::Level::error);
  const auto system = System::bring_up(hardware, std::move(drivers), {}).value();
  ASSERT_EQ(system->groups().size(), 1u);
  EXPECT_EQ(system->groups()[0]->device_names(), "0000:00:02.0");
  EXPECT_EQ(system->groups()[0]->reason(), "a test");
  EXPECT_EQ(system->device("0000:00:02.1")->group(), nullptr);
  EXPECT_TRUE(log.has("pci 0000:00:02.1"));
}

TEST(FlatBringUp, TheDriverChoosesTheDefaultDomainsType) {
  World world(driver_cases().front(), {.knobs = {.default_types = {{kAlone, DomainType::identity}}}});
  EXPECT_EQ(world.alone().default_domain()->type(), DomainType::identity);
  EXPECT_EQ(world.second().default_domain()->type(), DomainType::paging);
}

TEST(FlatBringUp, IdentityWinsWhereDevicesOfAGroupDisagree) {
  const LogCapture log(log::Level::warning);
  World world(driver_cases().front(), {.knobs = {.default_types = {{kTrio + 1, DomainType::identity}}}});
  EXPECT_EQ(world.trio().default_domain()->type(), DomainType::identity);
  EXPECT_TRUE(log.has("0000:00:03.1"));
}

TEST(FlatBringUp, DirectRegionsAreMappedOneToOneInTheDefaultDomain) {
  World world(driver_cases().front(),
              {.knobs = {.reserved = {{kTrio, {{kDirect, ReservedRegion::Kind::direct}}},
                                      {kTrio + 1, {{kDirect, ReservedRegion::Kind::relaxable}}}}}});
  const Domain& domain = *world.trio().default_domain();
  EXPECT_EQ(domain.iova_to_phys(Iova{0x11fff}), PhysAddr{0x11fff});
  EXPECT_EQ(domain.iova_to_phys(Iova{0x12000}), std::nullopt);
  EXPECT_TRUE(world.device("03.0").requires_direct());
  EXPECT_FALSE(world.device("03.1").requires_direct());
}

TEST(FlatBringUp, RegionsOfAGroupAreOrderedAndMergedByKind) {
  using Kind = ReservedRegion::Kind;
  World world(driver_cases().front(),
              {.knobs = {.reserved = {{kTrio, {{{Iova{0x20000}, Iova{0x20fff}}, Kind::msi}, {kDirect, Kind::reserved}}},
                                      {kTrio + 1, {{{Iova{0x12000}, Iova{0x12fff}}, Kind::reserved}}},
                                      {kTrio + 2, {{{Iova{0x10000}, Iova{0x10fff}}, Kind::msi}}}}}});
  const auto regions = world.trio().reserved_regions().value();
  ASSERT_EQ(regions.size(), 3u);
  EXPECT_EQ(regions[0].range, (IovaRange{Iova{0x10000}, Iova{0x12fff}}));
  EXPECT_EQ(regions[0].kind, Kind::reserved);
  EXPECT_EQ(regions[1].range.last, Iova{0x10fff});
  EXPECT_EQ(regions[2].range.first, Iova{0x20000});
}

class Deferred : public ::testing::Test {
 protected:
  World world{driver_cases().front(), {.knobs = {.deferred = {kTrio + 1}}}};
};

TEST_F(Deferred, TheDeviceIsNotTouchedUntilItsFirstDma) {
  Device& device = world.device("03.1");
  EXPECT_TRUE(device.attach_deferred());
  const unsigned commits = world.flat().calls.commit;
  ASSERT_TRUE(world.trio().attach_deferred(device));
  EXPECT_EQ(world.flat().calls.commit, commits + 1);
  EXPECT_FALSE(device.attach_deferred());
  ASSERT_TRUE(world.trio().attach_deferred(device));
  EXPECT_EQ(world.flat().calls.commit, commits + 1);
}

TEST_F(Deferred, AnotherDomainEndsIt) {
  const auto domain = world.domain(world.trio(), 'A');
  ASSERT_TRUE(world.own(world.trio()).attach(*domain));
  EXPECT_FALSE(world.device("03.1").attach_deferred());
  EXPECT_EQ(world.sees(world.trio()), "AAA");
  world.trio().detach();
}

TEST_F(Deferred, AFailureKeepsIt) {
  world.flat().knobs.fail_prepare = FlatKnobs::Step{0, AttachFailure::no_space};
  EXPECT_EQ(world.trio().attach_deferred(world.device("03.1")).error().failure, AttachFailure::no_space);
  EXPECT_TRUE(world.device("03.1").attach_deferred());
}

TEST_F(Deferred, ADeviceOfAnotherGroupIsNoDevice) {
  EXPECT_EQ(world.trio().attach_deferred(world.device("02.0")).error().failure, AttachFailure::no_device);
}

}  // namespace
}  // namespace softiommu::testing
