// SPDX-License-Identifier: BSD-3-Clause
#include "launch/service/wire.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <thread>
#include <vector>

namespace softiommu::launch {
namespace {

class Wire : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_), 0); }
  ~Wire() override {
    for (const int end : ends_) ::close(end);
  }
  void close_sender() { ::close(std::exchange(ends_[0], -1)); }
  int ends_[2] = {-1, -1};
};

TEST_F(Wire, CarriesHeadAndBytes) {
  Packet sent;
  sent.head.verb = Verb::mmio_write;
  sent.head.result = -5;
  sent.head.value = {1, 2, 3, ~std::uint64_t{0}};
  const std::vector<std::byte> bytes(kMostBytes, std::byte{7});
  ASSERT_TRUE(send_packet(ends_[0], sent, bytes));
  Packet got;
  std::vector<std::byte> room(kMostBytes);
  ASSERT_TRUE(receive_packet(ends_[1], got, room));
  EXPECT_EQ(got.head.verb, Verb::mmio_write);
  EXPECT_EQ(got.head.result, -5);
  EXPECT_EQ(got.head.value, sent.head.value);
  EXPECT_EQ(got.head.bytes, kMostBytes);
  EXPECT_EQ(room, bytes);
  EXPECT_EQ(got.descriptor, -1);
}

TEST_F(Wire, CarriesADescriptor) {
  Packet sent;
  sent.descriptor = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ASSERT_TRUE(send_packet(ends_[0], sent));
  Packet got;
  ASSERT_TRUE(receive_packet(ends_[1], got));
  struct stat there{}, here{};
  ASSERT_EQ(::fstat(got.descriptor, &there), 0);
  ASSERT_EQ(::fstat(sent.descriptor, &here), 0);
  EXPECT_EQ(there.st_rdev, here.st_rdev);
  EXPECT_EQ(::fcntl(got.descriptor, F_GETFD), FD_CLOEXEC);
  ::close(got.descriptor);
  ::close(sent.descriptor);
}

TEST_F(Wire, DoesNotWaitForAPacket) {
  Packet got;
  EXPECT_FALSE(receive_packet(ends_[1], got));
}

TEST_F(Wire, IgnoresWhatIsNotAPacket) {
  ASSERT_EQ(::write(ends_[0], "hello", 5), 5);
  Packet got;
  EXPECT_FALSE(receive_packet(ends_[1], got));
}

TEST_F(Wire, SaysThatTheOtherSideIsGone) {
  close_sender();
  EXPECT_FALSE(send_packet(ends_[1], {}));
  Packet got;
  EXPECT_FALSE(receive_packet(ends_[1], got));
}

TEST_F(Wire, WaitsForTheFirstOfPacketAndHangUp) {
  int other[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, other), 0);
  EXPECT_FALSE(wait_for_packet(ends_[1], other[0], 1));
  ASSERT_TRUE(send_packet(ends_[0], {}));
  EXPECT_TRUE(wait_for_packet(ends_[1], other[0], -1));
  Packet got;
  ASSERT_TRUE(receive_packet(ends_[1], got));
  ::close(other[1]);
  EXPECT_FALSE(wait_for_packet(ends_[1], other[0], -1));
  ::close(other[0]);
}

TEST_F(Wire, AFullSocketIsWaitedFor) {
  constexpr int kPackets = 2000;
  std::thread reader([&] {
    for (int i = 0; i < kPackets;) {
      Packet got;
      wait_for_packet(ends_[1], -1, -1);
      if (!receive_packet(ends_[1], got)) continue;
      EXPECT_EQ(got.head.value[0], static_cast<std::uint64_t>(i++));
    }
  });
  ASSERT_EQ(::fcntl(ends_[0], F_SETFL, O_NONBLOCK), 0);
  for (int i = 0; i < kPackets; ++i) {
    Packet sent;
    sent.head.value[0] = static_cast<std::uint64_t>(i);
    ASSERT_TRUE(send_packet(ends_[0], sent));
  }
  reader.join();
}

}  // namespace
}  // namespace softiommu::launch
