// SPDX-License-Identifier: BSD-3-Clause
// The environment that a new image gets: as it was given, but for a sanitizer's runtime before us in LD_PRELOAD.
#pragma once

#include <limits.h>
#include <stddef.h>

#include "launch/sanitizer_runtime.h"

namespace softiommu::shim {

// Lives on the stack of the exec; what it answers lives as long.
class NextEnvironment {
 public:
  explicit NextEnvironment(char* const* environment);
  char* const* for_program(int dirfd, const char* path);
  char* const* for_descriptor(int fd);
  char* const* for_name(const char* file);  // looked for in PATH

 private:
  bool names_us();
  void judge(launch::FileBytes program);
  void put(const char* runtime);
  char* const* get() const { return changed_ ? words_ : given_; }

  static constexpr size_t kMost = 4096, kNone = ~size_t{0};
  char* const* given_;
  size_t count_ = 0, at_ = kNone;  // of LD_PRELOAD
  bool changed_ = false;
  char* words_[kMost + 1];
  char value_[2 * PATH_MAX];
};

}  // namespace softiommu::shim
