// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/registration.h"

namespace softiommu::vfio {

Registration::State Registration::state() const {
  const MutexLock lock(mutex_);
  return state_;
}

Registration::Use Registration::use() {
  const MutexLock lock(mutex_);
  if (state_ != State::registered) return {};
  ++uses_;
  return Use(*this);
}

bool Registration::enter() {
  const MutexLock lock(mutex_);
  if (state_ != State::none) return false;
  state_ = State::registered;
  return true;
}

bool Registration::leave(std::function<void()> left, std::function<void()> told) {
  {
    const MutexLock lock(mutex_);
    if (state_ != State::registered) return false;
    state_ = State::leaving;
    left_ = std::move(left);
    told_ = std::move(told);
    if (uses_ != 0) return true;
  }
  finish();
  return true;
}

void Registration::end_use() {
  {
    const MutexLock lock(mutex_);
    if (--uses_ != 0 || state_ != State::leaving) return;
  }
  finish();
}

// One thread comes here: that of leave() if nobody used it, else that of the last use.
void Registration::finish() {
  std::function<void()> left, told;
  {
    const MutexLock lock(mutex_);
    left = std::move(left_);
    told = std::move(told_);
  }
  left();
  {
    const MutexLock lock(mutex_);
    state_ = State::none;
  }
  changed_.notify_all();
  told();
}

bool Registration::wait(std::chrono::milliseconds longest) {
  mutex_.lock();
  const bool done = changed_.wait_for(
      mutex_, longest, [this]() SOFTIOMMU_TS(no_thread_safety_analysis) { return state_ != State::leaving; });
  mutex_.unlock();
  return done;
}

}  // namespace softiommu::vfio
