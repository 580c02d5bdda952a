// SPDX-License-Identifier: BSD-3-Clause
// Devices that are removed, unplugged, found again, given to other drivers: what their users see.
#include "uapi/hot_plug_rig.h"

namespace softiommu::test {
namespace {

class HotPlug : public HotPlugTest {};

TEST_F(HotPlug, ARemovedDeviceIsGoneUntilARescan) {
  const unsigned group = group_of(kAlone);
  const auto number = find(kAlone)->vfio_number;
  EXPECT_EQ(code(control_->remove(kAlone)), 0);
  EXPECT_EQ(find(kAlone), nullptr);
  EXPECT_EQ(code(control_->remove(kAlone)), ENODEV);
  EXPECT_EQ(vfio_->open_group(program_, group).error().code, ENODEV);
  EXPECT_TRUE(system_->group(group)->devices().empty());
  EXPECT_EQ(code(control_->rescan()), 0);
  ASSERT_NE(find(kAlone), nullptr);
  EXPECT_EQ(find(kAlone)->group, group);
  EXPECT_EQ(find(kAlone)->vfio_number, number);
  EXPECT_GT(open_in_container(kAlone), 0);
}

TEST_F(HotPlug, AfterARescanItsDmaIsTranslatedAgain) {
  ASSERT_EQ(code(control_->remove(kAlone)), 0);
  ASSERT_EQ(code(control_->rescan()), 0);
  const int device = open_in_container(kAlone);
  Pages pages(1);
  EXPECT_FALSE(moves(device, pages));
  ASSERT_EQ(map(kIova, pages.address(), kPageSize), 0);
  EXPECT_TRUE(moves(device, pages));
}

TEST_F(HotPlug, ARemovalThatWaitsEndsWithTheLastClose) {
  const int device = open_in_container(kAlone);
  Event asked;
  ASSERT_EQ(request_eventfd(device, asked), 0);
  EXPECT_EQ(*control_->remove(kAlone, Wait::not_at_all), Removal::pending);
  EXPECT_EQ(asked.take(), 1U);
  EXPECT_EQ(code(control_->remove(kAlone, Wait::not_at_all)), ENODEV) << "it is leaving";
  EXPECT_EQ(open_device(kAlone), -ENODEV);
  EXPECT_EQ(call(device, abi::kDeviceReset), -EAGAIN);
  Pages pages(1);
  ASSERT_EQ(map(kIova, pages.address(), kPageSize), 0);
  EXPECT_TRUE(moves(device, pages)) << "until then it works";
  program_.close(device);
  EXPECT_EQ(find(kAlone), nullptr);
}

TEST_F(HotPlug, TheGroupLeavesItsContainerWithItsLastDevice) {
  const int device = open_in_container(kAlone);
  ASSERT_EQ(*control_->remove(kAlone, Wait::not_at_all), Removal::pending);
  program_.close(device);
  abi::GroupStatus status{sizeof status, 0};
  EXPECT_EQ(call(group_, abi::kGroupGetStatus, &status), -ENODEV);
  EXPECT_EQ(set_container(group_, container_), -ENODEV);
  EXPECT_EQ(call(group_, abi::kGroupUnsetContainer), -EINVAL);
  EXPECT_EQ(map(0, 0, kPageSize), -EINVAL) << "the container has no group left";
  program_.close(group_);
  ASSERT_EQ(code(control_->rescan()), 0);
  EXPECT_GT(open_group(kAlone), 0);
}

TEST_F(HotPlug, AnOpenDeviceFileKeepsADeviceEvenUnbound) {
  const int file = open_cdev(kAlone);
  EXPECT_EQ(*control_->unbind("vfio-pci", kAlone, Wait::not_at_all), Removal::pending);
  EXPECT_EQ(find(kAlone)->driver, "vfio-pci");
  program_.close(file);
  EXPECT_EQ(find(kAlone)->driver, "");
}

// ---- surprise removal

class Unplugged : public HotPlugTest {
 protected:
  void unplug() {
    device_ = open_in_container(kAlone);
    ASSERT_GT(device_, 0);
    ASSERT_EQ(map(kIova, pages_.address(), kPageSize), 0);
    ASSERT_TRUE(moves(device_, pages_));
    ASSERT_EQ(program_[device_].mmap(abi::region_offset(0), kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, bar_), 0);
    ASSERT_EQ(request_eventfd(device_, asked_), 0);
    const auto removal = control_->unplug(kAlone);
    ASSERT_EQ(code(removal), 0);
    EXPECT_EQ(*removal, Removal::pending);
  }
  Pages pages_{1};
  Event asked_;
  MmapPlan bar_;
  int device_ = -1;
};

TEST_F(Unplugged, EverythingReadsAsOnes) {
  unplug();
  EXPECT_EQ(bar_.registers->read32(0), 0xffffffffU);
  EXPECT_TRUE(bar_.enabled(bar_.enabled_context)) << "an access is no fault: nobody answers it";
  std::uint32_t value = 0;
  EXPECT_EQ(read_region(device_, 0, 0, &value), 4);
  EXPECT_EQ(value, 0xffffffffU);
  EXPECT_EQ(config<std::uint32_t>(device_, 8), 0xffffffffU);
  EXPECT_EQ(write_region(device_, 0, 0, value), 4);
}

TEST_F(Unplugged, ItsDmaHasEnded) {
  unplug();
  EXPECT_FALSE(moves(device_, pages_));
}

TEST_F(Unplugged, TheUserIsAskedAndNobodyElseGetsIn) {
  unplug();
  EXPECT_EQ(asked_.take(), 1U);
  EXPECT_EQ(open_device(kAlone), -ENODEV);
  EXPECT_EQ(open_cdev(kAlone), -ENODEV);
  EXPECT_EQ(code(control_->unplug(kAlone)), ENODEV);
  EXPECT_EQ(code(control_->plug(kAlone)), EBUSY);
}

TEST_F(Unplugged, CallsAnswerAsLinuxDoesWhileItWaits) {
  unplug();
  EXPECT_EQ(call(device_, abi::kDeviceReset), -EAGAIN);
  abi::DeviceInfo info{.argsz = sizeof info};
  EXPECT_EQ(call(device_, abi::kDeviceGetInfo, &info), 0);
  abi::RegionInfo region{.argsz = sizeof region, .index = 0};
  EXPECT_EQ(call(device_, abi::kDeviceGetRegionInfo, &region), 0);
  EXPECT_EQ(unmap(kIova, kPageSize).first, 0);
  Event event;
  EXPECT_EQ(set_irqs(device_, abi::kIrqSetActionTrigger, abi::kMsiIrq, 0, {event.descriptor()}), 0);
  EXPECT_EQ(set_irqs_count(device_, abi::kIrqSetActionTrigger, abi::kMsiIrq, 0, 0), 0);
}

TEST_F(Unplugged, AfterTheLastCloseItIsGoneAndARescanFindsNothing) {
  unplug();
  program_.close(device_);
  EXPECT_EQ(find(kAlone), nullptr);
  EXPECT_EQ(code(control_->rescan()), 0);
  EXPECT_EQ(find(kAlone), nullptr);
  EXPECT_EQ(code(control_->plug(kAlone)), 0);
  EXPECT_EQ(find(kAlone), nullptr);
  EXPECT_EQ(code(control_->rescan()), 0);
  ASSERT_NE(find(kAlone), nullptr);
  program_.close(group_);
  const int device = open_in_container(kAlone);
  Pages pages(1);
  ASSERT_EQ(map(kIova, pages.address(), kPageSize), 0);
  EXPECT_TRUE(moves(device, pages));
}

TEST_F(Unplugged, AMessageThatWasOnItsWayDoesNotArrive) {
  device_ = open_in_container(kAlone);
  Event event;
  ASSERT_EQ(set_irqs(device_, abi::kIrqSetActionTrigger, abi::kMsiIrq, 0, {event.descriptor()}), 0);
  const std::uint16_t master = 6;
  set_config(device_, 4, master);
  write_region(device_, 0, hw::edu::kRaise.offset, std::uint32_t{1});
  ASSERT_EQ(code(control_->unplug(kAlone)), 0);
  run();
  EXPECT_EQ(event.take(), 0U);
}

TEST_F(Unplugged, APhysicalFunctionTakesItsVirtualOnesAlong) {
  enable(2);
  const int vf = open_vf();
  ASSERT_EQ(request_eventfd(vf, asked_), 0);
  EXPECT_EQ(code(control_->unplug(kVf)), EINVAL);
  EXPECT_EQ(*control_->unplug(kPf), Removal::pending);
  EXPECT_EQ(asked_.take(), 1U);
  std::uint32_t value = 0;
  EXPECT_EQ(read_region(vf, 0, 0, &value), 4);
  EXPECT_EQ(value, 0xffffffffU);
  program_.close_all();
  EXPECT_EQ(find(kVf), nullptr);
  EXPECT_EQ(find(kPf), nullptr);
  EXPECT_EQ(code(control_->plug(kPf)), 0);
  EXPECT_EQ(code(control_->rescan()), 0);
  EXPECT_EQ(find(kPf)->num_vfs, 0U);
}

TEST_F(Unplugged, AnIommufdGoesOnWithoutItsDevice) {
  const std::uint32_t ioas = alloc_ioas();
  ASSERT_EQ(map_fixed(ioas, kIova, pages_.address(), kPageSize), 0);
  device_ = attached_device(ioas, kAlone);
  ASSERT_TRUE(moves(device_, pages_));
  ASSERT_EQ(*control_->unplug(kAlone), Removal::pending);
  EXPECT_EQ(detach(device_), 0);
  EXPECT_GT(attach_to(device_, ioas), 0) << "its IOMMU is there";
  program_.close(device_);
  EXPECT_EQ(find(kAlone), nullptr);
  EXPECT_EQ(unmap_range(ioas, kIova, kPageSize), static_cast<std::int64_t>(kPageSize));
  EXPECT_EQ(destroy(ioas), 0);
}

// ---- a group of several

TEST_F(HotPlug, TheOthersOfAGroupStayAttached) {
  const int device = open_in_container(kTwin);
  Pages pages(1);
  ASSERT_EQ(map(kIova, pages.address(), kPageSize), 0);
  EXPECT_EQ(code(control_->remove(kOther)), 0);
  EXPECT_EQ(system_->device(kTwin)->group()->devices().size(), 2U);
  EXPECT_TRUE(moves(device, pages));
  EXPECT_EQ(open_device(kOther), -ENODEV);
}

TEST_F(HotPlug, ANewcomerIsOnTheDomainThatItsGroupIsOn) {
  ASSERT_EQ(code(control_->remove(kOther)), 0);
  ASSERT_GT(open_in_container(kTwin), 0);
  Pages pages(1);
  ASSERT_EQ(map(kIova, pages.address(), kPageSize), 0);
  ASSERT_EQ(code(control_->rescan()), 0);
  const int device = open_device(kOther);
  ASSERT_GT(device, 0);
  EXPECT_TRUE(moves(device, pages));
}

TEST_F(HotPlug, WhatLeftItsGroupIsBlocked) {
  ASSERT_GT(open_in_container(kTwin), 0);
  Pages pages(1);
  pages.at()[0] = 'x';
  ASSERT_EQ(map(kIova, pages.address(), kPageSize), 0);
  EXPECT_EQ(dma_read(kIova, kOther), 'x');
  ASSERT_EQ(code(control_->remove(kOther)), 0);
  EXPECT_EQ(dma_read(kIova, kOther), '-');
  EXPECT_EQ(dma_read(kIova, kTwin), 'x');
}

// ---- drivers

TEST_F(HotPlug, WithoutADriverADeviceHasNoFilesButKeepsItsGroup) {
  const unsigned group = group_of(kAlone);
  EXPECT_EQ(code(control_->unbind("ioatdma", kAlone)), ENODEV);
  EXPECT_EQ(code(control_->unbind("vfio-pci", kAlone)), 0);
  EXPECT_EQ(find(kAlone)->group, group);
  EXPECT_FALSE(find(kAlone)->vfio_number);
  EXPECT_EQ(vfio_->open_group(program_, group).error().code, ENODEV);
  EXPECT_EQ(code(control_->bind("vfio-pci", kAlone)), 0);
  EXPECT_EQ(code(control_->bind("vfio-pci", kAlone)), EBUSY);
  EXPECT_GT(open_in_container(kAlone), 0);
}

TEST_F(HotPlug, OnlyDriversThatTakeItCanHaveADevice) {
  ASSERT_EQ(code(control_->unbind("vfio-pci", kAlone)), 0);
  EXPECT_EQ(code(control_->bind("no-such-driver", kAlone)), ENODEV);
  EXPECT_EQ(code(control_->bind("nvme", kAlone)), ENODEV);
  EXPECT_EQ(code(control_->bind("pci-stub", kAlone)), 0);
  EXPECT_EQ(find(kAlone)->driver, "pci-stub");
  EXPECT_EQ(code(control_->bind("vfio-pci", kAlone)), EBUSY);
}

TEST_F(HotPlug, AGroupWithOneThatVfioDoesNotHaveIsStillViable) {
  ASSERT_EQ(code(control_->unbind("vfio-pci", kOther)), 0);
  ASSERT_EQ(code(control_->bind("pci-stub", kOther)), 0);
  const int device = open_in_container(kTwin);
  EXPECT_GT(device, 0);
  EXPECT_EQ(open_device(kOther), -ENODEV);
  EXPECT_EQ(hot_reset(device, {group_}), -EINVAL) << "the bus has one that is not ours";
}

TEST_F(HotPlug, AKernelDriverThatUsesDmaMakesItsGroupNotViable) {
  ASSERT_EQ(code(control_->unbind("vfio-pci", kIoat)), 0);
  ASSERT_EQ(code(control_->bind("ioatdma", kIoat)), 0);
  const int group = open_group(kTwin);
  abi::GroupStatus status{sizeof status, 0};
  ASSERT_EQ(call(group, abi::kGroupGetStatus, &status), 0);
  EXPECT_EQ(status.flags, 0U);
  EXPECT_EQ(set_container(group, open_container()), -EPERM);
  EXPECT_EQ(code(control_->unbind("ioatdma", kIoat)), 0);
  EXPECT_EQ(set_container(group, open_container()), 0);
}

TEST_F(HotPlug, NoneBindsWhileAProgramOwnsTheGroup) {
  ASSERT_EQ(code(control_->unbind("vfio-pci", kIoat)), 0);
  ASSERT_GT(open_in_container(kTwin), 0);
  EXPECT_EQ(code(control_->bind("ioatdma", kIoat)), EBUSY);
  EXPECT_EQ(find(kIoat)->driver, "");
  EXPECT_EQ(code(control_->bind("vfio-pci", kIoat)), 0);
}

TEST_F(HotPlug, AResetFromOutsideKeepsWhatTheUserSetUp) {
  const int device = open_in_container(kAlone);
  write_region(device, 0, hw::edu::kLiveness.offset, std::uint32_t{5});
  set_config<std::uint16_t>(device, 4, 6);
  EXPECT_EQ(code(control_->reset(kAlone)), 0);
  std::uint32_t value = 9;
  EXPECT_EQ(read_region(device, 0, hw::edu::kLiveness.offset, &value), 4);
  EXPECT_EQ(value, 0U);
  EXPECT_EQ(config<std::uint16_t>(device, 4), 6);
  ASSERT_EQ(*control_->remove(kAlone, Wait::not_at_all), Removal::pending);
  EXPECT_EQ(code(control_->reset(kAlone)), EAGAIN);
}

}  // namespace
}  // namespace softiommu::test
