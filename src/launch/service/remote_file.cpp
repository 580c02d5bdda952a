// SPDX-License-Identifier: BSD-3-Clause
#include "launch/service/remote_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "launch/engine/shim_services.h"

namespace softiommu::launch {
namespace {

// --- reply sockets -------------------------------------------------------------------------------------------

// Pairs that were made once and are used again, one per call under way. Taken in fault handlers too: no lock.
class ReplySocket {
 public:
  ReplySocket() {
    for (Place& place : places_) {
      int expected = kIdle;
      if (!place.state.compare_exchange_strong(expected, kUsed)) continue;
      if (place.ours < 0) make(place.ours, place.theirs);
      place_ = &place;
      ours_ = place.ours;
      theirs_ = place.theirs;
      return;
    }
    make(ours_, theirs_);
  }
  ~ReplySocket() {
    const bool keep = place_ != nullptr && clean_;
    if (!keep) {
      close_hidden(ours_);
      close_hidden(theirs_);
    }
    if (place_ == nullptr) return;
    if (!keep) place_->ours = place_->theirs = -1;
    place_->state.store(kIdle);
  }
  ReplySocket(const ReplySocket&) = delete;
  ReplySocket& operator=(const ReplySocket&) = delete;

  int ours() const { return ours_; }
  int theirs() const { return theirs_; }
  // The conversation was cut off: what may still arrive belongs to nobody.
  void spoil() { clean_ = false; }

  static void forget() {
    for (Place& place : places_) {
      close_hidden(place.ours);
      close_hidden(place.theirs);
      place.ours = place.theirs = -1;
      place.state.store(kIdle);
    }
  }

 private:
  enum : int { kIdle, kUsed };
  struct Place {
    std::atomic<int> state{kIdle};
    int ours = -1, theirs = -1;
  };
  static constinit std::array<Place, 32> places_;

  static void make(int& ours, int& theirs) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return;
    ours = hide_descriptor(ends[0]);
    theirs = hide_descriptor(ends[1]);
  }

  Place* place_ = nullptr;
  int ours_ = -1, theirs_ = -1;
  bool clean_ = true;
};
constinit std::array<ReplySocket::Place, 32> ReplySocket::places_{};

Packet answer_of(const Result<>& done) {
  Packet packet;
  packet.head.verb = Verb::answer;
  packet.head.result = done ? 0 : -done.error().code;
  return packet;
}
bool is_open(int descriptor) { return ::fcntl(descriptor, F_GETFD) >= 0; }

}  // namespace

void forget_reply_sockets() { ReplySocket::forget(); }

RemoteFile::~RemoteFile() { close_hidden(channel_); }

// --- a call --------------------------------------------------------------------------------------------------

long RemoteFile::call(Verb verb, const Arguments& arguments, Packet* told, std::string* text) const {
  ReplySocket reply;
  if (channel_ < 0 || reply.ours() < 0 || reply.theirs() < 0) return -ENODEV;
  Packet packet;
  packet.head.verb = verb;
  packet.head.value = arguments;
  packet.descriptor = reply.theirs();
  const long result = send_packet(channel_, packet) ? answers(reply.ours(), told, text) : -ENODEV;
  if (result == -ENODEV) reply.spoil();
  return result;
}

long RemoteFile::answers(int socket, Packet* told, std::string* text) const {
  for (;;) {
    if (!wait_for_packet(socket, channel_, -1)) return -ENODEV;
    Packet packet;
    std::array<std::byte, kMostBytes> few;
    if (!receive_packet(socket, packet, few)) return -ENODEV;
    if (packet.head.verb == Verb::answer) {
      if (text != nullptr)
        text->assign(reinterpret_cast<const char*>(few.data()), std::min<std::size_t>(packet.head.bytes, few.size()));
      if (told != nullptr) {
        *told = packet;
      } else if (packet.descriptor >= 0) {
        ::close(packet.descriptor);
      }
      return packet.head.result;
    }
    const std::size_t bytes = std::min<std::size_t>(packet.head.bytes, few.size());
    if (!give(socket, packet, std::span(few).first(bytes))) return -ENODEV;
  }
}

// --- what the owner asks meanwhile ---------------------------------------------------------------------------

