// SPDX-License-Identifier: BSD-3-Clause
// Files of sysfs that a program writes: each write goes to the process that keeps the run's state, and the answer is
// that of write(2) on Linux.
//
// The descriptor is one of the view's file. A bit says that it may be such a file; it goes along with dup and fork, is
// set at the start for what exec passed on, and is proved before it counts, so that nobody has to take it back. Streams
// write inside libc, where no call of ours is: what they hold goes out at fflush and fclose, which are.
#include <fcntl.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "launch/control/control_abi.h"
#include "launch/shim/shim.h"

using softiommu::launch::ControlHead;

namespace softiommu::shim {

uint64_t attribute_bits[SOFTIOMMU_MAX_DESCRIPTORS / 64];

namespace {

constexpr size_t kMostParts = 62;  // of one write; sendmsg takes 1,024

// Of glibc's FILE, which its macros for putc have made public.
constexpr int kStreamError = 0x20, kStreamLineBuffered = 0x200;

bool seen;  // once there is a bit

// Not in a child of vfork, whose memory is its parent's: what it executes finds the marks by itself.
void mark(int fd, bool on) {
  if (static_cast<unsigned>(fd) >= SOFTIOMMU_MAX_DESCRIPTORS || in_vfork_child()) return;
  const uint64_t bit = uint64_t{1} << (fd % 64);
  if (on) {
    __atomic_store_n(&seen, true, __ATOMIC_RELAXED);
    __atomic_fetch_or(&attribute_bits[fd / 64], bit, __ATOMIC_RELAXED);
  } else {
    __atomic_fetch_and(&attribute_bits[fd / 64], ~bit, __ATOMIC_RELAXED);
  }
}

bool has_mark(int fd, struct stat* status) {
  return raw(SYS_fstat, fd, word(status)) == 0 && S_ISREG(status->st_mode) &&
         (status->st_mode & launch::kAttributeMark) != 0;
}

// A path of any length, although a socket's address has room for 107 characters.
long connect_to_run() {
  const long folder = raw(SYS_openat, AT_FDCWD, word(run_dir), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return folder;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%ld/%s", folder, launch::kControlName);
  const long fd = raw(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  const long connected = fd < 0 ? fd : raw(SYS_connect, fd, word(&address), sizeof address);
  raw(SYS_close, folder);
  if (connected >= 0) return fd;
  if (fd >= 0) raw(SYS_close, fd);
  return connected;
}

template <typename Call>
long uninterrupted(Call&& call) {  // a write to sysfs waits also through signals
  for (;;) {
    if (const long result = call(); result != -EINTR) return result;
  }
}

// What sysfs takes of a write: one page, in however many parts it comes. How many parts of `to` are used.
size_t first_page(const iovec* parts, int count, iovec (&to)[kMostParts]) {
  size_t used = 0, bytes = 0;
  for (int i = 0; i < count && bytes < launch::kMostStored && used < kMostParts; ++i) {
    const size_t room = launch::kMostStored - bytes, part = parts[i].iov_len < room ? parts[i].iov_len : room;
    to[used++] = {parts[i].iov_base, part};
    bytes += part;
  }
  return used;
}

long ask(const char* name, const iovec* parts, int count) {
  const long fd = connect_to_run();
  if (fd < 0) return -EIO;
  ControlHead head = {ControlHead::kStore, 0, 0};
  struct {
    iovec head, name, data[kMostParts];
  } sent = {{&head, sizeof head}, {const_cast<char*>(name), strlen(name) + 1}, {}};
  msghdr message = {};
  message.msg_iov = &sent.head;
  message.msg_iovlen = 2 + first_page(parts, count, sent.data);
  long result = uninterrupted([&] { return raw(SYS_sendmsg, fd, word(&message), MSG_NOSIGNAL); });
  if (result >= 0) {
    result = uninterrupted([&] { return raw(SYS_recvfrom, fd, word(&head), sizeof head); });
    result = result < static_cast<long>(sizeof head) ? -EIO : head.result;
  }
  raw(SYS_close, fd);
  return result;
}

bool may_be_attribute(FILE* stream) { return stream != nullptr && stream->_fileno >= 0 && attribute(stream->_fileno); }

// What the stream holds goes out by our way. False: libc does it.
bool drain(FILE* stream) {
  flockfile(stream);
  const size_t bytes = __fpending(stream);
  const iovec held = {stream->_IO_write_base, bytes};
  const long result = bytes == 0 ? kNotAttribute : write_attribute(stream->_fileno, &held, 1);
  if (result != kNotAttribute) {
    __fpurge(stream);
    if (result < 0) {
      stream->_flags |= kStreamError;
      errno = static_cast<int>(-result);
    }
  }
  funlockfile(stream);
  return result >= 0 || result == kNotAttribute;
}

}  // namespace

bool attributes_seen() { return __atomic_load_n(&seen, __ATOMIC_RELAXED); }

void find_inherited_attributes() {
  struct stat status;
  for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (has_mark(fd, &status)) mark(fd, true);
  }
}

long open_attribute(const char* path, int flags) {
  constexpr int kIgnored = O_CREAT | O_EXCL | O_TRUNC | O_APPEND;  // by sysfs; nothing can be made there
  const long fd = raw(SYS_openat, AT_FDCWD, word(path), flags & ~kIgnored, 0);
  if (fd < 0) return fd == -ENOENT && (flags & O_CREAT) != 0 ? -EACCES : fd;
  struct stat status;
  if (!has_mark(static_cast<int>(fd), &status)) return fd;
  // As kernfs: what the file does not offer is refused to root as well.
  const int access = flags & O_ACCMODE;
  const bool refused =
      (access != O_WRONLY && (status.st_mode & 0444) == 0) || (access != O_RDONLY && (status.st_mode & 0222) == 0);
  if (refused && (flags & O_PATH) == 0) {
    raw(SYS_close, fd);
    return -EACCES;
  }
  mark(static_cast<int>(fd), access != O_RDONLY);
  return fd;
}

void copy_attribute(int from, int to) {
  if (!attributes_seen() || inside() || to < 0) return;
  const bool on = attribute(from);
  mark(to, on);
  // A shell writes its output line by line, inside libc, and asks fflush for the error.
  static bool was_line_buffered;
  if (to != STDOUT_FILENO || stdout == nullptr || in_vfork_child()) return;
  if (on && (stdout->_flags & kStreamLineBuffered) != 0) {
    stdout->_flags &= ~kStreamLineBuffered;
    was_line_buffered = true;
  } else if (!on && was_line_buffered) {
    stdout->_flags |= kStreamLineBuffered;
    was_line_buffered = false;
  }
}

long store_attribute(int fd, const iovec* parts, int count) {
  struct stat status;
  char name[PATH_MAX];
  if (!has_mark(fd, &status) || !attribute_name(fd, name)) {
    mark(fd, false);
    return kNotAttribute;
  }
  const long flags = raw(SYS_fcntl, fd, F_GETFL);
  if ((flags & O_ACCMODE) == O_RDONLY) return -EBADF;
  size_t bytes = 0;
  for (int i = 0; i < count; ++i) bytes += parts[i].iov_len;
  if (bytes == 0) return 0;
  const int saved = errno;
  const long done = ask(name, parts, count);
  errno = saved;
  return done;
}

long write_attribute(int fd, const iovec* parts, int count) {
  const long done = store_attribute(fd, parts, count);
  if (done > 0) raw(SYS_lseek, fd, done, SEEK_CUR);
  return done;
}

bool attribute_name(int fd, char (&name)[PATH_MAX]) {
  const long length = link_of(fd, name, sizeof name - 1);
  if (length <= 0) return false;
  name[length] = '\0';
  return take_view_off(name) && starts_with(name, "/sys/");
}

void drain_output() {
  if (may_be_attribute(stdout)) drain(stdout);
}

}  // namespace softiommu::shim

using namespace softiommu::shim;

SHIM_EXPORT int fflush(FILE* stream) {
  static int (*libc)(FILE*);
  FILE* const ours = stream == nullptr ? stdout : stream;
  const bool drained = inside() || !may_be_attribute(ours) || drain(ours);
  if (!drained && stream != nullptr) return EOF;
  const int result = next(libc, "fflush")(stream);
  return drained ? result : EOF;
}
SHIM_EXPORT int fflush_unlocked(FILE* stream) {
  static int (*libc)(FILE*);
  if (!inside() && may_be_attribute(stream) && !drain(stream)) return EOF;
  return next(libc, "fflush_unlocked")(stream);
}
SHIM_EXPORT int fclose(FILE* stream) {
  static int (*libc)(FILE*);
  if (inside() || !may_be_attribute(stream)) return next(libc, "fclose")(stream);
  const bool drained = drain(stream);
  const int error = errno;
  const int result = next(libc, "fclose")(stream);
  if (drained) return result;
  errno = error;
  return EOF;
}
// Without a buffer each write would be made inside libc.
SHIM_EXPORT int setvbuf(FILE* stream, char* buffer, int mode, size_t bytes) {
  static int (*libc)(FILE*, char*, int, size_t);
  if (!inside() && mode != _IOFBF && may_be_attribute(stream)) return 0;
  return next(libc, "setvbuf")(stream, buffer, mode, bytes);
}

// As the kernel for files that take no pages: programs go on with read and write.
SHIM_EXPORT ssize_t copy_file_range(int in, off64_t* in_offset, int out, off64_t* out_offset, size_t bytes,
                                    unsigned flags) {
  if (!inside() && attribute(out)) return answer(-EINVAL);
  return answer(raw(SYS_copy_file_range, in, word(in_offset), out, word(out_offset), static_cast<long>(bytes), flags));
}
SHIM_EXPORT ssize_t sendfile(int out, int in, off_t* offset, size_t bytes) {
  if (!inside() && attribute(out)) return answer(-EINVAL);
  return answer(raw(SYS_sendfile, out, in, word(offset), static_cast<long>(bytes)));
}
SHIM_EXPORT ssize_t sendfile64(int out, int in, off64_t* offset, size_t bytes) {
  return sendfile(out, in, offset, bytes);
}
