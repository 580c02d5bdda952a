// SPDX-License-Identifier: BSD-3-Clause
// What a path is: the stat family, access, links, the current folder.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "launch/shim/shim.h"

namespace softiommu::shim {
namespace {

long stat_descriptor(int fd, struct stat* out) {
  const long result = raw(SYS_fstat, fd, word(out));
  if (result < 0) return result;
  SoftiommuNode node;
  const long described = in_engine([&](const SoftiommuEngine& e) { return e.describe(fd, &node); });
  if (described < 0) return described;
  out->st_mode = node.mode;
  out->st_rdev = node.rdev;
  out->st_size = 0;
  return 0;
}

bool is_attribute(int dirfd, const char* path, char (&buffer)[PATH_MAX]) {
  const bool no_path = path == nullptr || path[0] == '\0';  // AT_EMPTY_PATH
  return no_path ? attribute_name(dirfd, buffer) : sysfs_name(dirfd, path, buffer) != nullptr;
}

// `out` is the kernel's struct stat: on x86-64 also struct stat64.
long stat_at(int dirfd, const char* path, void* to, int flags) {
  auto* out = static_cast<struct stat*>(to);
  if ((flags & AT_EMPTY_PATH) != 0 && (path == nullptr || path[0] == '\0') && owned(dirfd)) {
    return stat_descriptor(dirfd, out);
  }
  const int ours = (flags & AT_SYMLINK_NOFOLLOW) == 0 ? own_descriptor_link(dirfd, path) : -1;
  if (ours >= 0) return stat_descriptor(ours, out);
  char buffer[PATH_MAX], name[PATH_MAX];
  const long result = raw(SYS_newfstatat, dirfd, word(redirect(dirfd, path, buffer).path), word(out), flags);
  if (result == 0 && S_ISREG(out->st_mode) && device_file(dirfd, path, name) != nullptr) {
    make_device(out, name);
  } else if (result == 0 && is_marked(out->st_mode) && is_attribute(dirfd, path, name)) {
    show_attribute(out);
  }
  return result;
}

long stat_fd(int fd, void* out) {
  if (owned(fd)) return stat_descriptor(fd, static_cast<struct stat*>(out));
  const long result = raw(SYS_fstat, fd, word(out));
  char name[PATH_MAX];
  if (result == 0 && is_marked(static_cast<struct stat*>(out)->st_mode) && attribute_name(fd, name))
    show_attribute(static_cast<struct stat*>(out));
  const bool is_socket = result == 0 && S_ISSOCK(static_cast<struct stat*>(out)->st_mode);
  return is_socket && adopted(fd) ? stat_descriptor(fd, static_cast<struct stat*>(out)) : result;
}

long read_link(int dirfd, const char* path, char* to, size_t bytes) {
  const int ours = own_descriptor_link(dirfd, path);
  if (ours >= 0) {
    SoftiommuNode node;
    const long described = in_engine([&](const SoftiommuEngine& e) { return e.describe(ours, &node); });
    if (described < 0) return described;
    const size_t length = strnlen(node.path, sizeof node.path);
    const size_t used = length < bytes ? length : bytes;
    memcpy(to, node.path, used);
    return static_cast<long>(used);
  }
  char buffer[PATH_MAX], whole[PATH_MAX];
  if (!redirecting || inside()) return raw(SYS_readlinkat, dirfd, word(path), word(to), static_cast<long>(bytes));
  // An absolute result loses the view's folder, so it has to be read whole first.
  const long got = raw(SYS_readlinkat, dirfd, word(redirect(dirfd, path, buffer).path), word(whole), sizeof whole);
  const long shown = show(whole, got);
  if (shown <= 0) return shown;
  const size_t used = static_cast<size_t>(shown) < bytes ? static_cast<size_t>(shown) : bytes;
  if (bytes > static_cast<size_t>(LONG_MAX)) return -EINVAL;
  memcpy(to, whole, used);
  return static_cast<long>(used);
}

char* real_path(const char* path, char* resolved) {
  static char* (*libc)(const char*, char*);
  char buffer[PATH_MAX];
  const Redirected to = redirect(AT_FDCWD, path, buffer);
  char* result = next(libc, "realpath")(to.path, resolved);
  if (result != nullptr) show(result);
  return result;
}

long access_at(int dirfd, const char* path, int mode, int flags) {
  char buffer[PATH_MAX];
  const char* to = redirect(dirfd, path, buffer).path;
  return flags == 0 ? raw(SYS_faccessat, dirfd, word(to), mode) : raw(SYS_faccessat2, dirfd, word(to), mode, flags);
}

char* shown_folder(char* folder) {
  if (folder != nullptr) show(folder);
  return folder;
}

}  // namespace
}  // namespace softiommu::shim

