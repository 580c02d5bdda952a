// SPDX-License-Identifier: BSD-3-Clause
#include "launch/shim/execution.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

namespace softiommu::shim {
namespace {

constexpr char kVariable[] = "LD_PRELOAD=";

bool in_a_run() { return run_dir[0] != '\0' && !inside(); }

size_t count_of(char* const words[]) {
  size_t count = 0;
  while (words != nullptr && words[count] != nullptr) ++count;
  return count;
}

}  // namespace

Execution::List::~List() {
  if (words_ != nullptr) raw(SYS_munmap, word(words_), static_cast<long>(bytes_));
}

char** Execution::List::make(size_t count) {
  const size_t bytes = (count + 1) * sizeof(char*);
  const long place =
      raw(SYS_mmap, 0, static_cast<long>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  if (place < 0 && place > -4096) return nullptr;
  bytes_ = bytes;
  return words_ = reinterpret_cast<char**>(place);
}

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

// softiommu-supervisor PROGRAM ARGV0 ARGUMENTS...
void Execution::supervise(const char* program) {
  static constexpr size_t kOwn = 2;
  if (!beside_shim(kSupervisor, supervisor_)) return;
  strcpy(program_, program);
  const size_t count = count_of(arguments_);
  char** const words = list_.make(kOwn + count + 1);
  if (words == nullptr) return;
  words[0] = supervisor_;
  words[1] = program_;
  for (size_t i = 0; i < count; ++i) words[kOwn + i] = arguments_[i];
  if (count == 0) words[kOwn] = program_;
}

// Only an environment that names us is changed.
void Execution::preload(const char* runtime) {
  constexpr size_t kName = sizeof kVariable - 1;
  const size_t count = count_of(environment_);
  size_t at = 0;
  while (at < count && !starts_with(environment_[at], kVariable)) ++at;
  if (at == count || !runtime_first(environment_[at] + kName, runtime, value_ + kName, sizeof value_ - kName)) return;
  memcpy(value_, kVariable, kName);
  char** const words = variables_.make(count);
  if (words == nullptr) return;
  memcpy(words, environment_, count * sizeof *words);
  words[at] = value_;
}

}  // namespace softiommu::shim
