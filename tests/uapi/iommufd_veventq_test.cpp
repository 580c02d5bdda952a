// SPDX-License-Identifier: BSD-3-Clause
// VEVENTQ_ALLOC and the file it makes: a guest's events, in order, with what was lost.
#include <poll.h>

#include <optional>

#include "base/fault.h"
#include "mock_rig.h"

namespace softiommu::test {
namespace {

class VeventqTest : public MockTest {
 protected:
  static constexpr std::uint32_t kName = 0x99;

  void SetUp() override {
    MockTest::SetUp();
    device_ = mock_device(ioas_);
    viommu_ = static_cast<std::uint32_t>(viommu(device_, nest_parent(device_)));
    EXPECT_GT(vdevice(viommu_, device_, kName), 0);
    EXPECT_EQ(move(device_, nested(device_, viommu_)), 0);
  }
  long alloc(fd::VeventqAlloc request) {
    const long answer = command(fd::kVeventqAlloc, request);
    if (answer == 0) queue_ = {request.out_veventq_id, static_cast<int>(request.out_veventq_fd)};
    return answer;
  }
  fd::VeventqAlloc of_depth(std::uint32_t depth) { return {0, 0, viommu_, mabi::kVeventqType, depth, 0, 0, 0}; }
  void trigger(int count) {
    for (int i = 0; i < count; ++i) EXPECT_EQ(event(device_), 0);
  }
  // What is read: sequence numbers, with "lost" behind the last.
  std::string read_all(std::size_t room = 4096) {
    std::vector<std::byte> bytes(room);
    const ssize_t got = read(queue_.file, bytes);
    if (got < 0) return std::to_string(got);
    std::string text;
    for (std::size_t at = 0; at < static_cast<std::size_t>(got);) {
      fd::VeventHeader header;
      std::memcpy(&header, &bytes[at], sizeof header);
      at += sizeof header;
      text += std::to_string(header.sequence);
      if (header.flags == fd::kVeventLostEvents) {
        text += "lost ";
        continue;
      }
      mabi::ViommuEvent name;
      std::memcpy(&name, &bytes[at], sizeof name);
      at += sizeof name;
      text += name.virt_id == kName ? " " : "? ";
    }
    return text;
  }
  static constexpr std::size_t kHeader = sizeof(fd::VeventHeader), kEvent = kHeader + sizeof(mabi::ViommuEvent);

