// SPDX-License-Identifier: BSD-3-Clause
#include "launch/shim/execution.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

namespace softiommu::shim {
namespace {

constexpr char kVariable[] = "LD_PRELOAD=";
constexpr size_t kOwnArguments = 2;

bool in_a_run() { return run_dir[0] != '\0' && !inside(); }

size_t count_of(char* const words[]) {
  size_t count = 0;
  while (words != nullptr && words[count] != nullptr) ++count;
  return count;
}

}  // namespace

Execution::Execution(int dirfd, const char* path, char* const arguments[], char* const environment[])
    : path_(path), arguments_(arguments), environment_(environment) {
  if (in_a_run() && path != nullptr) prepare(dirfd, path);
}

Execution::Execution(InPath, const char* file, char* const arguments[], char* const environment[])
    : path_(file), arguments_(arguments), environment_(environment) {
  char found[PATH_MAX];
  if (in_a_run() && find_in_path(file, found)) prepare(AT_FDCWD, found);
}

void Execution::prepare(int dirfd, const char* path) {
  const Needs needs = needs_of(dirfd, path);
  preload(needs.runtime);
  if (!needs.supervisor) return;
  if (path[0] == '/' || (dirfd == AT_FDCWD && path[0] != '\0')) return supervise(path);
  char folder[PATH_MAX], whole[PATH_MAX];
  const long length = observed_folder(dirfd, folder);
  if (length <= 0) return;
  folder[length] = '\0';
  const int bytes = snprintf(whole, sizeof whole, "%s%s%s", folder, path[0] == '\0' ? "" : "/", path);
  if (bytes > 0 && static_cast<size_t>(bytes) < sizeof whole) supervise(whole);
}

void Execution::supervise(const char* program) {
  supervised_ = beside_shim(kSupervisor, supervisor_);
  if (supervised_) strcpy(program_, program);
}

// Only an environment that names us is changed.
void Execution::preload(const char* runtime) {
  constexpr size_t kName = sizeof kVariable - 1;
  if (environment_ == nullptr) return;
  size_t at = 0;
  while (environment_[at] != nullptr && !starts_with(environment_[at], kVariable)) ++at;
  if (environment_[at] == nullptr ||
      !runtime_first(environment_[at] + kName, runtime, value_ + kName, sizeof value_ - kName))
    return;
  memcpy(value_, kVariable, kName);
  preload_at_ = at;
}

size_t Execution::list_words() const {
  const size_t arguments = supervised_ ? kOwnArguments + count_of(arguments_) + 2 : 0;
  return arguments + (preload_at_ != kNowhere ? count_of(environment_) + 1 : 0);
}

// softiommu-supervisor PROGRAM ARGV0 ARGUMENTS...
void Execution::write_lists(char** room) {
  if (supervised_) {
    const size_t count = count_of(arguments_);
    char** const words = room;
    *room++ = supervisor_;
    *room++ = program_;
    for (size_t i = 0; i < count; ++i) *room++ = arguments_[i];
    if (count == 0) *room++ = program_;
    *room++ = nullptr;
    arguments_ = words;
  }
  if (preload_at_ != kNowhere) {
    memcpy(room, environment_, (count_of(environment_) + 1) * sizeof *room);
    room[preload_at_] = value_;
    environment_ = room;
  }
}

}  // namespace softiommu::shim
