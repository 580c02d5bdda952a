// SPDX-License-Identifier: BSD-3-Clause
// Virtual functions under VFIO: what sriov_numvfs does, and the token that their users share with the physical one's.
#include <thread>

#include "base/fault.h"
#include "uapi/hot_plug_rig.h"

namespace softiommu::test {
namespace {

using ::testing::ElementsAre;

class SriovTest : public HotPlugTest {};

TEST_F(SriovTest, FunctionsAppearInGroupsOfTheirOwnAndBelongToVfioPci) {
  EXPECT_EQ(find(kVf), nullptr);
  enable(2);
  ASSERT_NE(find(kVf), nullptr);
  EXPECT_EQ(find(kVf)->driver, "vfio-pci");
  EXPECT_EQ(find(kVf)->physfn, kPf);
  EXPECT_NE(find(kVf)->group, find(kVf1)->group);
  EXPECT_NE(find(kVf)->group, find(kPf)->group);
  EXPECT_EQ(find("0000:01:10.2"), nullptr);
  EXPECT_THAT(find(kPf)->virtfns, ElementsAre(kVf, kVf1));
  EXPECT_EQ(find(kPf)->num_vfs, 2U);
  EXPECT_EQ(find(kPf)->total_vfs, 4U);
}

TEST_F(SriovTest, NumbersAreRefusedAsLinuxRefusesThem) {
  EXPECT_EQ(code(control_->set_num_vfs(kPf, 5)), ERANGE);
  EXPECT_EQ(code(control_->set_num_vfs(kAlone, 1)), ENOENT);
  EXPECT_EQ(code(control_->set_num_vfs(kVf, 1)), ENODEV);
  enable(2);
  EXPECT_EQ(code(control_->set_num_vfs(kPf, 1)), EBUSY);
  EXPECT_EQ(code(control_->set_num_vfs(kPf, 2)), 0) << "as many as there are";
  enable(0);
  ASSERT_EQ(code(control_->unbind("vfio-pci", kPf)), 0);
  EXPECT_EQ(code(control_->set_num_vfs(kPf, 1)), ENOENT) << "no driver";
}

TEST_F(SriovTest, AFunctionKeepsItsNumberAndItsGroup) {
  enable(1);
  const auto number = find(kVf)->vfio_number;
  const auto group = find(kVf)->group;
  ASSERT_TRUE(number);
  enable(0);
  EXPECT_EQ(find(kVf), nullptr);
  EXPECT_EQ(vfio_->open_device(program_, *number).error().code, ENODEV);
  EXPECT_EQ(vfio_->open_group(program_, *group).error().code, ENODEV);
  enable(3);
  EXPECT_EQ(find(kVf)->vfio_number, number);
  EXPECT_EQ(find(kVf)->group, group);
}

TEST_F(SriovTest, EachDoesDmaThroughTheDomainOfItsGroup) {
  enable(2);
  Pages pages(1);
  const int device = open_in_container(kVf1, "00000000-0000-0000-0000-000000000000");
  EXPECT_EQ(device, -EACCES) << "nobody has set that";
  const int physical = open_cdev(kPf);
  ASSERT_EQ(bind_with(physical, kToken), 0);
  const int vf = open_device(std::string(kVf1) + " vf_token=" + kToken);
  ASSERT_GT(vf, 0);
  ASSERT_EQ(map(kIova, pages.address(), kPageSize), 0);
  EXPECT_TRUE(moves(vf, pages));
  ASSERT_EQ(unmap(kIova, kPageSize).first, 0);
  EXPECT_FALSE(moves(vf, pages));
}

TEST_F(SriovTest, ConfigurationSpaceSaysWhoItIsAndThatItsMemoryDecodes) {
  enable(1);
  const int vf = open_vf();
  EXPECT_EQ(config<std::uint16_t>(vf, 0), hw::edu::kVendorId);
  EXPECT_EQ(config<std::uint16_t>(vf, 2), hw::edu::kDeviceId);
  EXPECT_EQ(config<std::uint16_t>(vf, 4) & 2, 2);
  set_config<std::uint16_t>(vf, 4, 0);
  std::uint32_t value = 0;
  EXPECT_EQ(read_region(vf, 0, 0, &value), 4) << "which it cannot switch off";
  EXPECT_EQ(value, hw::edu::kIdentification.reset);
  abi::IrqInfo intx{sizeof intx, 0, abi::kIntxIrq, 9};
  ASSERT_EQ(call(vf, abi::kDeviceGetIrqInfo, &intx), 0);
  EXPECT_EQ(intx.count, 0U);
}

TEST_F(SriovTest, ThePhysicalFunctionsCapabilityCannotBeWrittenThroughVfio) {
  const int device = open_in_container(kPf);
  const unsigned at = hardware(kPf).find_extended_capability(hw::pci::extended::kSingleRootIo);
  ASSERT_EQ(config<std::uint16_t>(device, at), hw::pci::extended::kSingleRootIo);
  set_config<std::uint16_t>(device, at + hw::pci::sriov::kNumber.offset, 2);
  EXPECT_EQ(config<std::uint16_t>(device, at + hw::pci::sriov::kNumber.offset), 0);
}

// ---- the token

TEST_F(SriovTest, AVirtualFunctionOpensWithThePhysicalOnesTokenOnly) {
  enable(1);
  ASSERT_EQ(bind_with(open_cdev(kPf), kToken), 0);
  const int vf = open_cdev(kVf);
  EXPECT_EQ(bind_with(vf, nullptr), -EACCES);
  EXPECT_EQ(bind_with(vf, kWrong), -EACCES);
  EXPECT_EQ(bind_with(vf, kToken), 0);
}

TEST_F(SriovTest, SoItIsThroughTheGroup) {
  enable(1);
  EXPECT_GT(open_in_container(kPf, kToken), 0);
  EXPECT_EQ(open_in_container(kVf), -EACCES);
  EXPECT_EQ(open_device(std::string(kVf) + " vf_token=" + kWrong), -EACCES);
  EXPECT_EQ(open_device(std::string(kVf) + " vf_token=nonsense"), -EINVAL);
  EXPECT_GT(open_device(std::string(kVf) + " vf_token=" + kToken), 0);
}

TEST_F(SriovTest, TheTokenStaysWhenThePhysicalFunctionIsClosed) {
  enable(1);
  const int physical = open_cdev(kPf);
  ASSERT_EQ(bind_with(physical, kToken), 0);
  program_.close(physical);
  EXPECT_EQ(bind_with(open_cdev(kVf), nullptr), -EACCES);
  EXPECT_EQ(bind_with(open_cdev(kVf), kToken), 0);
}

TEST_F(SriovTest, TheFeatureSetsAnother) {
  enable(1);
  const int physical = open_cdev(kPf);
  ASSERT_EQ(bind_with(physical, kToken), 0);
  constexpr std::uint32_t kGet = abi::kFeatureGet | abi::kFeaturePciVfToken;
  constexpr std::uint32_t kSet = abi::kFeatureSet | abi::kFeaturePciVfToken;
  const vfio::Uuid token = *vfio::parse_uuid(kWrong);
  EXPECT_EQ(feature(physical, abi::kFeatureProbe | kSet, token), 0);
  EXPECT_EQ(feature(physical, kGet, token), -EINVAL) << "it would tell the token of the user before";
  EXPECT_EQ(feature(physical, kSet, std::array<std::byte, 15>{}), -EINVAL);
  EXPECT_EQ(feature(physical, kSet, token), 0);
  const int vf = open_cdev(kVf);
  EXPECT_EQ(bind_with(vf, kToken), -EACCES);
  EXPECT_EQ(bind_with(vf, kWrong), 0);
  EXPECT_EQ(feature(vf, kSet, token), -ENOTTY);
}

TEST_F(SriovTest, WhileAVirtualFunctionIsOpenThePhysicalOneNeedsTheTokenToo) {
  enable(1);
  const int first = open_cdev(kPf);
  ASSERT_EQ(bind_with(first, kToken), 0);
  const int vf = open_cdev(kVf);
  ASSERT_EQ(bind_with(vf, kToken), 0);
  program_.close(first);
  const int second = open_cdev(kPf);
  EXPECT_EQ(bind_with(second, nullptr), -EACCES);
  EXPECT_EQ(bind_with(second, kWrong), -EACCES);
  EXPECT_EQ(bind_with(second, kToken), 0);
  program_.close(second);
  program_.close(vf);
  EXPECT_EQ(bind_with(open_cdev(kPf), kWrong), 0) << "nobody is left who could mind";
}

TEST_F(SriovTest, OtherDevicesTakeNoToken) {
  EXPECT_EQ(bind_with(open_cdev(kAlone), kToken), -EINVAL);
  const abi::BindIommufd unreadable{sizeof unreadable, abi::kBindToken, iommufd_, 0, 8};
  EXPECT_EQ(call(open_cdev(kPf), abi::kDeviceBindIommufd, &unreadable), -EFAULT);
}

// ---- disabling

TEST_F(SriovTest, DisablingAsksUsersAndEndsWithTheLastClose) {
  enable(2);
  const int vf = open_vf();
  Event asked;
  ASSERT_EQ(request_eventfd(vf, asked), 0);
  const auto removal = control_->set_num_vfs(kPf, 0, Wait::not_at_all);
  ASSERT_EQ(code(removal), 0);
  EXPECT_EQ(*removal, Removal::pending);
  EXPECT_EQ(asked.take(), 1U);
  EXPECT_EQ(find(kVf1), nullptr) << "nobody used that one";
  EXPECT_NE(find(kVf), nullptr);
  EXPECT_FALSE(find(kVf)->vfio_number) << "nobody new gets in";
  EXPECT_EQ(open_cdev(kVf), -ENODEV);
  EXPECT_EQ(hardware(kPf).enabled_virtual_functions(), 2U);
  program_.close(vf);
  EXPECT_EQ(find(kVf), nullptr);
  EXPECT_EQ(hardware(kPf).enabled_virtual_functions(), 0U);
}

TEST_F(SriovTest, WhileFunctionsLeaveNoneAreEnabled) {
  enable(2);
  ASSERT_EQ(bind_with(open_cdev(kPf), kToken), 0);
  const int vf = open_cdev(kVf);
  ASSERT_EQ(bind_with(vf, kToken), 0);
  ASSERT_EQ(*control_->set_num_vfs(kPf, 0, Wait::not_at_all), Removal::pending);
  EXPECT_EQ(code(control_->set_num_vfs(kPf, 2, Wait::not_at_all)), EAGAIN) << "as many as there were";
  EXPECT_EQ(code(control_->set_num_vfs(kPf, 1, Wait::not_at_all)), EAGAIN);
  EXPECT_EQ(*control_->set_num_vfs(kPf, 0, Wait::not_at_all), Removal::pending) << "the same again";
  program_.close(vf);
  enable(2);
  EXPECT_NE(find(kVf), nullptr);
}

TEST_F(SriovTest, WhoWaitsIsThereUntilTheLastClose) {
  enable(1);
  const int vf = open_vf();
  Event asked;
  ASSERT_EQ(request_eventfd(vf, asked), 0);
  std::thread writer([&] { EXPECT_EQ(code(control_->set_num_vfs(kPf, 0)), 0); });
  while (asked.take() == 0) std::this_thread::yield();
  EXPECT_EQ(code(control_->remove(kAlone, Wait::not_at_all)), EAGAIN) << "one change at a time";
  program_.close(vf);
  writer.join();
  EXPECT_EQ(find(kVf), nullptr);
}

TEST_F(SriovTest, ABoundPhysicalFunctionTakesItsVirtualOnesAlong) {
  enable(2);
  EXPECT_EQ(code(control_->unbind("vfio-pci", kPf)), 0);
  EXPECT_EQ(find(kVf), nullptr);
  EXPECT_EQ(find(kPf)->driver, "");
  EXPECT_EQ(code(control_->bind("vfio-pci", kPf)), 0);
  enable(2);
  EXPECT_EQ(code(control_->remove(kPf)), 0);
  EXPECT_EQ(find(kVf), nullptr);
  EXPECT_EQ(find(kPf), nullptr);
  EXPECT_EQ(code(control_->rescan()), 0);
  EXPECT_EQ(find(kPf)->num_vfs, 0U);
}

TEST_F(SriovTest, APhysicalFunctionLeavesWithAllOfThem) {
  ASSERT_EQ(bind_with(open_cdev(kPf), kToken), 0);
  program_.close_all();
  enable(1);
  iommufd_ = open_iommufd();
  const int vf = open_cdev(kVf);
  ASSERT_EQ(bind_with(vf, kToken), 0);
  EXPECT_EQ(*control_->remove(kPf, Wait::not_at_all), Removal::pending) << "it is gone, but its function is not";
  EXPECT_EQ(find(kPf), nullptr);
  EXPECT_NE(find(kVf), nullptr);
  program_.close(vf);
  EXPECT_EQ(find(kVf), nullptr);
  ASSERT_EQ(code(control_->rescan()), 0);
  EXPECT_EQ(find(kPf)->num_vfs, 0U);
}

TEST_F(SriovTest, AVirtualFunctionThatWasRemovedComesBackWhenTheyAreEnabledAnew) {
  enable(2);
  EXPECT_EQ(code(control_->remove(kVf)), 0);
  EXPECT_THAT(find(kPf)->virtfns, ElementsAre("", kVf1));
  EXPECT_EQ(code(control_->rescan()), 0);
  EXPECT_EQ(find(kVf), nullptr) << "it has no ids that a scan could find";
  enable(0);
  enable(1);
  EXPECT_NE(find(kVf), nullptr);
}

TEST_F(SriovTest, ABusWithVirtualFunctionsIsNotReset) {
  const int device = open_in_container(kPf, kToken);
  EXPECT_EQ(hot_reset(device, {group_}), 0);
  enable(1);
  EXPECT_EQ(hot_reset(device, {group_}), -EINVAL);
}

TEST_F(SriovTest, ARescanFindsTheOthersWhereOneFails) {
  ASSERT_EQ(code(control_->remove(kAlone)), 0);
  ASSERT_EQ(code(control_->remove(kPf)), 0);
  const auto before = control_->generation();
  fault::fail_nth(1);
  EXPECT_EQ(code(control_->rescan()), ENOMEM);
  fault::disarm();
  EXPECT_NE(find(kAlone) != nullptr, find(kPf) != nullptr);
  EXPECT_GT(control_->generation(), before);
  EXPECT_EQ(code(control_->rescan()), 0);
  EXPECT_NE(find(kAlone), nullptr);
  EXPECT_NE(find(kPf), nullptr);
}

TEST_F(SriovTest, ARemovalThatWaitsForUsersIsToldWhenItBeginsAndWhenItEnds) {
  const int device = open_in_container(kAlone);
  std::vector<bool> registered, there;
  control_->on_change([&] {
    const auto* const function = find(kAlone);
    there.push_back(function != nullptr);
    registered.push_back(function != nullptr && function->vfio_number.has_value());
  });
  ASSERT_EQ(*control_->remove(kAlone, Wait::not_at_all), Removal::pending);
  EXPECT_THAT(there, ElementsAre(true));
  EXPECT_THAT(registered, ElementsAre(false));
  program_.close(device);
  EXPECT_THAT(there, ElementsAre(true, false));
}

TEST_F(SriovTest, AnUnbindThatWaitedForUsersIsToldWhenTheDriverHasGone) {
  const int device = open_in_container(kAlone);
  std::string driver = "none was told";
  control_->on_change([&] { driver = find(kAlone)->driver; });
  ASSERT_EQ(*control_->unbind("vfio-pci", kAlone, Wait::not_at_all), Removal::pending);
  program_.close(device);
  EXPECT_EQ(driver, "");
}

TEST_F(SriovTest, EveryChangeIsTold) {
  unsigned told = 0;
  control_->on_change([&] { ++told; });
  const auto before = control_->generation();
  enable(1);
  EXPECT_GE(told, 1U);
  EXPECT_GT(control_->generation(), before);
  EXPECT_EQ(code(control_->set_num_vfs(kPf, 9)), ERANGE);
  const unsigned after = told;
  enable(0);
  EXPECT_GT(told, after);
}

// ---- behind other IOMMUs

class SriovBehind : public HotPlugTest, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override { begin(GetParam()); }
};

TEST_P(SriovBehind, VirtualFunctionsThatComeBackDoDma) {
  ASSERT_EQ(bind_with(open_cdev(kPf), kToken), 0);
  for (int round = 0; round < 2; ++round) {
    enable(4);
    const int vf = open_in_container(kVf1, kToken);
    ASSERT_GT(vf, 0);
    Pages pages(1);
    EXPECT_FALSE(moves(vf, pages));
    ASSERT_EQ(map(kIova, pages.address(), kPageSize), 0);
    EXPECT_TRUE(moves(vf, pages));
    for (const int file : {vf, group_, container_}) program_.close(file);
    enable(0);
  }
}

INSTANTIATE_TEST_SUITE_P(, SriovBehind,
                         ::testing::Values("intel-vtd", "arm-smmu-v3", "arm-smmu", "amd-iommu", "virtio-iommu"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace softiommu::test
