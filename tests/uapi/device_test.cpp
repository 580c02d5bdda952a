// SPDX-License-Identifier: BSD-3-Clause
// DEVICE_GET_INFO, GET_REGION_INFO, BAR access and mmap, RESET, hot reset, FEATURE.
#include "uapi/rig.h"

namespace softiommu::test {
namespace {

class DeviceTest : public VfioTest {
 protected:
  void SetUp() override {
    VfioTest::SetUp();
    attach();
    device_ = open_device();
    ASSERT_GT(device_, 0);
  }
  abi::RegionInfo region(std::uint32_t index) {
    abi::RegionInfo info{.argsz = sizeof info, .index = index};
    EXPECT_EQ(call(device_, abi::kDeviceGetRegionInfo, &info), 0);
    return info;
  }
  int mmap(std::uint32_t index, std::uint64_t offset, std::uint64_t bytes, MmapPlan& plan, int flags = MAP_SHARED) {
    return program_[device_].mmap(abi::region_offset(index) + offset, bytes, PROT_READ | PROT_WRITE, flags, plan);
  }
  static constexpr std::uint32_t kReadWrite = abi::kRegionRead | abi::kRegionWrite;
  int device_ = -1;
};

TEST_F(DeviceTest, InfoSaysPciWithNineRegionsAndFiveInterrupts) {
  abi::DeviceInfo info{.argsz = sizeof info, .cap_offset = 5};
  ASSERT_EQ(call(device_, abi::kDeviceGetInfo, &info), 0);
  EXPECT_EQ(info.flags, abi::kDeviceFlagPci | abi::kDeviceFlagReset);
  EXPECT_EQ(info.num_regions, 9U);
  EXPECT_EQ(info.num_irqs, 5U);
  EXPECT_EQ(info.cap_offset, 0U);
  info.argsz = 15;
  EXPECT_EQ(call(device_, abi::kDeviceGetInfo, &info), -EINVAL);
  EXPECT_EQ(call(device_, abi::kDeviceGetInfo, std::uint64_t{0}), -EFAULT);
  EXPECT_EQ(call(device_, abi::kDeviceIoeventfd, &info), -ENOTTY);
  EXPECT_EQ(program_[device_].path(), "anon_inode:[vfio-device]");
}

TEST_F(DeviceTest, RegionsAreWhatTheDeviceHas) {
  EXPECT_EQ(region(0).size, 16 * kKiB);
  EXPECT_EQ(region(0).flags, kReadWrite | abi::kRegionMmap | abi::kRegionCaps);
  EXPECT_EQ(region(1).size, 0U) << "the high half of a 64-bit BAR";
  EXPECT_EQ(region(1).flags, 0U);
  EXPECT_EQ(region(2).flags, kReadWrite | abi::kRegionMmap);
  EXPECT_EQ(region(3).flags, kReadWrite) << "I/O is not mapped";
  EXPECT_EQ(region(4).flags, kReadWrite) << "less than a page";
  EXPECT_EQ(region(abi::kRomRegion).size, 0U);
  EXPECT_EQ(region(abi::kConfigRegion).size, 4096U);
  EXPECT_EQ(region(abi::kConfigRegion).flags, kReadWrite);
  EXPECT_EQ(region(2).offset, abi::region_offset(2));
  for (const std::uint32_t index : {std::uint32_t{abi::kVgaRegion}, std::uint32_t{9}, ~std::uint32_t{0}}) {
    abi::RegionInfo info{.argsz = sizeof info, .index = index};
    EXPECT_EQ(call(device_, abi::kDeviceGetRegionInfo, &info), -EINVAL) << index;
  }
}

TEST_F(DeviceTest, TheBarWithTheMsixTableMayBeMapped) {
  struct {
    abi::RegionInfo info;
    abi::CapHeader cap;
  } answer{};
  answer.info.argsz = sizeof(abi::RegionInfo);
  ASSERT_EQ(call(device_, abi::kDeviceGetRegionInfo, &answer), 0);
  EXPECT_EQ(answer.info.argsz, sizeof answer);
  EXPECT_EQ(answer.info.cap_offset, 0U);
  ASSERT_EQ(call(device_, abi::kDeviceGetRegionInfo, &answer), 0);
  EXPECT_EQ(answer.info.cap_offset, sizeof(abi::RegionInfo));
  EXPECT_EQ(answer.cap.id, abi::kRegionCapMsixMappable);
  EXPECT_EQ(answer.cap.next, 0U);
}

TEST_F(DeviceTest, BarsAreReadAndWritten) {
  std::uint32_t value = 0;
  EXPECT_EQ(write_region(device_, 2, 8, std::uint32_t{0x1234}), 4);
  EXPECT_EQ(read_region(device_, 2, 8, &value), 4);
  EXPECT_EQ(value, 0x1234U);
  std::uint64_t wide = 0;
  EXPECT_EQ(write_region(device_, 0, 16, std::uint64_t{0x1122334455667788}), 8);
  EXPECT_EQ(read_region(device_, 0, 16, &wide), 8);
  EXPECT_EQ(wide, 0x1122334455667788U);
  EXPECT_EQ(read_region(device_, 2, 4094, &value), 2) << "up to the end";
  EXPECT_EQ(read_region(device_, 2, 4096, &value), -EINVAL);
  EXPECT_EQ(read_region(device_, 1, 0, &value), -EINVAL);
  EXPECT_EQ(read_region(device_, abi::kRomRegion, 0, &value), -EINVAL);
  EXPECT_EQ(read_region(device_, 9, 0, &value), -EINVAL);
  EXPECT_EQ(program_[device_].pread(1, 4, at(2, 0)), -EFAULT);
  EXPECT_EQ(program_[device_].pwrite(1, 4, at(2, 0)), -EFAULT);
  EXPECT_EQ(program_[device_].pread(0, 0, at(2, 0)), 0);
  EXPECT_EQ(program_[device_].pread(0, 4, -1), -EINVAL);
}

TEST_F(DeviceTest, TheMsixTableReadsAsOnesThroughTheFile) {
  std::uint32_t value = 0;
  EXPECT_EQ(write_region(device_, 0, 0x2000, std::uint32_t{5}), 4);
  EXPECT_EQ(read_region(device_, 0, 0x2000, &value), 4);
  EXPECT_EQ(value, 0xffffffffU);
}

TEST_F(DeviceTest, WithoutMemoryDecodingBarsAreIoErrors) {
  MmapPlan plan;
  ASSERT_EQ(mmap(2, 0, kPageSize, plan), 0);
  EXPECT_TRUE(plan.enabled(plan.enabled_context)) << "memory decodes when a device is opened";
  set_config<std::uint16_t>(device_, 4, 0);
  std::uint32_t value = 0;
  EXPECT_EQ(read_region(device_, 2, 8, &value), -EIO);
  EXPECT_EQ(write_region(device_, 2, 8, value), -EIO);
  EXPECT_FALSE(plan.enabled(plan.enabled_context));
  set_config<std::uint16_t>(device_, 4, 2);
  EXPECT_EQ(read_region(device_, 2, 8, &value), 4);
  EXPECT_TRUE(plan.enabled(plan.enabled_context));
}

TEST_F(DeviceTest, MapsOfBarsAreTrapped) {
  MmapPlan plan;
  ASSERT_EQ(mmap(0, kPageSize, 2 * kPageSize, plan), 0);
  EXPECT_EQ(plan.kind, MmapPlan::Kind::trap);
  EXPECT_EQ(plan.offset, kPageSize);
  plan.registers->write32(0x20, 7);
  std::uint32_t value = 0;
  EXPECT_EQ(read_region(device_, 0, 0x20, &value), 4);
  EXPECT_EQ(value, 7U);
}

TEST_F(DeviceTest, WhatCannotBeMappedIsInvalid) {
  MmapPlan plan;
  EXPECT_EQ(mmap(abi::kConfigRegion, 0, kPageSize, plan), -EINVAL);
  EXPECT_EQ(mmap(abi::kRomRegion, 0, kPageSize, plan), -EINVAL);
  EXPECT_EQ(mmap(1, 0, kPageSize, plan), -EINVAL);
  EXPECT_EQ(mmap(3, 0, kPageSize, plan), -EINVAL);
  EXPECT_EQ(mmap(4, 0, kPageSize, plan), -EINVAL);
  EXPECT_EQ(mmap(2, 0, 2 * kPageSize, plan), -EINVAL);
  EXPECT_EQ(mmap(2, kPageSize, kPageSize, plan), -EINVAL);
  EXPECT_EQ(mmap(0, 0, kPageSize, plan, MAP_PRIVATE), -EINVAL);
}

TEST_F(DeviceTest, AResetKeepsTheConfigurationAndClearsTheRegisters) {
  set_config<std::uint16_t>(device_, 4, 6);
  set_config<std::uint8_t>(device_, 0x3c, 11);
  set_config<std::uint8_t>(device_, 0x0c, 16);
  write_region(device_, 2, 8, std::uint32_t{0x1234});
  EXPECT_EQ(call(device_, abi::kDeviceReset), 0);
  EXPECT_EQ(config<std::uint16_t>(device_, 4) & 7, 6);
  EXPECT_EQ(config<std::uint8_t>(device_, 0x3c), 11);
  EXPECT_EQ(config<std::uint8_t>(device_, 0x0c), 16);
  std::uint32_t value = 1;
  EXPECT_EQ(read_region(device_, 2, 8, &value), 4);
  EXPECT_EQ(value, 0U);
}

TEST_F(DeviceTest, ADeviceOnARootBusHasNoHotReset) {
  abi::HotResetInfo info{.argsz = sizeof info};
  EXPECT_EQ(call(device_, abi::kDeviceGetPciHotResetInfo, &info), -ENODEV);
}

TEST_F(DeviceTest, FeaturesAreNotThere) {
  EXPECT_EQ(feature(device_, abi::kFeatureProbe | abi::kFeatureSet | abi::kFeaturePciVfToken), -ENOTTY);
  EXPECT_EQ(feature(device_, abi::kFeatureGet | abi::kFeatureSet | 1), -EINVAL);
  EXPECT_EQ(feature(device_, 1 << 20), -EINVAL);
  const abi::Feature cut{7, 0};
  EXPECT_EQ(call(device_, abi::kDeviceFeature, &cut), -EINVAL);
}

TEST_F(DeviceTest, OpenedTwiceItIsOneDevice) {
  const int second = open_device();
  write_region(device_, 2, 8, std::uint32_t{0x77});
  std::uint32_t value = 0;
  EXPECT_EQ(read_region(second, 2, 8, &value), 4);
  EXPECT_EQ(value, 0x77U);
  program_.close(device_);
  EXPECT_EQ(read_region(second, 2, 8, &value), 4);
  EXPECT_EQ(value, 0x77U);
}

class HotResetTest : public VfioTest {
 protected:
  static constexpr const char* kOnBus = "0000:01:00.0";
  void SetUp() override {
    VfioTest::SetUp();
    attach(abi::Extension::type1_v2, kOnBus);
    device_ = open_device(kOnBus);
    ASSERT_GT(device_, 0);
  }
  int device_ = -1;
};

TEST_F(HotResetTest, InfoListsTheBus) {
  struct {
    abi::HotResetInfo head;
    abi::DependentDevice devices[2];
  } answer{};
  answer.head.argsz = sizeof answer.head;
  EXPECT_EQ(call(device_, abi::kDeviceGetPciHotResetInfo, &answer), -ENOSPC);
  EXPECT_EQ(answer.head.count, 2U);
  answer.head.argsz = sizeof answer;
  ASSERT_EQ(call(device_, abi::kDeviceGetPciHotResetInfo, &answer), 0);
  EXPECT_EQ(answer.devices[1].group_id, group_of(kOnBus));
  EXPECT_EQ(answer.devices[1].bus, 1);
  EXPECT_EQ(answer.devices[1].devfn, 1);
}

TEST_F(HotResetTest, TheCallerMustOwnTheBus) {
  EXPECT_EQ(hot_reset(device_, {}), -EINVAL);
  EXPECT_EQ(hot_reset(device_, {open_group(kName)}), -EINVAL) << "another group";
  EXPECT_EQ(hot_reset(device_, {container_}), -EINVAL);
  EXPECT_EQ(hot_reset(device_, {4000}), -EBADF);
  EXPECT_EQ(hot_reset(device_, {group_, group_, group_}), -EINVAL) << "more than there are devices";
}

TEST_F(HotResetTest, AllDevicesStartAnew) {
  write_region(device_, 2, 8, std::uint32_t{0x1234});
  set_config<std::uint16_t>(device_, 4, 6);
  ASSERT_EQ(hot_reset(device_, {group_}), 0);
  std::uint32_t value = 1;
  EXPECT_EQ(read_region(device_, 2, 8, &value), 4);
  EXPECT_EQ(value, 0U);
  EXPECT_EQ(config<std::uint16_t>(device_, 4) & 7, 6);
}

}  // namespace
}  // namespace softiommu::test
