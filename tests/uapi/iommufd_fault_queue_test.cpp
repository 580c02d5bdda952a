// SPDX-License-Identifier: BSD-3-Clause
// FAULT_QUEUE_ALLOC and the file it makes: page requests are read from it, answers written to it.
#include <poll.h>

#include "base/fault.h"
#include "mock_rig.h"

namespace softiommu::test {
namespace {

class FaultQueueTest : public MockTest {
 protected:
  void SetUp() override {
    MockTest::SetUp();
    device_ = mock_device(ioas_);
    parent_ = nest_parent(device_);
    queue_ = fault_queue();
    hwpt_ = faulting(device_, parent_, queue_);
    EXPECT_EQ(move(device_, hwpt_), 0);
  }
  short events() { return program_[queue_.file].poll(); }
  ssize_t read_records(std::size_t room) {
    records_.assign(room, {});
    return read(queue_.file, records_);
  }
  ssize_t answer(std::vector<fd::PageResponse> responses) { return write(queue_.file, responses); }
  static constexpr ssize_t kRecord = sizeof(fd::PageFault), kResponse = sizeof(fd::PageResponse);

  MockDevice device_;
  std::uint32_t parent_ = 0, hwpt_ = 0;
  Queue queue_;
  std::vector<fd::PageFault> records_;
};

TEST_F(FaultQueueTest, ARequestIsReadWithWhatTheDeviceAsked) {
  ASSERT_EQ(page_request(device_, 1, 0xdeadbeaf), 0);
  ASSERT_EQ(read_records(1), kRecord);
  EXPECT_EQ(records_[0].flags, fd::kPageFaultPasidValid | fd::kPageFaultLastPage);
  EXPECT_EQ(records_[0].dev_id, device_.id);
  EXPECT_EQ(records_[0].pasid, 1u);
  EXPECT_EQ(records_[0].grpid, 2u);
  EXPECT_EQ(records_[0].perm, 3u);
  EXPECT_EQ(records_[0].addr, 0xdeadbeafu);
  EXPECT_NE(records_[0].cookie, 0u);
}

TEST_F(FaultQueueTest, NothingToReadIsZeroAndNeverWaits) {
  EXPECT_EQ(read_records(4), 0);
  EXPECT_EQ(read_records(0), 0);
}

TEST_F(FaultQueueTest, PollSaysWhetherARequestWaits) {
  EXPECT_EQ(events(), POLLOUT);
  page_request(device_);
  EXPECT_EQ(events(), POLLOUT | POLLIN | POLLRDNORM);
  read_records(1);
  EXPECT_EQ(events(), POLLOUT);
}

TEST_F(FaultQueueTest, AReadTakesAsManyAsFit) {
  for (int i = 0; i < 3; ++i) page_request(device_);
  EXPECT_EQ(read_records(2), 2 * kRecord);
  EXPECT_NE(records_[0].cookie, records_[1].cookie);
  EXPECT_EQ(read_records(2), kRecord);
}

TEST_F(FaultQueueTest, AReadOfNoWholeRecordsIsESPIPE) {
  std::vector<char> odd(kRecord + 1);
  EXPECT_EQ(read(queue_.file, odd), -ESPIPE);
}

TEST_F(FaultQueueTest, AReadWithoutRoomIsEINVALOnlyIfARequestWaits) {
  page_request(device_);
  EXPECT_EQ(read_records(0), -EINVAL);
}

TEST_F(FaultQueueTest, AReadIntoBadMemoryLeavesTheRequest) {
  page_request(device_);
  EXPECT_EQ(program_[queue_.file].pread(8, kRecord, 0), -EFAULT);
  EXPECT_EQ(read_records(1), kRecord);
}

TEST_F(FaultQueueTest, AReadWithoutMemoryLeavesTheRequest) {
  page_request(device_);
  fault::fail_point("iommufd.fault_read");
  EXPECT_EQ(read_records(1), -ENOMEM);
  fault::disarm();
  EXPECT_EQ(read_records(1), kRecord);
}

TEST_F(FaultQueueTest, ARequestIsAnsweredOnce) {
  page_request(device_);
  read_records(1);
  const std::uint32_t cookie = records_[0].cookie;
  EXPECT_EQ(answer({{cookie, fd::kPageResponseSuccess}}), kResponse);
  EXPECT_EQ(answer({{cookie, fd::kPageResponseSuccess}}), -EINVAL);
}

TEST_F(FaultQueueTest, OnlyWhatWasReadCanBeAnswered) {
  page_request(device_);
  EXPECT_EQ(answer({{1, fd::kPageResponseSuccess}}), -EINVAL);
}

TEST_F(FaultQueueTest, AnUnknownCodeAnswersNothing) {
  page_request(device_);
  read_records(1);
  EXPECT_EQ(answer({{records_[0].cookie, 2}}), -EINVAL);
  EXPECT_EQ(answer({{records_[0].cookie, fd::kPageResponseInvalid}}), kResponse);
}

TEST_F(FaultQueueTest, AWriteCountsWhatCameBeforeTheError) {
  page_request(device_);
  read_records(1);
  EXPECT_EQ(answer({{records_[0].cookie, 0}, {77, 0}}), kResponse);
  EXPECT_EQ(program_[queue_.file].pwrite(8, kResponse, 0), -EFAULT);
  EXPECT_EQ(program_[queue_.file].pwrite(8, kResponse - 1, 0), -ESPIPE);
}

TEST_F(FaultQueueTest, ADetachEndsWhatWaitsAndWhatWasRead) {
  page_request(device_);
  page_request(device_);
  read_records(1);
  ASSERT_EQ(move(device_, parent_), 0);
  EXPECT_EQ(read_records(1), 0);
  EXPECT_EQ(answer({{1, fd::kPageResponseSuccess}}), -EINVAL) << "it was answered for the program";
}

TEST_F(FaultQueueTest, RequestsOfAnotherAttachStay) {
  const MockDevice other = mock_device(ioas_);
  const auto others = faulting(other, parent_, queue_);
  ASSERT_EQ(move(other, others), 0);
  page_request(device_);
  page_request(other);
  ASSERT_EQ(move(device_, parent_), 0);
  ASSERT_EQ(read_records(2), kRecord);
  EXPECT_EQ(records_[0].dev_id, other.id);
}

TEST_F(FaultQueueTest, PasidsOfAUserTableComeThroughTheNestedDomain) {
  page_request(device_, 42);
  ASSERT_EQ(read_records(1), kRecord);
  EXPECT_EQ(records_[0].pasid, 42u);
}

TEST_F(FaultQueueTest, AnOpenFileAndAPageTableKeepIt) {
  EXPECT_EQ(destroy(queue_.id), -EBUSY);
  program_.close(queue_.file);
  EXPECT_EQ(destroy(queue_.id), -EBUSY) << "the page table uses it";
  ASSERT_EQ(move(device_, ioas_), 0);
  EXPECT_EQ(destroy(hwpt_), 0);
  EXPECT_EQ(destroy(queue_.id), 0);
}

TEST_F(FaultQueueTest, ItsFileOutlivesTheIommufd) {
  page_request(device_);
  program_.close(iommufd_);
  EXPECT_EQ(read_records(1), kRecord);
}

TEST_F(FaultQueueTest, ItsFileIsAnonymousAndHasNoPosition) {
  EXPECT_EQ(program_[queue_.file].path(), "anon_inode:[iommufd-pgfault]");
  EXPECT_FALSE(program_[queue_.file].has_position());
  EXPECT_EQ(call(queue_.file, fd::kDestroy), -ENOTTY);
}

TEST_F(FaultQueueTest, WithoutADescriptorNothingIsMade) {
  const Queue before = fault_queue();
  program_.close(before.file);
  ASSERT_EQ(destroy(before.id), 0);
  program_.install_errno = EMFILE;
  fd::FaultQueueAlloc request{};
  EXPECT_EQ(command(fd::kFaultQueueAlloc, request), -EMFILE);
  EXPECT_EQ(fault_queue().id, before.id) << "the lowest free id is still free";
}

TEST_F(FaultQueueTest, AnAnswerThatCannotBeWrittenLeavesNeitherQueueNorDescriptor) {
  const Queue before = fault_queue();
  program_.close(before.file);
  ASSERT_EQ(destroy(before.id), 0);
  Pages page(1);
  auto& request = *reinterpret_cast<fd::FaultQueueAlloc*>(page.at());
  request.size = sizeof request;
  ASSERT_EQ(mprotect(page.at(), kPageSize, PROT_READ), 0);
  EXPECT_EQ(call(iommufd_, fd::kFaultQueueAlloc, &request), -EFAULT);
  EXPECT_EQ(fault_queue().id, before.id);
}

TEST_F(FaultQueueTest, WhatNobodyHandlesIsNotQueued) {
  const MockDevice other = mock_device(ioas_);
  EXPECT_EQ(page_request(other), 0) << "the device asks all the same";
  EXPECT_EQ(read_records(1), 0);
}

}  // namespace
}  // namespace softiommu::test
