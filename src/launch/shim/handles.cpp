// SPDX-License-Identifier: BSD-3-Clause
// Handles that come from another process: inherited over exec, or received over a socket.
//
// A handle is a socket whose inode stands in the run's table. The table is looked at only where a call on a descriptor
// that is not ours makes no sense for a socket, or has just brought descriptors: an ioctl of VFIO's type, a pread or
// mmap that the kernel has refused, an fstat that says socket, a received message with descriptors. Nothing else pays.
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/service/handle_table.h"
#include "launch/shim/execution.h"
#include "launch/shim/shim.h"

using softiommu::launch::HandleTable;

namespace softiommu::shim {
namespace {

const HandleTable* the_table() {
  static const HandleTable* table;
  const HandleTable* present = __atomic_load_n(&table, __ATOMIC_ACQUIRE);
  if (present != nullptr) return present;
  char path[PATH_MAX];
  const int length = snprintf(path, sizeof path, "%s/handles", run_dir);
  if (length < 0 || static_cast<size_t>(length) >= sizeof path) return nullptr;
  const long fd = raw(SYS_openat, AT_FDCWD, word(path), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return nullptr;
  const long page = raw(SYS_mmap, 0, sizeof(HandleTable), PROT_READ, MAP_SHARED, fd, 0);
  raw(SYS_close, fd);
  if (page < 0 && page > -4096) return nullptr;
  const auto* mapped = reinterpret_cast<const HandleTable*>(page);
  if (__atomic_compare_exchange_n(&table, &present, mapped, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return mapped;
  raw(SYS_munmap, page, sizeof(HandleTable));
  return present;
}

// The descriptors in a message's control data.
template <typename Visit>
void each_descriptor(const msghdr* message, Visit&& visit) {
  if (message == nullptr || message->msg_control == nullptr) return;
  auto* whole = const_cast<msghdr*>(message);
  for (cmsghdr* part = CMSG_FIRSTHDR(whole); part != nullptr; part = CMSG_NXTHDR(whole, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS || part->cmsg_len < CMSG_LEN(0)) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      visit(fd);
    }
  }
}

void before_sending(const msghdr* message) {
  bool ours = false;
  each_descriptor(message, [&](int fd) { ours = ours || owned(fd); });
  if (ours) spread_handles();
}

void after_receiving(const msghdr* message) {
  if (run_dir[0] == '\0' || inside()) return;
  each_descriptor(message, [](int fd) { adopted(fd); });
}

}  // namespace

bool adopted(int fd) {
  if (run_dir[0] == '\0' || inside() || owned(fd)) return false;
  struct stat status;
  if (raw(SYS_fstat, fd, word(&status)) < 0 || !S_ISSOCK(status.st_mode)) return false;
  const HandleTable* table = the_table();
  if (table == nullptr || !table->contains(status.st_ino)) return false;
  const int saved = errno;
  const bool done = load_engine() != nullptr && in_engine([&](const SoftiommuEngine& e) { return e.adopt(fd); }) == 0;
  errno = saved;
  return done;
}

void spread_handles() {
  const SoftiommuEngine* e = inside() ? nullptr : engine();
  if (e == nullptr) return;
  const Scope scope;
  e->spread();
}

}  // namespace softiommu::shim

using namespace softiommu::shim;

SHIM_EXPORT ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  static decltype(&sendmsg) libc;
  if (inside()) return answer(raw(SYS_sendmsg, fd, word(message), flags));
  if (engine() != nullptr) before_sending(message);
  return next(libc, "sendmsg")(fd, message, flags);
}
SHIM_EXPORT int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  static decltype(&sendmmsg) libc;
  for (unsigned i = 0; engine() != nullptr && !inside() && i < count; ++i) before_sending(&messages[i].msg_hdr);
  return next(libc, "sendmmsg")(fd, messages, count, flags);
}
SHIM_EXPORT ssize_t recvmsg(int fd, msghdr* message, int flags) {
  static decltype(&recvmsg) libc;
  if (inside()) return answer(raw(SYS_recvmsg, fd, word(message), flags));
  const ssize_t got = next(libc, "recvmsg")(fd, message, flags);
  if (got >= 0 && message->msg_controllen != 0) after_receiving(message);
  return got;
}
SHIM_EXPORT int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
  static decltype(&recvmmsg) libc;
  const int got = next(libc, "recvmmsg")(fd, messages, count, flags, timeout);
  for (int i = 0; i < got; ++i) {
    if (messages[i].msg_hdr.msg_controllen != 0) after_receiving(&messages[i].msg_hdr);
  }
  return got;
}

// Children that do not come from fork() inherit handles too.
SHIM_EXPORT int posix_spawn(pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions,
                            const posix_spawnattr_t* attributes, char* const arguments[], char* const environment[]) {
  static decltype(&posix_spawn) libc;
  spread_handles();
  return Execution(AT_FDCWD, path, arguments, environment).by([&](const Execution& to) {
    return next(libc, "posix_spawn")(pid, to.path(), actions, attributes, to.arguments(), to.environment());
  });
}
SHIM_EXPORT int posix_spawnp(pid_t* pid, const char* file, const posix_spawn_file_actions_t* actions,
                             const posix_spawnattr_t* attributes, char* const arguments[], char* const environment[]) {
  static decltype(&posix_spawnp) libc;
  spread_handles();
  return Execution(Execution::InPath{}, file, arguments, environment).by([&](const Execution& to) {
    return next(libc, "posix_spawnp")(pid, to.path(), actions, attributes, to.arguments(), to.environment());
  });
}
SHIM_EXPORT int system(const char* command) {
  static int (*libc)(const char*);
  spread_handles();
  return next(libc, "system")(command);
}
SHIM_EXPORT FILE* popen(const char* command, const char* mode) {
  static FILE* (*libc)(const char*, const char*);
  spread_handles();
  return next(libc, "popen")(command, mode);
}
