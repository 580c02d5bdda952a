// SPDX-License-Identifier: BSD-3-Clause
// Type1's calls on an iommufd, and a group that was given to one.
#include "iommufd_rig.h"

namespace softiommu::test {
namespace {

class CompatTest : public IommufdTest {
 protected:
  // As a program written for containers, with the iommufd in the container's place.
  void attach_compat(abi::Extension type = abi::Extension::type1_v2) {
    container_ = iommufd_;
    group_ = open_group(kName);
    ASSERT_EQ(set_container(group_, iommufd_), 0);
    ASSERT_EQ(call(iommufd_, abi::kSetIommu, static_cast<std::uint64_t>(type)), 0);
  }
};

TEST_F(CompatTest, WithoutAGroupThereIsNoAddressSpace) {
  EXPECT_EQ(call(iommufd_, abi::kGetApiVersion), 0);
  EXPECT_EQ(call(iommufd_, abi::kCheckExtension, static_cast<std::uint64_t>(abi::Extension::type1_v2)), 1);
  EXPECT_EQ(call(iommufd_, abi::kCheckExtension, static_cast<std::uint64_t>(abi::Extension::update_vaddr)), 0);
  EXPECT_EQ(call(iommufd_, abi::kSetIommu, 3), -ENODEV);
  container_ = iommufd_;
  EXPECT_EQ(map(0, 0, kPageSize), -ENODEV);
}

TEST_F(CompatTest, ADeviceOfTheGroupIsAttachedWhenItIsOpened) {
  attach_compat();
  Pages pages(1);
  *pages.at() = 'c';
  ASSERT_EQ(map(0x10000, pages.address(), kPageSize), 0);
  EXPECT_EQ(dma_read(0x10000), '-');
  const int device = open_device(), again = open_device();
  ASSERT_GT(device, 0);
  ASSERT_GT(again, 0) << "files of one device share what binds it";
  EXPECT_EQ(dma_read(0x10000), 'c');
  program_.close(device);
  EXPECT_EQ(dma_read(0x10000), 'c');
  program_.close(again);
  EXPECT_EQ(dma_read(0x10000), '-');
}

TEST_F(CompatTest, AGroupIsGivenOnce) {
  attach_compat();
  EXPECT_EQ(set_container(group_, iommufd_), -EINVAL);
  EXPECT_EQ(set_container(group_, open_container()), -EINVAL);
  EXPECT_EQ(call(group_, abi::kGroupUnsetContainer), 0);
  EXPECT_EQ(set_container(group_, open_container()), 0);
}

TEST_F(CompatTest, OnlyType1UnmapsParts) {
  attach_compat();
  Pages pages(4);
  ASSERT_GT(open_device(), 0);
  ASSERT_EQ(map(0x10000, pages.address(), 4 * kPageSize), 0);
  EXPECT_EQ(unmap(0x11000, kPageSize).first, -ENOENT);
  EXPECT_EQ(unmap(0x10000, 4 * kPageSize), std::pair(0L, 4 * kPageSize));
  EXPECT_EQ(unmap(0x10000, 4 * kPageSize), std::pair(0L, std::uint64_t{0})) << "of nothing";
}

TEST_F(CompatTest, AType1ProgramPokesHoles) {
  attach_compat(abi::Extension::type1);
  Pages pages(4);
  for (unsigned i = 0; i < 4; ++i) *pages.at(i * kPageSize) = static_cast<char>('0' + i);
  ASSERT_GT(open_device(), 0);
  ASSERT_EQ(map(0x10000, pages.address(), 4 * kPageSize), 0);
  EXPECT_EQ(unmap(0x11000, 2 * kPageSize), std::pair(0L, 2 * kPageSize));
  EXPECT_EQ(dma_read(0x10000), '0');
  EXPECT_EQ(dma_read(0x11000), '-');
  EXPECT_EQ(dma_read(0x13000), '3');
  EXPECT_EQ(iommufd_pages(), 2U);
  EXPECT_EQ(unmap(0, 0, abi::kUnmapAll), std::pair(0L, 2 * kPageSize));
}

TEST_F(CompatTest, TheSpaceHasAnIdLikeAnyOther) {
  fd::VfioIoas request{0, 0, fd::kVfioIoasGet, 0};
  EXPECT_EQ(command(fd::kVfioIoas, request), -ENODEV);
  attach_compat();
  ASSERT_EQ(command(fd::kVfioIoas, request), 0);
  Pages pages(1);
  EXPECT_EQ(map_fixed(request.ioas_id, 0x10000, pages.address(), kPageSize), 0);
  EXPECT_EQ(map(0x10000, pages.address(), kPageSize), -EEXIST) << "the same space";
  request.op = fd::kVfioIoasClear;
  EXPECT_EQ(command(fd::kVfioIoas, request), 0);
  EXPECT_EQ(map(0x20000, pages.address(), kPageSize), -ENODEV);
  request.op = fd::kVfioIoasSet;
  EXPECT_EQ(command(fd::kVfioIoas, request), 0);
  request.op = 9;
  EXPECT_EQ(command(fd::kVfioIoas, request), -EOPNOTSUPP);
  request.op = fd::kVfioIoasSet;
  request.ioas_id = 99;
  EXPECT_EQ(command(fd::kVfioIoas, request), -ENOENT);
}

TEST_F(CompatTest, InfoTellsPageSizesAndRanges) {
  attach_compat();
  ASSERT_GT(open_device(), 0);
  struct {
    abi::Type1Info info;
    std::byte room[256];
  } answer{};
  answer.info.argsz = sizeof answer;
  ASSERT_EQ(call(iommufd_, abi::kIommuGetInfo, &answer), 0);
  EXPECT_EQ(answer.info.iova_pgsizes & kPageSize, kPageSize);
  EXPECT_EQ(answer.info.cap_offset, sizeof answer.info);
}

}  // namespace
}  // namespace softiommu::test
