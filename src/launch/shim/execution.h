// SPDX-License-Identifier: BSD-3-Clause
// What an exec or spawn starts: the program itself, or the supervisor with the program as its argument; and the
// environment that it gets: as it was given, but for a sanitizer's runtime before us in LD_PRELOAD.
#pragma once

#include "launch/shim/entry.h"
#include "launch/shim/shim.h"

namespace softiommu::shim {

// All of it is on the stack of the exec: between fork and exec there is no malloc, and what a child of vfork mapped
// would stay in its parent.
class Execution {
 public:
  // As execveat takes them; "": what `dirfd` is.
  Execution(int dirfd, const char* path, char* const arguments[], char* const environment[]);
  // A name that is looked up in PATH.
  struct InPath {};
  Execution(InPath, const char* file, char* const arguments[], char* const environment[]);
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;

  // What `exec` answers, which is called with this and makes the system call.
  template <typename Exec>
  int by(Exec&& exec) {
    write_lists(static_cast<char**>(__builtin_alloca(list_words() * sizeof(char*))));
    return exec(static_cast<const Execution&>(*this));
  }
  bool is_supervised() const { return supervised_; }
  const char* path() const { return supervised_ ? supervisor_ : path_; }
  char* const* arguments() const { return arguments_; }
  char* const* environment() const { return environment_; }

 private:
  void prepare(int dirfd, const char* path);
  void supervise(const char* program);
  void preload(const char* runtime);
  size_t list_words() const;  // of the lists that are not as they were given
  void write_lists(char** room);

  const char* path_;
  char* const* arguments_;
  char* const* environment_;
  bool supervised_ = false;
  static constexpr size_t kNowhere = ~size_t{0};
  size_t preload_at_ = kNowhere;  // where `value_` goes in the environment
  char program_[PATH_MAX], supervisor_[PATH_MAX], value_[2 * PATH_MAX];
};

}  // namespace softiommu::shim
