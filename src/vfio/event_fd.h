// SPDX-License-Identifier: BSD-3-Clause
// An eventfd of the program, duplicated for us: how interrupts reach it.
//
// System calls are made directly: in a launched program libc's names are the shim's, and these descriptors are not
// the program's. Neither call ever blocks, whatever the program did to the counter.
#pragma once

#include <utility>

#include "base/program.h"
#include "base/result.h"

namespace softiommu::vfio {

class EventFd {
 public:
  EventFd() = default;
  // EBADF: `descriptor` is not open; EINVAL: not an eventfd.
  static Result<EventFd> take(Program& program, int descriptor);
  ~EventFd() { reset(); }
  EventFd(EventFd&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)), given_(other.given_) {}
  EventFd& operator=(EventFd&& other) noexcept {
    if (this != &other) {
      reset();
      descriptor_ = std::exchange(other.descriptor_, -1);
      given_ = other.given_;
    }
    return *this;
  }

  // Is the program's descriptor, as it was given, still this eventfd? Linux lets some go when the last is closed.
  bool is_held_by(Program& program) const;
  explicit operator bool() const { return descriptor_ >= 0; }
  void reset();
  // Adds 1, as the kernel does for an interrupt. A counter that is full stays full.
  void signal() const;
  // Takes what was signalled to us; false: nothing.
  bool consume() const;

 private:
  EventFd(int descriptor, int given) : descriptor_(descriptor), given_(given) {}
  int descriptor_ = -1, given_ = -1;
};

}  // namespace softiommu::vfio
