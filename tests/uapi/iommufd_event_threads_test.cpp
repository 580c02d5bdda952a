// SPDX-License-Identifier: BSD-3-Clause
// Queues filled by devices while a program reads, answers, moves the device and destroys: each page request is answered
// once, each event is read or told as lost, and nothing waits for ever.
#include <atomic>
#include <optional>
#include <thread>

#include "mock_rig.h"

namespace softiommu::test {
namespace {

constexpr int kRounds = 400;

class EventThreads : public MockTest {
 protected:
  void SetUp() override {
    MockTest::SetUp();
    device_ = mock_device(ioas_, mabi::kDevicePasid);
    parent_ = nest_parent(device_);
  }
  // Runs `work` over and over until the rounds of the test are done.
  template <class Work>
  std::jthread beside(Work&& work) {
    return std::jthread([this, work = std::forward<Work>(work)]() mutable {
      while (!done_.load()) work();
    });
  }

  MockDevice device_;
  std::uint32_t parent_ = 0;
  std::atomic<bool> done_{false};
};

TEST_F(EventThreads, PageRequestsBesideReadsAnswersAndMoves) {
  const Queue queue = fault_queue();
  const std::uint32_t first = faulting(device_, parent_, queue), second = faulting(device_, parent_, queue);
  File& file = program_[queue.file];
  ASSERT_EQ(move(device_, first), 0);
  std::atomic<unsigned> answered{0};
  {
    const auto requests = beside([&] { page_request(device_); });
    const auto pasid_requests = beside([&] { page_request(device_, 7); });
    const auto reader = beside([&] {
      fd::PageFault records[4]{};
      const ssize_t got = file.pread(address(records), sizeof records, 0);
      for (ssize_t i = 0; i < got / static_cast<ssize_t>(sizeof *records); ++i) {
        const fd::PageResponse response{records[i].cookie, fd::kPageResponseSuccess};
        if (file.pwrite(address(&response), sizeof response, 0) > 0) ++answered;
      }
      file.poll();
    });
    for (int i = 0; i < kRounds; ++i) EXPECT_EQ(move(device_, i % 2 == 0 ? second : first), 0);
    done_ = true;
  }
  ASSERT_EQ(move(device_, ioas_), 0);
  std::vector<fd::PageFault> left(1);
  EXPECT_EQ(read(queue.file, left), 0) << "the last move answered what was left";
  EXPECT_EQ(destroy(first), 0);
  EXPECT_EQ(destroy(second), 0);
}

TEST_F(EventThreads, EventsBesideReadsAndQueuesThatComeAndGo) {
  const auto viommu_id = static_cast<std::uint32_t>(viommu(device_, parent_));
  ASSERT_GT(vdevice(viommu_id, device_, 0x99), 0);
  ASSERT_EQ(move(device_, nested(device_, viommu_id)), 0);
  const auto events = beside([&] { event(device_); });
  for (int i = 0; i < kRounds; ++i) {
    fd::VeventqAlloc request{0, 0, viommu_id, mabi::kVeventqType, 4, 0, 0, 0};
    ASSERT_EQ(command(fd::kVeventqAlloc, request), 0);
    const int file = static_cast<int>(request.out_veventq_fd);
    std::vector<std::byte> bytes(256);
    EXPECT_GE(read(file, bytes), 0);
    program_.close(file);
    EXPECT_EQ(destroy(request.out_veventq_id), 0);
  }
  done_ = true;
}

TEST_F(EventThreads, PasidsBesideInvalidationsAndRequests) {
  const Queue queue = fault_queue();
  const std::uint32_t plain = static_cast<std::uint32_t>(alloc_hwpt(device_.id, ioas_, fd::kHwptPasid));
  const std::uint32_t faults = faulting(device_, parent_, queue, fd::kHwptPasid);
  ASSERT_EQ(move(device_, plain), 0);
  const auto requests = beside([&] { page_request(device_, 5); });
  const auto invalidations = beside([&] {
    const mabi::HwptInvalidate entries[] = {{0, 0}, {0, 1}};
    fd::HwptInvalidate request{0, faults, address(entries), mabi::kHwptInvalidateType, sizeof *entries, 2, 0};
    EXPECT_EQ(command(fd::kHwptInvalidate, request), 0);
  });
  for (int i = 0; i < kRounds; ++i) {
    tabi::Command ask{};
    ask.id = device_.object;
    ask.pasid_attach = {5, faults};
    EXPECT_EQ(test(tabi::Op::pasid_attach, ask), 0);
    ask = {};
    ask.id = device_.object;
    ask.pasid_detach = {5};
    EXPECT_EQ(test(tabi::Op::pasid_detach, ask), 0);
  }
  done_ = true;
}

}  // namespace
}  // namespace softiommu::test
