// SPDX-License-Identifier: BSD-3-Clause
// The open family: our device files go to the engine, paths into the view are rewritten, all else to libc.
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/shim/shim.h"

namespace softiommu::shim {
namespace {

long open_at(int dirfd, const char* path, int flags, mode_t mode) {
  char buffer[PATH_MAX];
  if ((flags & (O_PATH | O_DIRECTORY)) == 0 && device_file(dirfd, path, buffer) != nullptr) {
    if (load_engine() == nullptr) return -ENODEV;
    return in_engine([&](const SoftiommuEngine& e) { return e.open(buffer, flags); });
  }
  if (const long status = open_status(path, flags); status != kNotStatus) return status;
  const int ours = own_descriptor_link(dirfd, path);
  if (ours >= 0) return -ENXIO;  // as Linux: an anonymous inode cannot be opened again
  const Redirected to = redirect(dirfd, path, buffer);
  if (to.changed || (flags & O_ACCMODE) != O_RDONLY || (path != nullptr && starts_with(path, "/sys/"))) {
    char name[PATH_MAX], real[PATH_MAX];
    if (sysfs_name(dirfd, path, name) != nullptr && real_place(name, real))
      return open_attribute(to.changed ? to.path : real, flags);
  }
  return raw(SYS_openat, dirfd, word(to.path), flags, mode);
}

bool needs_mode(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }

int variadic_mode(int flags, va_list list) { return needs_mode(flags) ? va_arg(list, int) : 0; }

int fopen_flags(const char* mode) {
  const bool plus = strchr(mode, '+') != nullptr;
  int flags = mode[0] == 'r' ? 0 : O_CREAT | (mode[0] == 'w' ? O_TRUNC : O_APPEND);
  flags |= plus ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
  return flags | (strchr(mode, 'e') != nullptr ? O_CLOEXEC : 0);
}

FILE* open_stream(const char* path, const char* mode, FILE* (*libc)(const char*, const char*)) {
  char buffer[PATH_MAX];
  const bool status = path != nullptr && starts_with(path, "/proc/") && strstr(path, "/status") != nullptr;
  const bool written = (fopen_flags(mode) & O_ACCMODE) != O_RDONLY && sysfs_name(AT_FDCWD, path, buffer) != nullptr;
  if (status || written || device_file(AT_FDCWD, path, buffer) != nullptr) {
    const int fd = int_answer(open_at(AT_FDCWD, path, fopen_flags(mode), 0666));
    return fd < 0 ? nullptr : fdopen(fd, mode);
  }
  return libc(redirect(AT_FDCWD, path, buffer).path, mode);
}

}  // namespace
}  // namespace softiommu::shim

using namespace softiommu::shim;

#define OPEN_WITH_MODE(flags)                  \
  va_list list;                                \
  va_start(list, flags);                       \
  const int mode = variadic_mode(flags, list); \
  va_end(list)

SHIM_EXPORT int open(const char* path, int flags, ...) {
  OPEN_WITH_MODE(flags);
  return int_answer(open_at(AT_FDCWD, path, flags, static_cast<mode_t>(mode)));
}
SHIM_EXPORT int open64(const char* path, int flags, ...) {
  OPEN_WITH_MODE(flags);
  return int_answer(open_at(AT_FDCWD, path, flags, static_cast<mode_t>(mode)));
}
SHIM_EXPORT int openat(int dirfd, const char* path, int flags, ...) {
  OPEN_WITH_MODE(flags);
  return int_answer(open_at(dirfd, path, flags, static_cast<mode_t>(mode)));
}
SHIM_EXPORT int openat64(int dirfd, const char* path, int flags, ...) {
  OPEN_WITH_MODE(flags);
  return int_answer(open_at(dirfd, path, flags, static_cast<mode_t>(mode)));
}
SHIM_EXPORT int __open_2(const char* path, int flags) { return int_answer(open_at(AT_FDCWD, path, flags, 0)); }
SHIM_EXPORT int __open64_2(const char* path, int flags) { return int_answer(open_at(AT_FDCWD, path, flags, 0)); }
SHIM_EXPORT int __openat_2(int dirfd, const char* path, int flags) {
  return int_answer(open_at(dirfd, path, flags, 0));
}
SHIM_EXPORT int __openat64_2(int dirfd, const char* path, int flags) {
  return int_answer(open_at(dirfd, path, flags, 0));
}
SHIM_EXPORT int creat(const char* path, mode_t mode) {
  return int_answer(open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode));
}
SHIM_EXPORT int creat64(const char* path, mode_t mode) {
  return int_answer(open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode));
}

