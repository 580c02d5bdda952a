// SPDX-License-Identifier: BSD-3-Clause
// A file that a process outside of the supervised tree owns, and a supervised program uses: it was inherited over exec,
// or came over a socket.
//
// The owner must take the program for its caller, not the supervisor: the reply socket is made by the program's thread.
// What the owner asks is answered as in any served call. Registers and descriptions are fetched by the supervisor
// itself, at any time.
#pragma once

#include "launch/service/remote_file.h"
#include "launch/supervise/tracee.h"

namespace softiommu::launch {

class ForeignFile final : public RemoteFile {
 public:
  // For calls of that thread, at the stop where it is.
  ForeignFile(int channel, ServedProgram& here, Tracee& thread) : RemoteFile(channel, here), thread_(thread) {}

 protected:
  long call(Verb verb, const Arguments& arguments, Packet* told, std::string* text) const override;
  bool give(int socket, const Packet& asked, std::span<const std::byte> bytes) const override;

 private:
  Tracee& thread_;
};

}  // namespace softiommu::launch