using namespace softiommu::shim;

SHIM_EXPORT int stat(const char* path, struct stat* out) { return int_answer(stat_at(AT_FDCWD, path, out, 0)); }
SHIM_EXPORT int stat64(const char* path, struct stat64* out) { return int_answer(stat_at(AT_FDCWD, path, out, 0)); }
SHIM_EXPORT int lstat(const char* path, struct stat* out) {
  return int_answer(stat_at(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW));
}
SHIM_EXPORT int lstat64(const char* path, struct stat64* out) {
  return int_answer(stat_at(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW));
}
SHIM_EXPORT int fstat(int fd, struct stat* out) { return int_answer(stat_fd(fd, out)); }
SHIM_EXPORT int fstat64(int fd, struct stat64* out) { return int_answer(stat_fd(fd, out)); }
SHIM_EXPORT int fstatat(int dirfd, const char* path, struct stat* out, int flags) {
  return int_answer(stat_at(dirfd, path, out, flags));
}
SHIM_EXPORT int fstatat64(int dirfd, const char* path, struct stat64* out, int flags) {
  return int_answer(stat_at(dirfd, path, out, flags));
}
// The names that programs linked against a glibc before 2.33 call.
SHIM_EXPORT int __xstat(int, const char* path, struct stat* out) { return int_answer(stat_at(AT_FDCWD, path, out, 0)); }
SHIM_EXPORT int __xstat64(int, const char* path, struct stat64* out) {
  return int_answer(stat_at(AT_FDCWD, path, out, 0));
}
SHIM_EXPORT int __lxstat(int, const char* path, struct stat* out) {
  return int_answer(stat_at(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW));
}
SHIM_EXPORT int __lxstat64(int, const char* path, struct stat64* out) {
  return int_answer(stat_at(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW));
}
SHIM_EXPORT int __fxstat(int, int fd, struct stat* out) { return int_answer(stat_fd(fd, out)); }
SHIM_EXPORT int __fxstat64(int, int fd, struct stat64* out) { return int_answer(stat_fd(fd, out)); }
SHIM_EXPORT int __fxstatat(int, int dirfd, const char* path, struct stat* out, int flags) {
  return int_answer(stat_at(dirfd, path, out, flags));
}
SHIM_EXPORT int __fxstatat64(int, int dirfd, const char* path, struct stat64* out, int flags) {
  return int_answer(stat_at(dirfd, path, out, flags));
}

