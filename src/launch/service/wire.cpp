// SPDX-License-Identifier: BSD-3-Clause
#include "launch/service/wire.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace softiommu::launch {
namespace {

constexpr std::uint32_t kMagic = 0x756d6f73;  // "somu": another program's packet is not taken for one of ours

struct Sent {
  std::uint32_t magic = kMagic;
  std::uint32_t reserved = 0;
  Head head;
};

union DescriptorSpace {
  cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int))];
};

std::int64_t milliseconds_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

bool send_packet(int socket, const Packet& packet, std::span<const std::byte> bytes) noexcept {
  Sent sent;
  sent.head = packet.head;
  sent.head.bytes = static_cast<std::uint32_t>(bytes.size());
  iovec parts[2] = {{&sent, sizeof sent}, {const_cast<std::byte*>(bytes.data()), bytes.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = bytes.empty() ? 1 : 2;
  DescriptorSpace space{};
  if (packet.descriptor >= 0) {
    message.msg_control = &space;
    message.msg_controllen = sizeof space;
    cmsghdr* control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(control), &packet.descriptor, sizeof(int));
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return true;
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return false;
    pollfd room = {socket, POLLOUT, 0};
    ::poll(&room, 1, -1);
    if ((room.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) return false;
  }
}

bool receive_packet(int socket, Packet& packet, std::span<std::byte> room) noexcept {
  Sent sent;
  sent.magic = 0;
  iovec parts[2] = {{&sent, sizeof sent}, {room.data(), room.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = room.empty() ? 1 : 2;
  DescriptorSpace space{};
  message.msg_control = &space;
  message.msg_controllen = sizeof space;
  ssize_t got;
  do {
    got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  packet = {};
  if (got < 0) return false;
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr; control = CMSG_NXTHDR(&message, control)) {
    if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS)
      std::memcpy(&packet.descriptor, CMSG_DATA(control), sizeof(int));
  }
  if (static_cast<std::size_t>(got) < sizeof sent || sent.magic != kMagic) {
    if (packet.descriptor >= 0) ::close(packet.descriptor);
    packet.descriptor = -1;
    return false;
  }
  packet.head = sent.head;
  packet.head.bytes = static_cast<std::uint32_t>(static_cast<std::size_t>(got) - sizeof sent);
  return true;
}

bool wait_for_packet(int socket, int gone, int milliseconds) noexcept {
  const std::int64_t end = milliseconds < 0 ? 0 : milliseconds_now() + milliseconds;
  for (;;) {
    pollfd both[2] = {{socket, POLLIN, 0}, {gone, 0, 0}};
    const auto left = milliseconds < 0 ? -1 : static_cast<int>(std::max<std::int64_t>(0, end - milliseconds_now()));
    const int ready = ::poll(both, 2, left);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    if (both[0].revents != 0) return true;
    if (both[1].revents != 0) return false;
  }
}

}  // namespace softiommu::launch
