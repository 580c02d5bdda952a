// SPDX-License-Identifier: BSD-3-Clause
#include "launch/supervise/foreign_file.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "launch/engine/shim_services.h"
#include "launch/supervise/traced_program.h"

namespace softiommu::launch {
namespace {

bool concerns_memory(Verb verb) { return verb == Verb::ioctl || verb == Verb::read || verb == Verb::write; }

// Both ends of a pair that the program's thread makes: for the kernel they are its own.
Result<std::array<int, 2>> pair_of(Tracee& thread) {
  std::array<int, 2> there{}, here{-1, -1};
  const std::uint64_t place = TRY(thread.scratch());
  TRY(thread.run(SYS_socketpair, {AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, place}));
  if (!thread.program().read(place, there.data(), sizeof there)) return fail(EFAULT, "the program cannot be read");
  Result<> closed;
  for (std::size_t i = 0; i < there.size(); ++i) {
    if (const auto taken = thread.program().take(there[i])) here[i] = hide_descriptor(*taken);
    const auto done = thread.run(SYS_close, {static_cast<std::uint64_t>(there[i])});
    if (!done) closed = std::unexpected(done.error());
  }
  if (closed) return here;
  for (const int end : here) close_hidden(end);
  return std::unexpected(closed.error());
}

}  // namespace

long ForeignFile::call(Verb verb, const Arguments& arguments, Packet* told, std::string* text) const {
  if (!concerns_memory(verb)) return RemoteFile::call(verb, arguments, told, text);
  const auto pair = pair_of(thread_);
  if (!pair) return -pair.error().code;
  Packet packet;
  packet.head.verb = verb;
  packet.head.value = arguments;
  packet.descriptor = (*pair)[1];
  const bool sent = (*pair)[0] >= 0 && (*pair)[1] >= 0 && send_packet(channel(), packet);
  const long result = sent ? answers((*pair)[0], told, text) : -ENODEV;
  for (const int end : *pair) close_hidden(end);
  return result;
}

// The program is asked, by the questions that a served call has for it.
bool ForeignFile::give(int socket, const Packet& asked, std::span<const std::byte> bytes) const {
  std::array<std::byte, kMostBytes> room;
  Packet question = asked;
  auto& wanted = question.head.value[1];
  if (asked.head.verb == Verb::copy_in) wanted = std::min<std::uint64_t>(wanted, room.size());
  auto answer = thread_.program().ask(question, bytes, room);
  if (asked.descriptor >= 0) ::close(asked.descriptor);
  Packet reply = answer ? *answer : Packet{};
  reply.head.verb = Verb::answer;
  if (!answer) reply.head.result = -answer.error().code;
  const bool data = answer && asked.head.verb == Verb::copy_in;
  const bool sent = send_packet(socket, reply, std::span(room).first(data ? wanted : 0));
  if (reply.descriptor >= 0) ::close(reply.descriptor);
  return sent;
}

}  // namespace softiommu::launch
