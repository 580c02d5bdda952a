// SPDX-License-Identifier: BSD-3-Clause
// Device files: who may bind what when, and the attach contract as iommufd reads it.
#include "iommufd_rig.h"

namespace softiommu::test {
namespace {

class DeviceFileTest : public IommufdTest {
 protected:
  static constexpr const char *kFirst = "0000:01:00.0", *kSecond = "0000:01:00.1";  // one group
};

TEST_F(DeviceFileTest, NothingIsAnsweredBeforeBind) {
  const int device = open_cdev();
  abi::DeviceInfo info{};
  info.argsz = sizeof info;
  std::uint32_t word = 0;
  EXPECT_EQ(call(device, abi::kDeviceGetInfo, &info), -EINVAL);
  EXPECT_EQ(read_region(device, abi::kConfigRegion, 0, &word), -EINVAL);
  EXPECT_EQ(attach_to(device, alloc_ioas()), -EINVAL);
  ASSERT_GT(bind(device), 0);
  EXPECT_EQ(call(device, abi::kDeviceGetInfo, &info), 0);
  EXPECT_EQ(read_region(device, abi::kConfigRegion, 0, &word), 4);
}

TEST_F(DeviceFileTest, BindTakesAnIommufdOnce) {
  const int device = open_cdev();
  abi::BindIommufd request{sizeof request, 0, 4000, 0, 0};
  EXPECT_EQ(call(device, abi::kDeviceBindIommufd, &request), -EBADF);
  request.iommufd = device;
  EXPECT_EQ(call(device, abi::kDeviceBindIommufd, &request), -EBADFD);
  request.iommufd = -1;
  EXPECT_EQ(call(device, abi::kDeviceBindIommufd, &request), -EINVAL);
  request.iommufd = iommufd_;
  request.flags = 2;
  EXPECT_EQ(call(device, abi::kDeviceBindIommufd, &request), -EINVAL);
  EXPECT_EQ(bind(device), 1);
  EXPECT_EQ(bind(device), -EINVAL);
  EXPECT_EQ(bind(open_cdev()), -EINVAL) << "another file of the same device";
}

TEST_F(DeviceFileTest, ABoundDeviceIsAnObjectInUse) {
  const int device = open_cdev();
  const auto id = static_cast<std::uint32_t>(bind(device));
  EXPECT_EQ(destroy(id), -EBUSY);
  program_.close(device);
  EXPECT_EQ(destroy(id), -ENOENT);
}

TEST_F(DeviceFileTest, GroupFileAndDeviceFileExcludeEachOther) {
  const int device = open_cdev();
  const int group = open_group(kName);
  ASSERT_GT(group, 0) << "a device file that is not bound is in nobody's way";
  EXPECT_EQ(bind(device), -EBUSY);
  program_.close(group);
  ASSERT_GT(bind(device), 0);
  EXPECT_EQ(open_group(kName), -EBUSY);
  program_.close(device);
  EXPECT_GT(open_group(kName), 0);
}

TEST_F(DeviceFileTest, AGroupBelongsToOneContext) {
  const int first = open_cdev(kFirst), second = open_cdev(kSecond);
  ASSERT_GT(bind(first), 0);
  const int own = std::exchange(iommufd_, open_iommufd());
  EXPECT_EQ(bind(second), -EPERM);
  iommufd_ = own;
  EXPECT_GT(bind(second), 0);
}

TEST_F(DeviceFileTest, AttachKnowsItsObjects) {
  const int device = open_cdev();
  const auto id = static_cast<std::uint32_t>(bind(device));
  EXPECT_EQ(attach_to(device, 99), -ENOENT);
  EXPECT_EQ(attach_to(device, id), -EINVAL) << "a device is nothing to attach to";
  abi::AttachIommufdPt request{sizeof request, 2, alloc_ioas(), 0};
  EXPECT_EQ(call(device, abi::kDeviceAttachIommufdPt, &request), -EINVAL);
  request.flags = abi::kAttachPasid;
  request.pasid = 5;
  EXPECT_EQ(call(device, abi::kDeviceAttachIommufdPt, &request), -EINVAL) << "the domain was not made for PASIDs";
  request.argsz = abi::kAttachIommufdPtMinimum;
  EXPECT_EQ(call(device, abi::kDeviceAttachIommufdPt, &request), -EINVAL) << "no room for the PASID";
}

TEST_F(DeviceFileTest, DetachTakesAPasidThatIsNotAttached) {
  const int device = open_cdev();
  ASSERT_GT(bind(device), 0);
  abi::DetachIommufdPt request{sizeof request, abi::kDetachPasid, 5};
  EXPECT_EQ(call(device, abi::kDeviceDetachIommufdPt, &request), 0);
  request.argsz = abi::kDetachIommufdPtMinimum;
  EXPECT_EQ(call(device, abi::kDeviceDetachIommufdPt, &request), -EINVAL);
  request = {sizeof request, 2, 0};
  EXPECT_EQ(call(device, abi::kDeviceDetachIommufdPt, &request), -EINVAL);
}

TEST_F(DeviceFileTest, DmaFollowsAttachAndDetach) {
  const auto ioas = alloc_ioas();
  Pages pages(1);
  *pages.at() = 'd';
  ASSERT_EQ(map_fixed(ioas, 0x10000, pages.address(), kPageSize), 0);
  const int device = attached_device(ioas);
  EXPECT_EQ(dma_read(0x10000), 'd');
  EXPECT_EQ(detach(device), 0);
  EXPECT_EQ(dma_read(0x10000), '-');
  EXPECT_EQ(detach(device), 0) << "of a device that is attached to nothing";
}

TEST_F(DeviceFileTest, ASecondDeviceJoinsTheDomainOfTheFirst) {
  const auto ioas = alloc_ioas();
  Pages pages(1);
  *pages.at() = 'j';
  ASSERT_EQ(map_fixed(ioas, 0x10000, pages.address(), kPageSize), 0);
  const int first = open_cdev(), second = open_cdev("0000:00:03.0");
  ASSERT_GT(bind(first), 0);
  ASSERT_GT(bind(second), 0);
  const auto page_table = attach_to(first, ioas);
  const auto tables = machine_->memory().tables().allocated_pages();
  EXPECT_EQ(attach_to(second, ioas), page_table) << "the id of the same page table is written back";
  EXPECT_EQ(machine_->memory().tables().allocated_pages(), tables) << "no page-table page more";
  EXPECT_EQ(dma_read(0x10000, "0000:00:03.0"), 'j');
}

TEST_F(DeviceFileTest, AnAutomaticPageTableEndsWithItsLastDevice) {
  const auto ioas = alloc_ioas();
  const int device = open_cdev();
  ASSERT_GT(bind(device), 0);
  const auto page_table = attach_to(device, ioas);
  EXPECT_EQ(destroy(static_cast<std::uint32_t>(page_table)), -EBUSY);
  EXPECT_EQ(destroy(ioas), -EBUSY);
  EXPECT_EQ(detach(device), 0);
  EXPECT_EQ(destroy(static_cast<std::uint32_t>(page_table)), -ENOENT);
  EXPECT_EQ(destroy(ioas), 0);
}

TEST_F(DeviceFileTest, APageTableThatWasMadeStays) {
  const auto ioas = alloc_ioas();
  const int device = open_cdev();
  const auto id = static_cast<std::uint32_t>(bind(device));
  const auto page_table = alloc_hwpt(id, ioas);
  ASSERT_GT(page_table, 0);
  EXPECT_EQ(attach_to(device, static_cast<std::uint32_t>(page_table)), page_table);
  EXPECT_EQ(destroy(static_cast<std::uint32_t>(page_table)), -EBUSY);
  EXPECT_NE(attach_to(device, ioas), page_table) << "the search passes over it";
  EXPECT_EQ(destroy(static_cast<std::uint32_t>(page_table)), 0);
}

TEST_F(DeviceFileTest, HwptAllocSaysWhatIsWrong) {
  const auto ioas = alloc_ioas();
  const auto id = static_cast<std::uint32_t>(bind(open_cdev()));
  EXPECT_EQ(alloc_hwpt(99, ioas), -ENOENT);
  EXPECT_EQ(alloc_hwpt(id, 99), -EINVAL);
  EXPECT_EQ(alloc_hwpt(id, id), -EINVAL);
  EXPECT_EQ(alloc_hwpt(id, ioas, 1U << 20), -EOPNOTSUPP);
  EXPECT_EQ(alloc_hwpt(id, ioas, fd::kHwptNestParent), -EOPNOTSUPP) << "legacy mode does not nest";
  fd::HwptAlloc request{};
  request.dev_id = id;
  request.pt_id = ioas;
  request.data_type = 1;
  EXPECT_EQ(command(fd::kHwptAlloc, request), -EINVAL) << "a type without data";
}

TEST_F(DeviceFileTest, ReplaceMovesTheGroupAtOnce) {
  const auto one = alloc_ioas(), two = alloc_ioas();
  Pages pages(2);
  *pages.at() = '1';
  *pages.at(kPageSize) = '2';
  ASSERT_EQ(map_fixed(one, 0x10000, pages.address(), kPageSize), 0);
  ASSERT_EQ(map_fixed(two, 0x10000, pages.address() + kPageSize, kPageSize), 0);
  const int first = attached_device(one, kFirst), second = attached_device(one, kSecond);
  EXPECT_EQ(dma_read(0x10000, kSecond), '1');
  ASSERT_GT(attach_to(first, two), 0);
  EXPECT_EQ(dma_read(0x10000, kFirst), '2');
  EXPECT_EQ(dma_read(0x10000, kSecond), '2') << "they are one group";
  EXPECT_EQ(ranges(one).size(), 1U) << "nothing is reserved in the old space";
  EXPECT_EQ(ranges(two).size(), 2U);
  EXPECT_EQ(detach(first), 0);
  EXPECT_EQ(dma_read(0x10000, kSecond), '2') << "while a device is attached the group is";
  EXPECT_EQ(detach(second), 0);
  EXPECT_EQ(dma_read(0x10000, kSecond), '-');
}

TEST_F(DeviceFileTest, AReplaceThatFailsChangesNothing) {
  const auto one = alloc_ioas(), two = alloc_ioas();
  Pages pages(1);
  *pages.at() = 'o';
  ASSERT_EQ(map_fixed(one, 0x10000, pages.address(), kPageSize), 0);
  ASSERT_EQ(map_fixed(two, 0xfee0'0000, pages.address(), kPageSize), 0) << "in the way of the interrupt range";
  const int device = attached_device(one);
  EXPECT_EQ(attach_to(device, two), -EADDRINUSE);
  EXPECT_EQ(dma_read(0x10000), 'o');
  EXPECT_EQ(ranges(two).size(), 1U);
}

TEST_F(DeviceFileTest, TheContextLivesAsLongAsABoundDevice) {
  const auto ioas = alloc_ioas();
  Pages pages(1);
  *pages.at() = 'l';
  ASSERT_EQ(map_fixed(ioas, 0x10000, pages.address(), kPageSize), 0);
  attached_device(ioas);
  program_.close(iommufd_);
  EXPECT_EQ(dma_read(0x10000), 'l');
}

TEST_F(DeviceFileTest, InterruptsThatAreNotIsolatedNeedTheOption) {
  start({}, "isolated_msi = false\n");
  iommufd_ = open_iommufd();
  EXPECT_EQ(bind(open_cdev()), -EPERM);
  VfioOptions options;
  options.allow_unsafe_interrupts = true;
  start(options, "isolated_msi = false\n");
  iommufd_ = open_iommufd();
  EXPECT_GT(bind(open_cdev()), 0);
}

TEST_F(DeviceFileTest, HardwareInfoIsTheUnitsCapabilities) {
  const auto id = static_cast<std::uint32_t>(bind(open_cdev()));
  struct {
    std::uint32_t flags, reserved;
    std::uint64_t cap, ecap, beyond;
  } vtd{1, 1, 1, 1, 1};
  fd::HwInfo request{};
  request.dev_id = id;
  request.data_len = sizeof vtd;
  request.data_uptr = reinterpret_cast<std::uint64_t>(&vtd);
  ASSERT_EQ(command(fd::kGetHwInfo, request), 0);
  EXPECT_EQ(request.data_type, 1U);
  EXPECT_EQ(request.data_len, 24U);
  EXPECT_EQ(vtd.flags, 1U) << "IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17, which Linux sets for every unit";
  EXPECT_NE(vtd.cap, 1U);
  EXPECT_EQ(vtd.beyond, 0U) << "the rest of the program's room is cleared";
  request.flags = fd::kHwInfoInputType;
  request.data_type = 2;
  EXPECT_EQ(command(fd::kGetHwInfo, request), -EOPNOTSUPP);
  request.dev_id = 99;
  EXPECT_EQ(command(fd::kGetHwInfo, request), -ENOENT);
}

TEST_F(DeviceFileTest, HotResetGoesByTheContext) {
  const int first = open_cdev(kFirst), second = open_cdev(kSecond);
  const auto id = bind(first);
  struct {
    abi::HotResetInfo info;
    abi::DependentDevice devices[4];
  } list{};
  list.info.argsz = sizeof list;
  ASSERT_EQ(call(first, abi::kDeviceGetPciHotResetInfo, &list), 0);
  EXPECT_EQ(list.info.flags, abi::kHotResetDevId | abi::kHotResetDevIdOwned) << "the group is ours";
  EXPECT_EQ(list.devices[0].group_id, id);
  EXPECT_EQ(list.devices[1].group_id, abi::kDevIdOwned);
  ASSERT_GT(bind(second), 0);
  EXPECT_EQ(hot_reset(first, {}), 0);
  EXPECT_EQ(hot_reset(first, {0}), -EINVAL) << "groups prove nothing here";
}

// Behind an SMMUv3 that keeps dirty state.
class DirtyTrackingTest : public IommufdTest {
 protected:
  static constexpr std::uint64_t kBase = 0x4000'0000;
  void SetUp() override {
    const DeviceModel models[] = {gadget_model()};
    const auto spec = parse_machine(R"([machine]
name = "dirty"
[[iommu]]
name = "smmu0"
model = "arm-smmu-v3"
dirty = "dirty"
[[device]]
address = "0000:00:02.0"
model = "gadget"
)",
                                    "dirty.toml", {}, models);
    ASSERT_TRUE(spec) << spec.error().what;
    start_on(*spec);
    iommufd_ = open_iommufd();
    device_ = open_cdev();
    id_ = static_cast<std::uint32_t>(bind(device_));
    ioas_ = alloc_ioas();
    ASSERT_EQ(map_fixed(ioas_, kBase, pages_.address(), pages_.bytes()), 0);
  }
  long track(std::uint32_t page_table, std::uint32_t flags) {
    fd::HwptSetDirtyTracking request{0, flags, page_table, 0};
    return command(fd::kHwptSetDirtyTracking, request);
  }
  long read(std::uint32_t page_table, std::uint64_t bytes, std::uint32_t flags = 0, std::uint64_t page = kPageSize) {
    fd::HwptGetDirtyBitmap request{0,     page_table, flags, 0,
                                   kBase, bytes,      page,  reinterpret_cast<std::uint64_t>(&bitmap_)};
    return command(fd::kHwptGetDirtyBitmap, request);
  }

  Pages pages_{8};
  int device_ = -1;
  std::uint32_t id_ = 0, ioas_ = 0;
  std::uint64_t bitmap_ = 0;
};

TEST_F(DirtyTrackingTest, WhatADeviceWroteIsReadOnce) {
  const auto made = alloc_hwpt(id_, ioas_, fd::kHwptDirtyTracking);
  ASSERT_GT(made, 0);
  const auto page_table = static_cast<std::uint32_t>(made);
  ASSERT_EQ(attach_to(device_, page_table), made);
  EXPECT_TRUE(dma_write(kBase + 5 * kPageSize, 'b'));
  ASSERT_EQ(track(page_table, fd::kDirtyTrackingEnable), 0);
  EXPECT_TRUE(dma_write(kBase + kPageSize, 'a'));
  EXPECT_TRUE(dma_write(kBase + 2 * kPageSize, 'a'));
  bitmap_ = 0x80;
  EXPECT_EQ(read(page_table, 8 * kPageSize, fd::kDirtyNoClear), 0);
  EXPECT_EQ(bitmap_, 0x86U) << "and no bit is cleared; what was written before tracking does not count";
  bitmap_ = 0;
  EXPECT_EQ(read(page_table, 8 * kPageSize, 0, 4 * kPageSize), 0);
  EXPECT_EQ(bitmap_, 1U) << "one bit for four pages";
  bitmap_ = 0;
  EXPECT_EQ(read(page_table, 8 * kPageSize), 0);
  EXPECT_EQ(bitmap_, 0U);
  EXPECT_EQ(track(page_table, 0), 0);
}

TEST_F(DirtyTrackingTest, ReadingSaysWhatIsWrong) {
  const auto page_table = static_cast<std::uint32_t>(alloc_hwpt(id_, ioas_, fd::kHwptDirtyTracking));
  EXPECT_EQ(read(page_table, 0), -EOVERFLOW) << "as Linux: an empty range wraps";
  EXPECT_EQ(read(page_table, kPageSize + 1), -EINVAL);
  EXPECT_EQ(read(page_table, kPageSize, 0, 0), -EINVAL);
  EXPECT_EQ(read(page_table, ~std::uint64_t{0} - kPageSize + 1), -EOVERFLOW);
  EXPECT_EQ(read(page_table, kPageSize, 2), -EOPNOTSUPP);
  EXPECT_EQ(read(ioas_, kPageSize), -ENOENT);
  EXPECT_EQ(track(page_table, 2), -EOPNOTSUPP);
  EXPECT_EQ(track(ioas_, 0), -ENOENT);
}

TEST_F(DirtyTrackingTest, APageTableThatWasNotMadeForItDoesNotTrack) {
  const auto page_table = static_cast<std::uint32_t>(alloc_hwpt(id_, ioas_));
  EXPECT_EQ(track(page_table, fd::kDirtyTrackingEnable), -EOPNOTSUPP);
  EXPECT_EQ(read(page_table, kPageSize), -EOPNOTSUPP);
  fd::HwInfo info{};
  info.dev_id = id_;
  ASSERT_EQ(command(fd::kGetHwInfo, info), 0);
  EXPECT_EQ(info.out_capabilities & fd::kHwCapDirtyTracking, fd::kHwCapDirtyTracking);
  EXPECT_EQ(info.data_type, 2U);
}

TEST_F(DeviceFileTest, AnAttachWhoseAnswerCannotBeWrittenLeavesTheDeviceWhereItWas) {
  const std::uint32_t first = alloc_ioas(), second = alloc_ioas();
  Pages memory(2);
  *memory.at() = 'x';
  ASSERT_EQ(map_fixed(first, 0x10000, memory.address(), kPageSize), 0);
  const int device = attached_device(first);
  const abi::AttachIommufdPt request{sizeof request, 0, second, 0};
  std::memcpy(memory.at(kPageSize), &request, sizeof request);
  ASSERT_EQ(mprotect(memory.at(kPageSize), kPageSize, PROT_READ), 0);
  EXPECT_EQ(call(device, abi::kDeviceAttachIommufdPt, memory.address() + kPageSize), -EFAULT);
  EXPECT_EQ(dma_read(0x10000), 'x');
}

}  // namespace
}  // namespace softiommu::test
