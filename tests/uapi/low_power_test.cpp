// SPDX-License-Identifier: BSD-3-Clause
// The low power that a program may ask for while it does not need its device.
#include "uapi/rig.h"

namespace softiommu::test {
namespace {

class LowPowerTest : public VfioTest {
 protected:
  void SetUp() override {
    VfioTest::SetUp();
    attach();
    device_ = open_device();
    ASSERT_EQ(program_[device_].mmap(abi::region_offset(2), kPageSize, PROT_READ, MAP_SHARED, bar_), 0);
  }
  long ask(std::uint32_t which, std::uint32_t flags = abi::kFeatureSet) { return feature(device_, which | flags); }
  long enter_with(int eventfd) {
    return feature(device_, abi::kFeatureSet | abi::kFeatureLowPowerEntryWithWakeup,
                   abi::LowPowerEntryWithWakeup{eventfd, 0});
  }
  bool mapped() const { return bar_.enabled(bar_.enabled_context); }
  int device_ = -1;
  MmapPlan bar_;
};

TEST_F(LowPowerTest, WhatIsMappedFaultsUntilTheExit) {
  EXPECT_EQ(ask(abi::kFeatureLowPowerEntry), 0);
  EXPECT_FALSE(mapped());
  EXPECT_EQ(ask(abi::kFeatureLowPowerEntry), -EINVAL) << "it is there";
  std::uint32_t value = 0;
  EXPECT_EQ(read_region(device_, 2, 8, &value), 4) << "the device is up while it is asked";
  EXPECT_FALSE(mapped());
  EXPECT_EQ(ask(abi::kFeatureLowPowerExit), 0);
  EXPECT_TRUE(mapped());
  EXPECT_EQ(ask(abi::kFeatureLowPowerExit), 0) << "once more does no harm";
}

TEST_F(LowPowerTest, AnAccessEndsItWhereTheProgramCanBeTold) {
  Event woken;
  EXPECT_EQ(enter_with(woken.descriptor()), 0);
  EXPECT_FALSE(mapped());
  EXPECT_EQ(woken.take(), 0U);
  std::uint32_t value = 0;
  EXPECT_EQ(read_region(device_, 2, 8, &value), 4);
  EXPECT_EQ(woken.take(), 1U);
  EXPECT_TRUE(mapped());
  EXPECT_EQ(read_region(device_, 2, 8, &value), 4);
  EXPECT_EQ(woken.take(), 0U);
}

TEST_F(LowPowerTest, AskedWrongItIsRefused) {
  EXPECT_EQ(ask(abi::kFeatureLowPowerEntry, abi::kFeatureProbe | abi::kFeatureSet), 0);
  EXPECT_TRUE(mapped());
  EXPECT_EQ(ask(abi::kFeatureLowPowerEntry, abi::kFeatureGet), -EINVAL);
  EXPECT_EQ(ask(abi::kFeatureLowPowerEntryWithWakeup), -EINVAL) << "no room for the eventfd";
  EXPECT_EQ(enter_with(9999), -EBADF);
  EXPECT_EQ(enter_with(-1), -EINVAL);
  EXPECT_TRUE(mapped());
}

TEST_F(LowPowerTest, ItEndsWithTheLastClose) {
  EXPECT_EQ(ask(abi::kFeatureLowPowerEntry), 0);
  program_.close(device_);
  device_ = open_device();
  EXPECT_TRUE(mapped());
}

}  // namespace
}  // namespace softiommu::test
