// SPDX-License-Identifier: BSD-3-Clause
// PASIDs of a bound device: which page tables may be attached to them, and what else is attached then.
#include "mock_rig.h"

namespace softiommu::test {
namespace {

class PasidTest : public MockTest {
 protected:
  static constexpr std::uint32_t kPasid = 100;

  void SetUp() override {
    MockTest::SetUp();
    device_ = mock_device(ioas_, mabi::kDevicePasid);
    for (std::uint32_t* made : {&first_, &second_})
      *made = static_cast<std::uint32_t>(alloc_hwpt(device_.id, ioas_, fd::kHwptPasid));
    plain_ = static_cast<std::uint32_t>(alloc_hwpt(device_.id, ioas_));
    EXPECT_EQ(move(device_, first_), 0);
  }
  long attach(std::uint32_t pt, std::uint32_t of = kPasid) { return pasid(tabi::Op::pasid_attach, device_, of, pt); }
  long replace(std::uint32_t pt, std::uint32_t of = kPasid) { return pasid(tabi::Op::pasid_replace, device_, of, pt); }
  long detach(std::uint32_t of = kPasid) { return pasid(tabi::Op::pasid_detach, device_, of, 0); }
  // 0: on none.
  bool is_on(std::uint32_t pt, std::uint32_t of = kPasid) {
    return pasid(tabi::Op::pasid_check_hwpt, device_, of, pt) == 0;
  }

  MockDevice device_;
  std::uint32_t first_ = 0, second_ = 0, plain_ = 0;
};

TEST_F(PasidTest, IsAttachedReplacedAndDetached) {
  ASSERT_EQ(attach(first_), 0);
  EXPECT_TRUE(is_on(first_));
  ASSERT_EQ(replace(second_), 0);
  EXPECT_TRUE(is_on(second_));
  EXPECT_EQ(detach(), 0);
  EXPECT_TRUE(is_on(0));
  EXPECT_EQ(detach(), 0) << "nothing is attached";
}

TEST_F(PasidTest, NeedsAPageTableThatWasMadeForIt) {
  EXPECT_EQ(attach(plain_), -EINVAL);
  EXPECT_EQ(attach(ioas_), -EINVAL) << "and those of an address space are not";
  EXPECT_EQ(attach(9999), -ENOENT);
  EXPECT_EQ(attach(device_.id), -EINVAL);
  EXPECT_TRUE(is_on(0));
}

TEST_F(PasidTest, NeedsThatTheDeviceIsOnOneToo) {
  ASSERT_EQ(move(device_, plain_), 0);
  EXPECT_EQ(attach(first_), -EINVAL);
}

TEST_F(PasidTest, KeepsTheDeviceOnPageTablesMadeForIt) {
  ASSERT_EQ(attach(first_), 0);
  EXPECT_EQ(move(device_, plain_), -EINVAL);
  EXPECT_EQ(move(device_, second_), 0);
  ASSERT_EQ(detach(), 0);
  EXPECT_EQ(move(device_, plain_), 0);
}

TEST_F(PasidTest, IsBusyOnceAttached) {
  ASSERT_EQ(attach(first_), 0);
  EXPECT_EQ(attach(first_), -EBUSY);
  EXPECT_EQ(attach(second_), -EBUSY);
}

TEST_F(PasidTest, CannotBeReplacedBeforeItIsAttached) {
  EXPECT_EQ(replace(first_), -EINVAL);
  ASSERT_EQ(attach(first_), 0);
  EXPECT_EQ(replace(ioas_), -EINVAL);
  EXPECT_TRUE(is_on(first_));
}

TEST_F(PasidTest, IsTooWideFromABound) {
  EXPECT_EQ(attach(first_, 1u << mabi::kPasidBits), -EINVAL);
  EXPECT_EQ(attach(first_, (1u << mabi::kPasidBits) - 1), 0);
}

TEST_F(PasidTest, StaysWhereItIsIfTheHardwareFails) {
  ASSERT_EQ(attach(first_, mabi::kPasidThatFails), 0);
  EXPECT_EQ(replace(second_, mabi::kPasidThatFails), -ENOMEM);
  EXPECT_TRUE(is_on(first_, mabi::kPasidThatFails));
  EXPECT_EQ(destroy(second_), 0) << "the failed replacement does not use it";
}

TEST_F(PasidTest, UsesItsPageTable) {
  ASSERT_EQ(attach(second_), 0);
  EXPECT_EQ(destroy(second_), -EBUSY);
  ASSERT_EQ(detach(), 0);
  EXPECT_EQ(destroy(second_), 0);
}

TEST_F(PasidTest, EndsWithItsDevice) {
  ASSERT_EQ(attach(second_), 0);
  ASSERT_EQ(destroy(device_.object), 0);
  EXPECT_EQ(destroy(second_), 0);
}

TEST_F(PasidTest, PageTableHoldsWhatTheAddressSpaceMaps) {
  Pages pages(2);
  ASSERT_EQ(map_fixed(ioas_, mabi::kApertureFirst, pages.address(), kPageSize), 0);
  ASSERT_EQ(attach(second_), 0) << "it holds what the address space maps";
  EXPECT_EQ(unmap_range(ioas_, mabi::kApertureFirst, kPageSize), static_cast<std::int64_t>(kPageSize));
}

TEST_F(PasidTest, RequestsOfItGoToItsFaultQueue) {
  const std::uint32_t parent = nest_parent(device_);
  const Queue queue = fault_queue();
  const std::uint32_t faults = faulting(device_, parent, queue, fd::kHwptPasid);
  ASSERT_EQ(attach(faults), 0);
  ASSERT_EQ(page_request(device_, kPasid), 0);
  std::vector<fd::PageFault> records(1);
  ASSERT_EQ(read(queue.file, records), static_cast<ssize_t>(sizeof(fd::PageFault)));
  EXPECT_EQ(records[0].pasid, kPasid);
  ASSERT_EQ(page_request(device_, kPasid), 0);
  ASSERT_EQ(replace(first_), 0);
  EXPECT_EQ(read(queue.file, records), 0) << "the replacement answered it";
}

}  // namespace
}  // namespace softiommu::test
