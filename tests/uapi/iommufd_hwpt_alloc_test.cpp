// SPDX-License-Identifier: BSD-3-Clause
// HWPT_ALLOC beyond plain page tables: nested ones, fault queues, PASIDs, a driver's data.
#include "mock_rig.h"

namespace softiommu::test {
namespace {

class HwptAllocTest : public MockTest {
 protected:
  void SetUp() override {
    MockTest::SetUp();
    device_ = mock_device(ioas_);
    parent_ = nest_parent(device_);
  }
  MockDevice device_;
  std::uint32_t parent_ = 0;
};

TEST_F(HwptAllocTest, ADataTypeAndALengthGoTogether) {
  fd::HwptAlloc request = nested_request(device_, parent_);
  request.data_len = 0;
  EXPECT_EQ(hwpt(request), -EINVAL);
  request = nested_request(device_, parent_);
  request.data_type = 0;
  EXPECT_EQ(hwpt(request), -EINVAL);
}

TEST_F(HwptAllocTest, TypeIsJudgedBeforeLengthBeforeTheMemory) {
  fd::HwptAlloc request = nested_request(device_, parent_);
  request.data_uptr = 8;
  EXPECT_EQ(hwpt(request), -EFAULT);
  request.data_len = 3;
  EXPECT_EQ(hwpt(request), -EINVAL) << "shorter than the structure ever was";
  request.data_len = sizeof(mabi::HwptData) + 1;
  EXPECT_EQ(hwpt(request), -EINVAL) << "longer than it is";
  request.data_len = 1 << 30;
  EXPECT_EQ(hwpt(request), -EINVAL);
  request.data_type = 1;
  EXPECT_EQ(hwpt(request), -EOPNOTSUPP) << "another driver's";
}

TEST_F(HwptAllocTest, ANestedOneTakesTheFirstFieldAlone) {
  fd::HwptAlloc request = nested_request(device_, parent_);
  request.data_len = 4;
  EXPECT_GT(hwpt(request), 0);
}

TEST_F(HwptAllocTest, ANestedOneNeedsANestParent) {
  const auto plain = static_cast<std::uint32_t>(alloc_hwpt(device_.id, ioas_));
  EXPECT_EQ(hwpt(nested_request(device_, plain)), -EINVAL);
  EXPECT_EQ(hwpt(nested_request(device_, device_.hwpt)), -EINVAL) << "an automatic page table";
  EXPECT_EQ(hwpt(nested_request(device_, nested(device_, parent_))), -EINVAL) << "nested on nested";
}

TEST_F(HwptAllocTest, ANestedOneNeedsData) {
  fd::HwptAlloc request{};
  request.dev_id = device_.id;
  request.pt_id = parent_;
  EXPECT_EQ(hwpt(request), -EOPNOTSUPP);
}

TEST_F(HwptAllocTest, ANestedOneKnowsTwoFlags) {
  EXPECT_EQ(hwpt(nested_request(device_, parent_, fd::kHwptNestParent)), -EOPNOTSUPP);
  EXPECT_EQ(hwpt(nested_request(device_, parent_, fd::kHwptDirtyTracking)), -EOPNOTSUPP);
  EXPECT_EQ(hwpt(nested_request(device_, parent_, 1u << 31)), -EOPNOTSUPP);
  EXPECT_GT(hwpt(nested_request(device_, parent_, fd::kHwptPasid)), 0);
}

TEST_F(HwptAllocTest, ANestedOneKeepsItsParent) {
  const auto child = nested(device_, parent_);
  EXPECT_EQ(destroy(parent_), -EBUSY);
  EXPECT_EQ(destroy(child), 0);
  EXPECT_EQ(destroy(parent_), 0);
}

TEST_F(HwptAllocTest, ANestParentTakesNoFaultQueue) {
  fd::HwptAlloc request{};
  request.flags = fd::kHwptNestParent | fd::kHwptFaultIdValid;
  request.dev_id = device_.id;
  request.pt_id = ioas_;
  request.fault_id = fault_queue().id;
  EXPECT_EQ(hwpt(request), -EOPNOTSUPP);
}

TEST_F(HwptAllocTest, AnUnknownFaultQueueLeavesNothing) {
  fd::HwptAlloc request = nested_request(device_, parent_, fd::kHwptFaultIdValid);
  request.fault_id = 9999;
  EXPECT_EQ(hwpt(request), -ENOENT);
  EXPECT_EQ(destroy(parent_), 0) << "no nested page table is left on it";
}

TEST_F(HwptAllocTest, AnAnswerThatCannotBeWrittenLeavesNothing) {
  Pages page(2);
  fd::HwptAlloc& request = *reinterpret_cast<fd::HwptAlloc*>(page.at(kPageSize));
  request = nested_request(device_, parent_);
  request.size = sizeof request;
  ASSERT_EQ(mprotect(page.at(kPageSize), kPageSize, PROT_READ), 0);
  EXPECT_EQ(call(iommufd_, fd::kHwptAlloc, &request), -EFAULT);
  EXPECT_EQ(destroy(parent_), 0);
}

TEST_F(HwptAllocTest, AUnitInLegacyModeTakesNoDataAndMakesNoNestedOnes) {
  const int file = open_cdev();
  const auto id = static_cast<std::uint32_t>(bind(file));
  const MockDevice real{0, 0, id};
  EXPECT_EQ(alloc_hwpt(id, ioas_, fd::kHwptNestParent), -EOPNOTSUPP);
  EXPECT_EQ(hwpt(nested_request(real, ioas_)), -EOPNOTSUPP);
  EXPECT_EQ(hwpt(nested_request(real, parent_)), -EINVAL) << "the parent is another driver's";
  EXPECT_EQ(viommu(real, parent_), -EOPNOTSUPP);
}

TEST_F(HwptAllocTest, HwInfoSaysHowWidePasidsAre) {
  const MockDevice with = mock_device(ioas_, mabi::kDevicePasid);
  fd::HwInfo info{};
  info.dev_id = with.id;
  ASSERT_EQ(command(fd::kGetHwInfo, info), 0);
  EXPECT_EQ(info.out_max_pasid_log2, mabi::kPasidBits);
  info = {};
  info.dev_id = device_.id;
  ASSERT_EQ(command(fd::kGetHwInfo, info), 0);
  EXPECT_EQ(info.out_max_pasid_log2, 0);
}

}  // namespace
}  // namespace softiommu::test
