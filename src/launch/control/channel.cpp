// SPDX-License-Identifier: BSD-3-Clause
#include "launch/control/channel.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace softiommu::launch {
namespace {

using SocketCall = int(int, const sockaddr*, socklen_t);

// bind or connect at RUN/control. The folder's path may be longer than an address.
Result<int> open_control(const std::string& run_dir, SocketCall* call) {
  const int folder = ::open(run_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return fail(errno, "the run's folder cannot be opened");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", folder, kControlName);
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  const bool done = fd >= 0 && call(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  const int error = errno;
  ::close(folder);
  if (done) return fd;
  if (fd >= 0) ::close(fd);
  return fail(error, "nobody answers for the run");
}

}  // namespace

Result<int> connect_control(const std::string& run_dir) { return open_control(run_dir, ::connect); }

Result<int> listen_control(const std::string& run_dir) {
  constexpr int kBacklog = 128;
  const int fd = TRY(open_control(run_dir, ::bind));
  if (::listen(fd, kBacklog) == 0) return fd;
  const int error = errno;
  ::close(fd);
  return fail(error, "the run's socket cannot be made");
}

bool send_control(int fd, const ControlHead& head, std::string_view text) {
  iovec parts[] = {{const_cast<ControlHead*>(&head), sizeof head}, {const_cast<char*>(text.data()), text.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = std::size(parts);
  ssize_t sent;
  do {
    sent = ::sendmsg(fd, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

Result<ControlPacket> receive_control(int fd) {
  ControlPacket packet;
  packet.text.resize(kMostPacket);
  iovec parts[] = {{&packet.head, sizeof packet.head}, {packet.text.data(), packet.text.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = std::size(parts);
  ssize_t got;
  do {
    got = ::recvmsg(fd, &message, 0);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fail(errno, "nothing can be received");
  if (static_cast<std::size_t>(got) < sizeof packet.head) return fail(EPIPE, "the other side has gone");
  packet.text.resize(static_cast<std::size_t>(got) - sizeof packet.head);
  return packet;
}

}  // namespace softiommu::launch