SHIM_EXPORT int statx(int dirfd, const char* path, int flags, unsigned mask, struct statx* out) {
  char buffer[PATH_MAX], name[PATH_MAX];
  const char* to = redirect(dirfd, path, buffer).path;
  const long result = raw(SYS_statx, dirfd, word(to), flags, mask, word(out));
  if (result < 0) return int_answer(result);
  struct stat plain;
  const bool own_fd = (flags & AT_EMPTY_PATH) != 0 && path[0] == '\0' && owned(dirfd);
  const bool own_node = !own_fd && S_ISREG(out->stx_mode) && device_file(dirfd, path, name) != nullptr;
  const bool marked = is_marked(out->stx_mode);
  if ((own_fd || own_node || marked) &&
      stat_at(dirfd, path, &plain, flags & (AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) == 0) {
    patch_statx(out, plain);
  }
  return 0;
}

SHIM_EXPORT int statfs(const char* path, struct statfs* out) {
  char buffer[PATH_MAX];
  return int_answer(raw(SYS_statfs, word(redirect(AT_FDCWD, path, buffer).path), word(out)));
}
SHIM_EXPORT int statfs64(const char* path, struct statfs64* out) {
  char buffer[PATH_MAX];
  return int_answer(raw(SYS_statfs, word(redirect(AT_FDCWD, path, buffer).path), word(out)));
}

SHIM_EXPORT int access(const char* path, int mode) { return int_answer(access_at(AT_FDCWD, path, mode, 0)); }
SHIM_EXPORT int faccessat(int dirfd, const char* path, int mode, int flags) {
  return int_answer(access_at(dirfd, path, mode, flags));
}
SHIM_EXPORT int euidaccess(const char* path, int mode) {
  return int_answer(access_at(AT_FDCWD, path, mode, AT_EACCESS));
}
SHIM_EXPORT int eaccess(const char* path, int mode) { return int_answer(access_at(AT_FDCWD, path, mode, AT_EACCESS)); }

SHIM_EXPORT ssize_t readlink(const char* path, char* to, size_t bytes) {
  return answer(read_link(AT_FDCWD, path, to, bytes));
}
SHIM_EXPORT ssize_t readlinkat(int dirfd, const char* path, char* to, size_t bytes) {
  return answer(read_link(dirfd, path, to, bytes));
}
SHIM_EXPORT ssize_t __readlink_chk(const char* path, char* to, size_t bytes, size_t room) {
  if (bytes > room) abort();
  return answer(read_link(AT_FDCWD, path, to, bytes));
}
SHIM_EXPORT ssize_t __readlinkat_chk(int dirfd, const char* path, char* to, size_t bytes, size_t room) {
  if (bytes > room) abort();
  return answer(read_link(dirfd, path, to, bytes));
}

SHIM_EXPORT char* realpath(const char* path, char* resolved) { return real_path(path, resolved); }
SHIM_EXPORT char* __realpath_chk(const char* path, char* resolved, size_t room) {
  if (room < PATH_MAX) abort();
  return real_path(path, resolved);
}
SHIM_EXPORT char* canonicalize_file_name(const char* path) { return real_path(path, nullptr); }

// ls and cp ask for attributes of each name.
SHIM_EXPORT ssize_t getxattr(const char* path, const char* name, void* value, size_t bytes) {
  char buffer[PATH_MAX];
  const char* to = redirect(AT_FDCWD, path, buffer).path;
  return answer(raw(SYS_getxattr, word(to), word(name), word(value), static_cast<long>(bytes)));
}
SHIM_EXPORT ssize_t lgetxattr(const char* path, const char* name, void* value, size_t bytes) {
  char buffer[PATH_MAX];
  const char* to = redirect(AT_FDCWD, path, buffer).path;
  return answer(raw(SYS_lgetxattr, word(to), word(name), word(value), static_cast<long>(bytes)));
}
SHIM_EXPORT ssize_t listxattr(const char* path, char* list, size_t bytes) {
  char buffer[PATH_MAX];
  return answer(raw(SYS_listxattr, word(redirect(AT_FDCWD, path, buffer).path), word(list), static_cast<long>(bytes)));
}
SHIM_EXPORT ssize_t llistxattr(const char* path, char* list, size_t bytes) {
  char buffer[PATH_MAX];
  return answer(raw(SYS_llistxattr, word(redirect(AT_FDCWD, path, buffer).path), word(list), static_cast<long>(bytes)));
}

SHIM_EXPORT int chdir(const char* path) {
  char buffer[PATH_MAX];
  return int_answer(raw(SYS_chdir, word(redirect(AT_FDCWD, path, buffer).path)));
}
SHIM_EXPORT char* getcwd(char* to, size_t bytes) {
  static char* (*libc)(char*, size_t);
  return shown_folder(next(libc, "getcwd")(to, bytes));
}
SHIM_EXPORT char* __getcwd_chk(char* to, size_t bytes, size_t room) {
  if (bytes > room) abort();
  return getcwd(to, bytes);
}
SHIM_EXPORT char* get_current_dir_name(void) {
  static char* (*libc)(void);
  return shown_folder(next(libc, "get_current_dir_name")());
}
