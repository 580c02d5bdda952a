// SPDX-License-Identifier: BSD-3-Clause
// Answers on RUN/control, in the launcher: writes to sysfs, `softiommu ctl`, and the engines that follow.
//
// A change is made in the machine that is kept here, and shown in the view; then each engine makes it in its own. The
// write is answered when all have: one whose device is in use waits for the program to close it, as write(2) does on
// Linux. Other writes queue behind it; a device can be pulled out at any time.
#pragma once

#include <pthread.h>

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launch/bus/pci_bus.h"
#include "launch/bus/write_watch.h"
#include "launch/control/channel.h"
#include "vfio/vfio.h"

namespace softiommu::launch {

class ControlServer {
 public:
  // Makes the socket, and the view of the functions below `run_dir`/view, where write_view() has been. Errno of the
  // file system; EADDRINUSE: the socket is there already; EMFILE, ENFILE.
  static Result<std::unique_ptr<ControlServer>> create(const std::string& run_dir, System& system);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  // A thread that serves, and its end. EAGAIN: there is no thread, and who connects is refused from now on.
  Result<> begin();
  void end();
  // Serves on this thread, for that time.
  void serve_for(std::chrono::milliseconds time);
  // All that it has open.
  std::set<int> descriptors() const;

 private:
  struct Operation {
    int client = -1;  // -1: nobody waits any more
    ControlHead answer{};
    std::string text = {};
    std::vector<Change> changes = {};
    std::set<std::pair<int, std::uint64_t>> outstanding = {};  // engine and number
  };
  struct Request {
    int client;
    ControlPacket packet;
  };
  // What `softiommu ctl` and engines ask for; each row's function makes it.
  using Run = Result<PciBus::Changes>(std::string_view text, Operation& operation);
  struct Command {
    std::string_view word;
    bool waits;  // for its turn, behind writes
    Run ControlServer::* run;
  };
  static const Command kCommands[];
  static const Command* command_of(std::string_view text);  // nullptr: there is none of that name
  Run list, unplug, plug, rescan, token;

  ControlServer(const std::string& run_dir, System& system);
  void serve_once(int milliseconds);
  void accept_peer();
  void receive(int peer);
  void drop(int peer);
  void welcome(int peer);
  void take(Request request);
  void begin_waiting();
  void operate(const Request& request);
  void take_unseen_writes();
  Result<PciBus::Changes> change(const Request& request, Operation& operation);
  void tell(Operation& operation);
  void remember(const Change& change);
  void answered(int engine, std::uint64_t number, int result);
  void finish_operations();
  void undo(const Operation& operation);
  std::string functions_text() const;
  std::string state() const;  // of the functions: two are equal where an engine has nothing to follow

  Vfio vfio_;
  PciControl control_;
  PciBus bus_;
  WriteWatch watch_;
  std::string first_state_;
  int listen_ = -1, wake_ = -1;
  bool has_thread_ = false;
  pthread_t thread_{};
  std::map<int, bool> peers_;  // true: an engine
  std::vector<Change> history_;
  std::uint64_t next_number_ = 1;
  std::vector<Operation> operations_;
  std::deque<Request> queue_;
};

}  // namespace softiommu::launch
