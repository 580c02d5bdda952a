// SPDX-License-Identifier: BSD-3-Clause
// VIOMMU_ALLOC with its mmap, VDEVICE_ALLOC, HW_QUEUE_ALLOC: what a guest's IOMMU is made of, and who keeps whom.
#include "mock_rig.h"

namespace softiommu::test {
namespace {

class ViommuTest : public MockTest {
 protected:
  void SetUp() override {
    MockTest::SetUp();
    device_ = mock_device(ioas_);
    parent_ = nest_parent(device_);
    viommu_ = static_cast<std::uint32_t>(viommu(device_, parent_));
  }
  // With data: what the mock answers in it.
  std::pair<long, std::uint32_t> with_data(mabi::ViommuData& data, std::uint32_t bytes = sizeof(mabi::ViommuData)) {
    fd::ViommuAlloc request{0, 0, mabi::kViommuType, device_.id, parent_, 0, bytes, 0, address(&data)};
    const long answer = command(fd::kViommuAlloc, request);
    return {answer, request.out_viommu_id};
  }
  int map(std::uint64_t offset, std::uint64_t bytes, MmapPlan& plan, int prot = PROT_READ | PROT_WRITE,
          int flags = MAP_SHARED) {
    return program_[iommufd_].mmap(offset, bytes, prot, flags, plan);
  }
  std::int64_t queue(std::uint32_t index, std::uint64_t iova, std::uint64_t bytes,
                     std::uint32_t type = mabi::kHwQueueType) {
    return hw_queue(viommu_, index, iova, bytes, type);
  }

