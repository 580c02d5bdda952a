// SPDX-License-Identifier: BSD-3-Clause
// What two processes of a run say to each other about a handle.
//
// The handle is the channel: a call goes as one packet into the socket whose other end the owner holds, with a private
// reply socket beside it. On that socket the owner asks for what it cannot reach by itself (memory, descriptors), and
// in the end answers. One form of packet serves all: a head, bytes, at most one descriptor. Sending and receiving
// allocates nothing and takes no lock: a BAR access is served out of a fault handler.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace softiommu::launch {

enum class Verb : std::uint32_t {
  // Calls on a handle, and their arguments.
  ioctl,         // command, argument
  read,          // address, bytes, offset (negative: at the file position)
  write,         // the same
  poll,          //
  describe,      // answers mode, device number, flags; the path as bytes
  mmap,          // offset, bytes, prot, flags; answers the kind, the offset; a descriptor if it is memory
  mmio_read,     // offset in the file, width; answers the value
  mmio_write,    // offset, width, value
  mmio_enabled,  // offset; answers 1 or 0

  // What the owner asks meanwhile; each gets an answer.
  copy_in,       // address, bytes
  copy_out,      // address; with bytes
  install,       // flags; with a handle; answers its number
  take_back,     // descriptor that install made
  file_of,       // descriptor; answers the handle's inode
  take_eventfd,  // descriptor; answers with a duplicate
  take_file,     // descriptor; answers with a duplicate
  share,         // address, bytes of private memory; answers with a memory file that is mapped there now

  answer,
};

struct Head {
  Verb verb{};
  std::uint32_t bytes = 0;  // that follow
  std::int64_t result = 0;  // of an answer: as a system call's
  std::array<std::uint64_t, 4> value{};
};

constexpr std::size_t kMostBytes = 1024;  // in one packet: it is on the stack, also on that of a fault handler

struct Packet {
  Head head;
  int descriptor = -1;  // received: the receiver's to close
};

// False: the other side is gone. `bytes` go along; so does a duplicate of packet.descriptor.
bool send_packet(int socket, const Packet& packet, std::span<const std::byte> bytes = {}) noexcept;
// Receives one without waiting. False: there is none, it is not one of ours, or the other side is gone. What does
// not fit into `room` is lost; head.bytes says what is there.
bool receive_packet(int socket, Packet& packet, std::span<std::byte> room = {}) noexcept;

// Waits until `socket` has something, `gone` (-1: none) is hung up, or the time is over.
// milliseconds < 0: no limit. True: `socket` has something, or is hung up itself.
bool wait_for_packet(int socket, int gone, int milliseconds) noexcept;

}  // namespace softiommu::launch