bool RemoteFile::give(int socket, const Packet& asked, std::span<const std::byte> bytes) const {
  const auto& value = asked.head.value;
  const auto descriptor = static_cast<int>(value[0]);
  Packet packet;
  switch (asked.head.verb) {
    case Verb::copy_in: {
      std::array<std::byte, kMostBytes> copy;
      const std::size_t wanted = std::min<std::uint64_t>(value[1], copy.size());
      packet = answer_of(program_.memory.copy_in(copy.data(), value[0], wanted));
      return send_packet(socket, packet, std::span(copy).first(packet.head.result == 0 ? wanted : 0));
    }
    case Verb::copy_out:
      return send_packet(socket, answer_of(program_.memory.copy_out(value[0], bytes.data(), bytes.size())));
    case Verb::install: {
      const int flags = static_cast<int>(value[0]);
      if ((flags & O_CLOEXEC) == 0) ::fcntl(asked.descriptor, F_SETFD, 0);
      const auto adopted = program_.descriptors.adopt(
          asked.descriptor, flags, [this](int channel) { return std::make_shared<RemoteFile>(channel, program_); });
      packet = answer_of(adopted);
      if (adopted) packet.head.result = asked.descriptor;
      if (!adopted) ::close(asked.descriptor);
      return send_packet(socket, packet);
    }
    case Verb::take_back:
      program_.memory.take_back(descriptor);
      return send_packet(socket, answer_of({}));
    case Verb::file_of: {
      const auto use = program_.descriptors.find(descriptor);
      packet = answer_of(use                   ? Result<>()
                         : is_open(descriptor) ? Result<>(fail(EINVAL, ""))
                                               : Result<>(fail(EBADF, "")));
      if (use) packet.head.value[0] = use->inode;
      return send_packet(socket, packet);
    }
    case Verb::take_eventfd: {
      const auto taken = program_.memory.take_eventfd(descriptor);
      packet = answer_of(taken ? Result<>() : std::unexpected(taken.error()));
      packet.descriptor = taken ? *taken : -1;
      const bool sent = send_packet(socket, packet);
      if (taken) close_hidden(*taken);
      return sent;
    }
    case Verb::take_file:
      packet = answer_of(is_open(descriptor) ? Result<>() : fail(EBADF, ""));
      packet.descriptor = packet.head.result == 0 ? descriptor : -1;
      return send_packet(socket, packet);
    case Verb::share: {
      const auto file = program_.share(value[0], value[1]);
      packet = answer_of(file ? Result<>() : std::unexpected(file.error()));
      packet.descriptor = file ? *file : -1;
      const bool sent = send_packet(socket, packet);
      if (file) ::close(*file);
      return sent;
    }
    default:
      if (asked.descriptor >= 0) ::close(asked.descriptor);
      return send_packet(socket, answer_of(Result<>(fail(EINVAL, ""))));
  }
}

// --- the file's calls ----------------------------------------------------------------------------------------

long RemoteFile::ioctl(unsigned int command, std::uint64_t argument) { return call(Verb::ioctl, {command, argument}); }
ssize_t RemoteFile::pread(std::uint64_t user, std::size_t bytes, off_t offset) {
  return call(Verb::read, {user, bytes, static_cast<std::uint64_t>(offset)});
}
ssize_t RemoteFile::pwrite(std::uint64_t user, std::size_t bytes, off_t offset) {
  return call(Verb::write, {user, bytes, static_cast<std::uint64_t>(offset)});
}
short RemoteFile::poll() {
  const long events = call(Verb::poll, {});
  return static_cast<short>(events < 0 ? POLLERR | POLLHUP : events);
}

RemoteFile::Description RemoteFile::describe() const {
  Packet told;
  Description description;
  description.reached = call(Verb::describe, {}, &told, &description.path) >= 0;
  if (description.reached) {
    description.number = told.head.value[0];
    description.flags = static_cast<int>(told.head.value[1]);
  }
  return description;
}

int RemoteFile::mmap(std::uint64_t offset, std::uint64_t bytes, int prot, int flags, MmapPlan& out) {
  Packet told;
  const Arguments arguments = {offset, bytes, static_cast<std::uint64_t>(prot), static_cast<std::uint64_t>(flags)};
  const long result = call(Verb::mmap, arguments, &told);
  if (result < 0) return static_cast<int>(result);
  out = MmapPlan{};
  out.kind = static_cast<MmapPlan::Kind>(told.head.value[0]);
  if (out.kind == MmapPlan::Kind::memory) {
    out.offset = told.head.value[1];
    out.descriptor = hide_descriptor(told.descriptor);
    out.keeps_alive = std::shared_ptr<void>(nullptr, [fd = out.descriptor](void*) { close_hidden(fd); });
    return 0;
  }
  out.registers = &bar_;
  out.offset = offset;
  out.enabled_context = this;
  out.enabled = bars_enabled;
  some_bar_.store(offset);
  return 0;
}

// --- registers: also in fault handlers -----------------------------------------------------------------------

std::uint64_t RemoteFile::Bar::read(std::uint64_t offset, unsigned bytes) {
  Packet told;
  return file_.call(Verb::mmio_read, {offset, bytes}, &told) < 0 ? ~std::uint64_t{0} : told.head.value[0];
}
void RemoteFile::Bar::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  file_.call(Verb::mmio_write, {offset, bytes, value});
}
bool RemoteFile::bars_enabled(const void* file) {
  const auto& self = *static_cast<const RemoteFile*>(file);
  return self.call(Verb::mmio_enabled, {self.some_bar_.load()}) != 0;  // without an owner: a device that was pulled out
}

}  // namespace softiommu::launch
