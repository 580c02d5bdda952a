// SPDX-License-Identifier: BSD-3-Clause
// Devices that leave their group and come back while others go on.
#include <gtest/gtest.h>

#include "base/fault.h"
#include "contract/world.h"

namespace softiommu::testing {
namespace {

class HotPlug : public ::testing::TestWithParam<DriverCase> {
 protected:
  char reads(Device& device) {
    std::byte byte{};
    return device.function()->dma().read(world.iova(), {&byte, 1}) ? static_cast<char>(byte) : '-';
  }
  World world{GetParam()};
};

// Over hardware where one device can be blocked by itself.
class HotPlugApart : public HotPlug {};

INSTANTIATE_TEST_SUITE_P(EveryDriver, HotPlug, ::testing::ValuesIn(driver_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(DriversThatSwitchApart, HotPlugApart,
                         ::testing::ValuesIn(cases_where(&DriverCase::one_by_one)), case_name);

TEST_P(HotPlug, ADeviceThatLeftIsBlockedAndItsGroupIsEmpty) {
  Device& device = world.device("02.0");
  ASSERT_TRUE(world.system().take_out(device));
  EXPECT_FALSE(device.present());
  EXPECT_TRUE(world.group("02.0").devices().empty());
  EXPECT_EQ(world.group("02.0").device_names(), "");
  EXPECT_EQ(world.system().allocate_domain(world.group("02.0")).error().code, ENODEV);
  EXPECT_TRUE(world.system().take_out(device)) << "twice does no harm";
}

TEST_P(HotPlug, ItReturnsToItsGroupAndIsTranslatedAgain) {
  Device& device = world.device("02.0");
  const unsigned group = device.group()->id();
  ASSERT_TRUE(world.system().take_out(device));
  ASSERT_TRUE(world.system().bring_in(device));
  EXPECT_EQ(world.system().bring_in(device).error().code, EEXIST);
  EXPECT_EQ(device.group()->id(), group);
  EXPECT_EQ(world.alone().domain(), world.alone().default_domain());
  const auto domain = world.domain(world.own(world.alone()), 'A');
  ASSERT_TRUE(world.alone().attach(*domain));
  EXPECT_EQ(world.sees(world.alone()), "A");
  world.alone().release_dma_owner();
}

TEST_P(HotPlugApart, TheOthersOfItsGroupGoOn) {
  const auto domain = world.domain(world.own(world.trio()), 'A');
  ASSERT_TRUE(world.trio().attach(*domain));
  ASSERT_TRUE(world.system().take_out(world.device("03.1")));
  EXPECT_EQ(world.trio().device_names(), "0000:00:03.0, 0000:00:03.2");
  EXPECT_EQ(world.sees(world.trio()), "AA");
  EXPECT_EQ(reads(world.device("03.1")), '-');
  world.trio().release_dma_owner();
}

TEST_P(HotPlug, ANewcomerIsOnTheDomainOfItsGroup) {
  ASSERT_TRUE(world.system().take_out(world.device("03.1")));
  const auto domain = world.domain(world.own(world.trio()), 'A');
  ASSERT_TRUE(world.trio().attach(*domain));
  ASSERT_TRUE(world.system().bring_in(world.device("03.1")));
  EXPECT_EQ(world.sees(world.trio()), "AAA");
  world.trio().detach();
  EXPECT_EQ(world.sees(world.trio()), "---");
  world.trio().release_dma_owner();
}

TEST_P(HotPlug, ANewcomerThatCannotBeAttachedIsNotThere) {
  ASSERT_TRUE(world.system().take_out(world.device("03.1")));
  const auto domain = world.domain(world.own(world.trio()), 'A');
  ASSERT_TRUE(world.trio().attach(*domain));
  for (const char* point : {"core.admit", "core.prepare", "core.commit"}) {
    fault::fail_point(point, 1);
    EXPECT_EQ(world.system().bring_in(world.device("03.1")).error().code, ENOMEM) << point;
    fault::disarm();
    EXPECT_FALSE(world.device("03.1").present());
    EXPECT_EQ(world.trio().devices().size(), 2u);
    if (GetParam().one_by_one) {
      EXPECT_EQ(world.sees(world.trio()), "AA") << point;
    }
  }
  EXPECT_TRUE(world.system().bring_in(world.device("03.1")));
  EXPECT_EQ(world.sees(world.trio()), "AAA");
  world.trio().release_dma_owner();
}

TEST_P(HotPlug, WhatWasReadOfAGroupStaysValid) {
  const auto before = world.trio().devices();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(world.system().take_out(world.device("03.1")));
    ASSERT_TRUE(world.system().bring_in(world.device("03.1")));
  }
  EXPECT_EQ(before.size(), 3u);
  EXPECT_EQ(before[1]->name(), "0000:00:03.1");
  EXPECT_EQ(world.trio().devices().size(), 3u);
}

TEST_P(HotPlug, ComingAndGoingTakesNoMemoryInTheEnd) {
  const auto cycle = [&] {
    for (const char* device : {"02.0", "03.1"}) {
      ASSERT_TRUE(world.system().take_out(world.device(device)));
      ASSERT_TRUE(world.system().bring_in(world.device(device)));
    }
  };
  cycle();
  const std::uint64_t pages = world.table_pages();
  for (int i = 0; i < 10; ++i) cycle();
  EXPECT_EQ(world.table_pages(), pages);
}

}  // namespace
}  // namespace softiommu::testing
