// SPDX-License-Identifier: BSD-3-Clause
// What an exec or spawn starts: the program itself, or the supervisor with the program as its argument; and the
// environment that it gets: as it was given, but for a sanitizer's runtime before us in LD_PRELOAD.
#pragma once

#include "launch/shim/entry.h"
#include "launch/shim/shim.h"

namespace softiommu::shim {

// Lives on the stack of the exec; what it answers lives as long. No malloc between fork and exec.
class Execution {
 public:
  // As execveat takes them; "": what `dirfd` is.
  Execution(int dirfd, const char* path, char* const arguments[], char* const environment[]);
  // A name that is looked up in PATH.
  struct InPath {};
  Execution(InPath, const char* file, char* const arguments[], char* const environment[]);
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;

  bool is_supervised() const { return list_.words() != nullptr; }
  const char* path() const { return is_supervised() ? supervisor_ : path_; }
  char* const* arguments() const { return is_supervised() ? list_.words() : arguments_; }
  char* const* environment() const { return variables_.words() != nullptr ? variables_.words() : environment_; }

 private:
  // Mapped memory for a list of words.
  class List {
   public:
    List() = default;
    ~List();
    char** make(size_t count);  // nullptr: no memory
    char** words() const { return words_; }

   private:
    char** words_ = nullptr;
    size_t bytes_ = 0;
  };
  void prepare(int dirfd, const char* path);
  void supervise(const char* program);
  void preload(const char* runtime);

  const char* path_;
  char* const* arguments_;
  char* const* environment_;
  List list_, variables_;
  char program_[PATH_MAX], supervisor_[PATH_MAX], value_[2 * PATH_MAX];
};

}  // namespace softiommu::shim
