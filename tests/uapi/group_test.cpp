// SPDX-License-Identifier: BSD-3-Clause
// Opening groups, GET_STATUS, SET_CONTAINER, UNSET_CONTAINER, GET_DEVICE_FD, and who keeps whom alive.
#include <unistd.h>

#include "uapi/rig.h"

namespace softiommu::test {
namespace {

class GroupTest : public VfioTest {
 protected:
  std::uint32_t status() {
    abi::GroupStatus status{.argsz = sizeof status, .flags = 99};
    EXPECT_EQ(call(group_, abi::kGroupGetStatus, &status), 0);
    return status.flags;
  }
};

TEST_F(GroupTest, OneFileAtATime) {
  group_ = open_group(kName);
  EXPECT_EQ(open_group(kName), -EBUSY);
  program_.close(group_);
  group_ = open_group(kName);
  EXPECT_GT(group_, 0);
  EXPECT_EQ(program_[group_].path(), "/dev/vfio/" + std::to_string(group_of(kName)));
  EXPECT_EQ(vfio_->open_group(program_, 9999).error().code, ENODEV);
}

TEST_F(GroupTest, StatusSaysViableAndContainer) {
  attach();
  EXPECT_EQ(status(), abi::kGroupViable | abi::kGroupContainerSet);
  ASSERT_EQ(call(group_, abi::kGroupUnsetContainer), 0);
  EXPECT_EQ(status(), abi::kGroupViable);
  abi::GroupStatus small{.argsz = 7, .flags = 0};
  EXPECT_EQ(call(group_, abi::kGroupGetStatus, &small), -EINVAL);
  EXPECT_EQ(call(group_, abi::kGroupGetStatus, std::uint64_t{8}), -EFAULT);
  EXPECT_EQ(call(group_, abi::kDeviceGetInfo), -ENOTTY);
}

TEST_F(GroupTest, AGroupThatSomeoneElseOwnsIsNotViable) {
  group_ = open_group(kName);
  Group& group = *system_->device(kName)->group();
  const int owner = 0;
  ASSERT_TRUE(group.claim_dma_owner(&owner));
  EXPECT_EQ(status(), 0U);
  EXPECT_EQ(set_container(group_, open_container()), -EPERM);
  group.release_dma_owner();
}

TEST_F(GroupTest, AContainerIsADescriptorOfOne) {
  group_ = open_group(kName);
  container_ = open_container();
  EXPECT_EQ(set_container(group_, 4000), -EBADF);
  EXPECT_EQ(set_container(group_, STDIN_FILENO), -EBADFD);
  EXPECT_EQ(set_container(group_, group_), -EBADFD);
  EXPECT_EQ(call(group_, abi::kGroupSetContainer, std::uint64_t{4}), -EFAULT);
  EXPECT_EQ(set_container(group_, container_), 0);
  EXPECT_EQ(set_container(group_, container_), -EINVAL) << "it is in one";
  EXPECT_EQ(set_container(group_, STDIN_FILENO), -EINVAL) << "which is asked before what the descriptor is";
  EXPECT_EQ(call(group_, abi::kGroupUnsetContainer), 0);
  EXPECT_EQ(call(group_, abi::kGroupUnsetContainer), -EINVAL) << "it is in none";
}

TEST_F(GroupTest, ADeviceNeedsAContainerWithAnIommu) {
  group_ = open_group(kName);
  EXPECT_EQ(open_device(), -EINVAL);
  container_ = open_container();
  ASSERT_EQ(set_container(group_, container_), 0);
  EXPECT_EQ(open_device(), -EINVAL);
  ASSERT_EQ(call(container_, abi::kSetIommu, 1), 0);
  EXPECT_GT(open_device(), 0);
}

TEST_F(GroupTest, DevicesGoByName) {
  attach();
  EXPECT_EQ(open_device("0000:00:03.0"), -ENODEV) << "of another group";
  EXPECT_EQ(open_device(""), -ENODEV);
  EXPECT_EQ(open_device(std::string(kName) + "x"), -ENODEV);
  EXPECT_EQ(open_device(std::string(kName) + " what=1"), -EINVAL);
  EXPECT_EQ(open_device(std::string(kName) + " vf_token=short"), -EINVAL);
  EXPECT_EQ(open_device(std::string(kName) + " vf_token=14d63f20-8445-11ea-8900-1f9ce7d5650d"), -EINVAL)
      << "has no functions";
  EXPECT_EQ(open_device(std::string(5000, 'x')), -EINVAL);
  EXPECT_EQ(call(group_, abi::kGroupGetDeviceFd, std::uint64_t{1}), -EFAULT);
  EXPECT_GT(open_device(std::string(kName) + " "), 0);
}

TEST_F(GroupTest, WithoutADescriptorNothingStaysOpen) {
  attach();
  program_.install_errno = EMFILE;
  EXPECT_EQ(open_device(), -EMFILE);
  EXPECT_EQ(call(group_, abi::kGroupUnsetContainer), 0);
}

TEST_F(GroupTest, AnOpenDeviceKeepsEverythingAttached) {
  attach();
  const int device = open_device();
  Pages pages(1);
  pages.at()[0] = 'k';
  ASSERT_EQ(map(0x10000, pages.address(), kPageSize), 0);
  EXPECT_EQ(call(group_, abi::kGroupUnsetContainer), -EBUSY);
  program_.close(group_);
  program_.close(container_);
  EXPECT_EQ(dma_read(0x10000), 'k');
  EXPECT_EQ(open_group(kName), -EBUSY) << "its file is still open through the device";
  program_.close(device);
  EXPECT_EQ(dma_read(0x10000), '-');
  EXPECT_GT(open_group(kName), 0);
}

}  // namespace
}  // namespace softiommu::test
