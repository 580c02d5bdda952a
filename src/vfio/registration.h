// SPDX-License-Identifier: BSD-3-Clause
// Whether vfio-pci has a device, and who uses it: Linux's reference count of a vfio_device, which unregistering waits
// on.
//
// A leaving device lets nobody in; who is in stays until he closes. The last one out ends the leave: what that means
// was said when it began. A leaf lock; nothing is called with it held.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <utility>

#include "base/mutex.h"

namespace softiommu::vfio {

class Registration {
 public:
  // One file of the device, open.
  class Use {
   public:
    Use() = default;
    Use(Use&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
    Use& operator=(Use&& other) noexcept {
      std::swap(of_, other.of_);
      return *this;
    }
    ~Use() {
      if (of_ != nullptr) of_->end_use();
    }
    explicit operator bool() const { return of_ != nullptr; }

   private:
    friend class Registration;
    explicit Use(Registration& of) : of_(&of) {}
    Registration* of_ = nullptr;
  };

  enum class State : unsigned char { none, registered, leaving };
  State state() const;
  bool registered() const { return state() == State::registered; }

  // Nothing: the device is not registered, or leaves.
  Use use();
  // From none. False: it is registered, or leaves.
  bool enter();
  // From registered. Runs `left` once nobody uses it, and `told` when it is none: now, or on the thread of the last
  // close. False: it is not registered. May throw std::bad_alloc before anything changed.
  bool leave(std::function<void()> left, std::function<void()> told);
  // True: it has left, and `left` has run.
  bool wait(std::chrono::milliseconds longest);

 private:
  void end_use();
  void finish();

  mutable Mutex mutex_;
  std::condition_variable_any changed_;
  State state_ GUARDED_BY(mutex_) = State::none;
  unsigned uses_ GUARDED_BY(mutex_) = 0;
  std::function<void()> left_ GUARDED_BY(mutex_), told_ GUARDED_BY(mutex_);
};

}  // namespace softiommu::vfio
