// SPDX-License-Identifier: BSD-3-Clause
// Makes in this process's machine what was changed in the run's: virtual functions, drivers, devices that come and go.
//
// At the start it catches up; then a thread waits for what comes. A change whose device is in use here is answered when
// the program has closed it, which is what the one who wrote to sysfs waits for.
#pragma once

#include <pthread.h>

#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "launch/control/change.h"

namespace softiommu::launch {

class Follower {
 public:
  explicit Follower(PciControl& control);
  ~Follower();
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;

  // Makes what was changed before. Where nobody keeps the run's state, nothing changes.
  void catch_up(const std::string& run_dir);
  // The thread: when the world is built, and around the fork of a keeper, which goes on in its place.
  void resume();
  void pause();
  // In a child of fork: it is the parent's.
  void forget();

 private:
  void follow();
  void apply(const std::string& text, std::uint64_t number);
  void answer(std::uint64_t number, int result) const;
  void answer_what_is_done();
  bool any_pending();
  void tell_token(const std::string& pf, const std::string& uuid) const;

  PciControl& control_;
  std::string run_dir_;
  int socket_ = -1;  // hidden
  int wake_ = -1;    // hidden: an eventfd that ends the thread
  bool has_thread_ = false;
  pthread_t thread_{};
  Mutex mutex_;
  std::vector<std::pair<std::uint64_t, Change>> pending_ GUARDED_BY(mutex_);
};

}  // namespace softiommu::launch
