// SPDX-License-Identifier: BSD-3-Clause
// One thread of the owner that serves the calls of other processes on its files, and closes a file when the last of
// them has closed it.
//
// It starts when a handle may leave the process: at fork, at spawn, when one is sent, before exec. A program that does
// none of these has no such thread. The keeper, which is nothing else, runs the same loop on its main thread.
#pragma once

#include <pthread.h>
#include <sys/types.h>

#include <atomic>
#include <map>
#include <memory>

#include "base/mutex.h"
#include "launch/engine/descriptors.h"
#include "launch/service/remote_program.h"

namespace softiommu::launch {

class Service final : public HandleWatch {
 public:
  Service(Descriptors& descriptors, Owner& owner) : descriptors_(descriptors), owner_(owner) {}

  void begin() override;
  bool running() const override { return epoll_.load(std::memory_order_acquire) >= 0; }
  void add(OpenFile& open) override;
  void remove(OpenFile& open) override;

  // The thread ends after the call that it serves; calls that come wait for begin(), here or in a keeper.
  void stop();
  // In a child of fork: the thread is the parent's.
  void forget();
  // The keeper: serves on this thread until no file of this process is held by anyone.
  void serve_until_unused();

 private:
  bool open_epoll() REQUIRES(mutex_);
  void close_epoll() REQUIRES(mutex_);
  void loop(bool until_unused);
  void serve(OpenFile& open);
  Packet answer(OpenFile& open, const Packet& call, RemoteProgram& program, std::string& text);
  std::shared_ptr<RemoteProgram> program_behind(int reply);

  Descriptors& descriptors_;
  Owner& owner_;
  Mutex mutex_;
  std::atomic<int> epoll_{-1};  // hidden
  int wake_ = -1;               // hidden: an eventfd that ends the loop
  std::atomic<bool> stopping_{false};
  bool has_thread_ GUARDED_BY(mutex_) = false;
  pthread_t thread_{};
  using Programs = std::map<pid_t, std::shared_ptr<RemoteProgram>>;
  std::unique_ptr<Programs> programs_ = std::make_unique<Programs>();  // of the loop's thread alone
};

// read and write as the calls on a descriptor: at `offset`, or at the file position if it is negative.
long transfer(OpenFile& open, std::uint64_t user, std::size_t bytes, off_t offset, bool write);

}  // namespace softiommu::launch