  MockDevice device_;
  std::uint32_t parent_ = 0, viommu_ = 0;
};

TEST_F(ViommuTest, NeedsATypeThatIsOfferedAndANestParent) {
  EXPECT_EQ(viommu(device_, parent_, 0), -EOPNOTSUPP);
  EXPECT_EQ(viommu(device_, parent_, 0xdead), -EOPNOTSUPP);
  EXPECT_EQ(viommu(device_, device_.hwpt), -EINVAL);
}

TEST_F(ViommuTest, KeepsItsParent) {
  EXPECT_EQ(destroy(parent_), -EBUSY);
  EXPECT_EQ(destroy(viommu_), 0);
  EXPECT_EQ(destroy(parent_), 0);
}

TEST_F(ViommuTest, IsKeptByItsPageTables) {
  const auto child = nested(device_, viommu_);
  EXPECT_EQ(destroy(viommu_), -EBUSY);
  EXPECT_EQ(destroy(child), 0);
  EXPECT_EQ(destroy(viommu_), 0);
}

TEST_F(ViommuTest, TakesOnlyDevicesOfItsIommu) {
  const MockDevice real{0, 0, static_cast<std::uint32_t>(bind(open_cdev()))};
  EXPECT_EQ(hwpt(nested_request(real, viommu_)), -EINVAL);
  EXPECT_EQ(vdevice(viommu_, real, 1), -EINVAL);
}

// ---- data and mmap

TEST_F(ViommuTest, AnswersInTheProgramsData) {
  mabi::ViommuData data{.in_data = 0xbeef, .out_data = 0, .out_mmap_offset = 0, .out_mmap_length = 0};
  ASSERT_EQ(with_data(data).first, 0);
  EXPECT_EQ(data.out_data, 0xbeefu);
  EXPECT_EQ(data.out_mmap_length, 2 * kPageSize);
  EXPECT_NE(data.out_mmap_offset, 0u);
}

TEST_F(ViommuTest, DataHasALengthBetweenTheFirstAndTheLast) {
  mabi::ViommuData data{};
  EXPECT_EQ(with_data(data, 7).first, -EINVAL);
  EXPECT_EQ(with_data(data, sizeof data + 8).first, -EINVAL);
  data.out_mmap_length = 5;
  EXPECT_EQ(with_data(data, 8).first, 0);
  EXPECT_EQ(data.out_mmap_length, 5u) << "beyond what the program gave nothing is written";
}

TEST_F(ViommuTest, DataThatCannotBeWrittenBackLeavesNothing) {
  Pages page(1);
  auto& data = *reinterpret_cast<mabi::ViommuData*>(page.at());
  ASSERT_EQ(mprotect(page.at(), kPageSize, PROT_READ), 0);
  EXPECT_EQ(with_data(data).first, -EFAULT);
  EXPECT_EQ(destroy(viommu_), 0);
  EXPECT_EQ(destroy(parent_), 0) << "no virtual IOMMU is left on it";
}

TEST_F(ViommuTest, ItsPageIsMappedWholeOrNotAtAll) {
  mabi::ViommuData data{.in_data = 0xbeef, .out_data = 0, .out_mmap_offset = 0, .out_mmap_length = 0};
  ASSERT_EQ(with_data(data).first, 0);
  const std::uint64_t at = data.out_mmap_offset, bytes = data.out_mmap_length;
  MmapPlan plan;
  EXPECT_EQ(map(at + kPageSize, bytes, plan), -ENXIO);
  EXPECT_EQ(map(at, bytes / 2, plan), -ENXIO);
  EXPECT_EQ(map(at, bytes * 2, plan), -ENXIO);
  EXPECT_EQ(map(at, bytes - 1, plan), -EINVAL);
  EXPECT_EQ(map(at, bytes, plan, PROT_READ | PROT_WRITE, MAP_PRIVATE), -EINVAL);
  EXPECT_EQ(map(at, bytes, plan, PROT_READ | PROT_EXEC), -EPERM);
  ASSERT_EQ(map(at, bytes, plan), 0);
  EXPECT_EQ(plan.kind, MmapPlan::Kind::memory);
  std::uint32_t seen = 0;
  EXPECT_EQ(pread(plan.descriptor, &seen, sizeof seen, static_cast<off_t>(plan.offset)), 4);
  EXPECT_EQ(seen, 0xbeefu);
}

TEST_F(ViommuTest, AMappingKeepsIt) {
  mabi::ViommuData data{};
  const auto made = with_data(data);
  {
    MmapPlan plan;
    ASSERT_EQ(map(data.out_mmap_offset, data.out_mmap_length, plan), 0);
    EXPECT_EQ(destroy(made.second), -EBUSY);
  }
  EXPECT_EQ(destroy(made.second), 0);
  MmapPlan plan;
  EXPECT_EQ(map(data.out_mmap_offset, data.out_mmap_length, plan), -ENXIO) << "the offset went with it";
}

TEST_F(ViommuTest, OffsetsAreUsedAgain) {
  mabi::ViommuData first{}, second{}, third{};
  const auto made = with_data(first);
  ASSERT_EQ(with_data(second).first, 0);
  EXPECT_GE(second.out_mmap_offset, first.out_mmap_offset + first.out_mmap_length);
  ASSERT_EQ(destroy(made.second), 0);
  ASSERT_EQ(with_data(third).first, 0);
  EXPECT_EQ(third.out_mmap_offset, first.out_mmap_offset);
}

// ---- names of devices

TEST_F(ViommuTest, ANameIsGivenOnceAndADeviceHasOne) {
  const MockDevice other = mock_device(ioas_);
  const auto name = vdevice(viommu_, device_, 0x99);
  ASSERT_GT(name, 0);
  EXPECT_EQ(vdevice(viommu_, device_, 0x88), -EEXIST) << "the device has a name";
  EXPECT_EQ(vdevice(viommu_, other, 0x99), -EEXIST) << "the name is taken";
  EXPECT_EQ(destroy(static_cast<std::uint32_t>(name)), 0);
  EXPECT_GT(vdevice(viommu_, other, 0x99), 0);
  EXPECT_GT(vdevice(viommu_, device_, 0x88), 0);
}

TEST_F(ViommuTest, ANameKeepsItsIommu) {
  const auto name = vdevice(viommu_, device_, 0x99);
  EXPECT_EQ(destroy(viommu_), -EBUSY);
  EXPECT_EQ(destroy(static_cast<std::uint32_t>(name)), 0);
  EXPECT_EQ(destroy(viommu_), 0);
}

TEST_F(ViommuTest, ADeviceNeedsANameForAGuestsPageTable) {
  const auto child = nested(device_, viommu_);
  EXPECT_EQ(move(device_, child), -ENOENT);
  ASSERT_GT(vdevice(viommu_, device_, 0x99), 0);
  EXPECT_EQ(move(device_, child), 0);
}

TEST_F(ViommuTest, ANameEndsWithItsDeviceAndItsIdIsNotGivenAgain) {
  const auto name = static_cast<std::uint32_t>(vdevice(viommu_, device_, 0x99));
  ASSERT_EQ(destroy(device_.object), 0);
  EXPECT_EQ(destroy(name), -ENOENT);
  for (int i = 0; i < 8; ++i) EXPECT_NE(alloc_ioas(), name);
  EXPECT_EQ(destroy(viommu_), 0) << "the name does not keep it any more";
}

// ---- queues of the hardware

TEST_F(ViommuTest, AQueueSaysWhatIsWrongInLinuxsOrder) {
  EXPECT_EQ(queue(0, ~std::uint64_t{0}, 0, 0), -EOPNOTSUPP);
  EXPECT_EQ(queue(0, mabi::kApertureFirst, 0), -EINVAL);
  EXPECT_EQ(queue(0, ~std::uint64_t{0}, 4096), -EOVERFLOW);
  EXPECT_EQ(queue(0, mabi::kApertureFirst, 4096, 1), -EOPNOTSUPP) << "another kind of queue";
  EXPECT_EQ(queue(9, mabi::kApertureFirst, 4096), -ENOENT) << "the memory before the index";
}

TEST_F(ViommuTest, QueuesDependOnEachOther) {
  Pages pages(1);
  ASSERT_EQ(map_fixed(ioas_, mabi::kApertureFirst, pages.address(), kPageSize), 0);
  EXPECT_EQ(queue(1, mabi::kApertureFirst, kPageSize), -EIO) << "the one before it is missing";
  EXPECT_EQ(queue(2, mabi::kApertureFirst, kPageSize), -EINVAL);
  const auto first = queue(0, mabi::kApertureFirst, kPageSize);
  ASSERT_GT(first, 0);
  EXPECT_EQ(queue(0, mabi::kApertureFirst, kPageSize), -EEXIST);
  const auto second = queue(1, mabi::kApertureFirst + kPageSize / 2, kPageSize / 2);
  ASSERT_GT(second, 0);
  EXPECT_EQ(destroy(static_cast<std::uint32_t>(first)), -EBUSY);
  EXPECT_EQ(destroy(viommu_), -EBUSY);
  EXPECT_EQ(destroy(static_cast<std::uint32_t>(second)), 0);
  EXPECT_EQ(destroy(static_cast<std::uint32_t>(first)), 0);
}

TEST_F(ViommuTest, AQueuesMemoryStaysMapped) {
  Pages pages(2);
  const std::uint64_t first = mabi::kApertureFirst, second = first + kPageSize;
  ASSERT_EQ(map_fixed(ioas_, first, pages.address(), kPageSize), 0);
  ASSERT_EQ(map_fixed(ioas_, second, pages.address() + kPageSize, kPageSize), 0);
  const auto made = queue(0, first + 64, 128);
  ASSERT_GT(made, 0);
  EXPECT_EQ(unmap_range(ioas_, first, kPageSize), -EBUSY);
  EXPECT_EQ(unmap_range(ioas_, second, kPageSize), static_cast<std::int64_t>(kPageSize));
  EXPECT_EQ(destroy(static_cast<std::uint32_t>(made)), 0);
  EXPECT_EQ(unmap_range(ioas_, first, kPageSize), static_cast<std::int64_t>(kPageSize));
}

TEST_F(ViommuTest, AQueueNeedsContiguousMemory) {
  Pages pages(3);
  const std::uint64_t first = mabi::kApertureFirst;
  ASSERT_EQ(map_fixed(ioas_, first, pages.address() + 2 * kPageSize, kPageSize), 0);
  ASSERT_EQ(map_fixed(ioas_, first + kPageSize, pages.address(), kPageSize), 0);
  EXPECT_EQ(queue(0, first, 2 * kPageSize), -EFAULT);
  EXPECT_EQ(unmap_range(ioas_, first, 2 * kPageSize), 2 * static_cast<std::int64_t>(kPageSize)) << "nothing is pinned";
}

}  // namespace
}  // namespace softiommu::test