  MockDevice device_;
  std::uint32_t viommu_ = 0;
  Queue queue_;
};

TEST_F(VeventqTest, EventsAreReadInOrderWithTheGuestsName) {
  ASSERT_EQ(alloc(of_depth(8)), 0);
  trigger(3);
  EXPECT_EQ(read_all(), "0 1 2 ");
  trigger(1);
  EXPECT_EQ(read_all(), "3 ");
}

TEST_F(VeventqTest, WhatDoesNotFitIsLostAndTold) {
  ASSERT_EQ(alloc(of_depth(2)), 0);
  trigger(4);
  EXPECT_EQ(read_all(), "0 1 3lost ");
  trigger(1);
  EXPECT_EQ(read_all(), "4 ");
}

TEST_F(VeventqTest, AnEventAfterALossTellsItByItsNumber) {
  ASSERT_EQ(alloc(of_depth(2)), 0);
  trigger(3);
  EXPECT_EQ(read_all(kEvent), "0 ");
  trigger(1);
  EXPECT_EQ(read_all(), "1 3 ");
}

TEST_F(VeventqTest, AnEventWithoutMemoryIsLost) {
  ASSERT_EQ(alloc(of_depth(2)), 0);
  fault::fail_point("iommufd.vevent");
  EXPECT_EQ(event(device_), -ENOMEM);
  fault::disarm();
  EXPECT_EQ(read_all(), "0lost ");
}

TEST_F(VeventqTest, AReadNeedsRoomForAHeaderAndForTheFirstEvent) {
  ASSERT_EQ(alloc(of_depth(2)), 0);
  EXPECT_EQ(read_all(0), "-22");
  EXPECT_EQ(read_all(kHeader - 1), "-22");
  EXPECT_EQ(read_all(kHeader), "") << "nothing waits";
  trigger(2);
  EXPECT_EQ(read_all(kHeader), "-22");
  EXPECT_EQ(read_all(kEvent + kHeader), "0 ");
  EXPECT_EQ(read_all(), "1 ");
}

TEST_F(VeventqTest, AReadIntoBadMemoryLosesNothing) {
  ASSERT_EQ(alloc(of_depth(1)), 0);
  trigger(2);
  EXPECT_EQ(program_[queue_.file].pread(8, 64, 0), -EFAULT);
  EXPECT_EQ(read_all(kEvent), "0 ");
  EXPECT_EQ(program_[queue_.file].pread(8, 64, 0), -EFAULT);
  EXPECT_EQ(read_all(), "1lost ");
}

TEST_F(VeventqTest, PollSaysWhetherAnythingIsToBeRead) {
  ASSERT_EQ(alloc(of_depth(1)), 0);
  EXPECT_EQ(program_[queue_.file].poll(), 0);
  trigger(2);
  EXPECT_EQ(program_[queue_.file].poll(), POLLIN | POLLRDNORM);
  EXPECT_EQ(read_all(kEvent), "0 ");
  EXPECT_EQ(program_[queue_.file].poll(), POLLIN | POLLRDNORM) << "the loss";
  EXPECT_EQ(read_all(), "1lost ");
  EXPECT_EQ(program_[queue_.file].poll(), 0);
}

TEST_F(VeventqTest, NothingIsWrittenToIt) {
  ASSERT_EQ(alloc(of_depth(1)), 0);
  EXPECT_EQ(write(queue_.file, std::vector<char>(8)), -EINVAL);
  EXPECT_EQ(program_[queue_.file].path(), "anon_inode:[iommufd-viommu-event]");
}

TEST_F(VeventqTest, TypeAndDepthAreChecked) {
  auto request = of_depth(1);
  request.type = 0;
  EXPECT_EQ(alloc(request), -EOPNOTSUPP);
  EXPECT_EQ(alloc(of_depth(0)), -EINVAL);
  EXPECT_EQ(alloc(of_depth((1u << 19) + 1)), -EINVAL);
  EXPECT_EQ(alloc(of_depth(1u << 19)), 0);
  EXPECT_EQ(alloc(of_depth(2)), -EEXIST) << "one per type";
}

TEST_F(VeventqTest, WithoutAQueueEventsHaveNobody) { EXPECT_EQ(event(device_), -EOPNOTSUPP); }

TEST_F(VeventqTest, ADeviceThatTheGuestDoesNotKnowHasNoEvents) {
  ASSERT_EQ(alloc(of_depth(2)), 0);
  ASSERT_EQ(move(device_, ioas_), 0);
  EXPECT_EQ(event(device_), -ENOENT);
}

TEST_F(VeventqTest, AnOpenFileKeepsItAndItKeepsItsIommu) {
  ASSERT_EQ(alloc(of_depth(2)), 0);
  EXPECT_EQ(destroy(queue_.id), -EBUSY);
  program_.close(queue_.file);
  EXPECT_EQ(destroy(viommu_), -EBUSY);
  EXPECT_EQ(destroy(queue_.id), 0);
  EXPECT_EQ(alloc(of_depth(2)), 0) << "the type is free again";
}

TEST_F(VeventqTest, WithoutADescriptorNothingIsMade) {
  program_.install_errno = EMFILE;
  EXPECT_EQ(alloc(of_depth(2)), -EMFILE);
  EXPECT_EQ(alloc(of_depth(2)), 0) << "the type is still free";
}

}  // namespace
}  // namespace softiommu::test