SHIM_EXPORT FILE* fopen(const char* path, const char* mode) {
  static FILE* (*libc)(const char*, const char*);
  return open_stream(path, mode, next(libc, "fopen"));
}
SHIM_EXPORT FILE* fopen64(const char* path, const char* mode) {
  static FILE* (*libc)(const char*, const char*);
  return open_stream(path, mode, next(libc, "fopen64"));
}
SHIM_EXPORT FILE* freopen(const char* path, const char* mode, FILE* stream) {
  static FILE* (*libc)(const char*, const char*, FILE*);
  char buffer[PATH_MAX];
  return next(libc, "freopen")(redirect(AT_FDCWD, path, buffer).path, mode, stream);
}
SHIM_EXPORT FILE* freopen64(const char* path, const char* mode, FILE* stream) {
  static FILE* (*libc)(const char*, const char*, FILE*);
  char buffer[PATH_MAX];
  return next(libc, "freopen64")(redirect(AT_FDCWD, path, buffer).path, mode, stream);
}

SHIM_EXPORT DIR* opendir(const char* path) {
  static DIR* (*libc)(const char*);
  char buffer[PATH_MAX];
  return next(libc, "opendir")(redirect(AT_FDCWD, path, buffer).path);
}

using ScanFilter = int (*)(const dirent*);
using ScanOrder = int (*)(const dirent**, const dirent**);
using ScanFilter64 = int (*)(const dirent64*);
using ScanOrder64 = int (*)(const dirent64**, const dirent64**);

SHIM_EXPORT int scandir(const char* path, dirent*** list, ScanFilter filter, ScanOrder order) {
  static int (*libc)(const char*, dirent***, ScanFilter, ScanOrder);
  char buffer[PATH_MAX];
  return next(libc, "scandir")(redirect(AT_FDCWD, path, buffer).path, list, filter, order);
}
SHIM_EXPORT int scandir64(const char* path, dirent64*** list, ScanFilter64 filter, ScanOrder64 order) {
  static int (*libc)(const char*, dirent64***, ScanFilter64, ScanOrder64);
  char buffer[PATH_MAX];
  return next(libc, "scandir64")(redirect(AT_FDCWD, path, buffer).path, list, filter, order);
}
SHIM_EXPORT int scandirat(int dirfd, const char* path, dirent*** list, ScanFilter filter, ScanOrder order) {
  static int (*libc)(int, const char*, dirent***, ScanFilter, ScanOrder);
  char buffer[PATH_MAX];
  return next(libc, "scandirat")(dirfd, redirect(dirfd, path, buffer).path, list, filter, order);
}

// Results lie in strings of their own, and the program's name is the shorter one: it is put in place.
SHIM_EXPORT int glob(const char* pattern, int flags, int (*error)(const char*, int), glob_t* found) {
  static int (*libc)(const char*, int, int (*)(const char*, int), glob_t*);
  char buffer[PATH_MAX];
  const Redirected to = redirect(AT_FDCWD, pattern, buffer);
  const int result = next(libc, "glob")(to.path, flags, error, found);
  if (to.changed && result == 0) {
    const size_t skipped = (flags & GLOB_DOOFFS) != 0 ? found->gl_offs : 0;
    for (size_t i = 0; i < found->gl_pathc; ++i) show(found->gl_pathv[skipped + i]);
  }
  return result;
}
SHIM_EXPORT int glob64(const char* pattern, int flags, int (*error)(const char*, int), glob64_t* found) {
  static_assert(sizeof(glob_t) == sizeof(glob64_t), "on 64-bit machines they are one type");
  return glob(pattern, flags, error, reinterpret_cast<glob_t*>(found));
}
