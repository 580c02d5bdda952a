// SPDX-License-Identifier: BSD-3-Clause
// Calls on descriptors: a bit test says whether a handle is ours; all others go straight to the kernel or libc.
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "launch/control/control_abi.h"
#include "launch/shim/shim.h"

// Public aliases of libc's own calls: cancellation points stay cancellation points.
extern "C" {
ssize_t __read(int, void*, size_t);
ssize_t __write(int, const void*, size_t);
ssize_t __pread64(int, void*, size_t, off64_t);
ssize_t __pwrite64(int, const void*, size_t, off64_t);
int __poll(struct pollfd*, nfds_t, int);
int __select(int, fd_set*, fd_set*, fd_set*, struct timeval*);
int __fcntl(int, int, ...);
}

namespace softiommu::shim {
namespace {

long transfer(int fd, void* buffer, size_t bytes, off_t offset, bool write) {
  return in_engine([&](const SoftiommuEngine& e) {
    return write ? e.write(fd, buffer, bytes, offset) : e.read(fd, buffer, bytes, offset);
  });
}

long transfer_vector(int fd, const iovec* parts, int count, off_t offset, bool write) {
  long done = 0;
  for (int i = 0; i < count; ++i) {
    if (parts[i].iov_len == 0) continue;
    const long got = transfer(fd, parts[i].iov_base, parts[i].iov_len, offset < 0 ? offset : offset + done, write);
    if (got < 0) return done > 0 ? done : got;
    done += got;
    if (static_cast<size_t>(got) < parts[i].iov_len) break;
  }
  return done;
}

long close_descriptor(int fd) {
  if (owned(fd)) return in_engine([&](const SoftiommuEngine& e) { return e.close(fd); });
  if (hidden(fd)) return -EBADF;
  // The engine closes a descriptor of its own: the number is the program's again.
  if (bit(hidden_bits, fd)) __atomic_fetch_and(&hidden_bits[fd / 64], ~(uint64_t{1} << (fd % 64)), __ATOMIC_ACQ_REL);
  return raw(SYS_close, fd);
}

long close_gap(unsigned first, unsigned last, unsigned flags) {
  return first > last ? 0 : raw(SYS_close_range, first, last, flags);
}

// Word by word over the descriptors that are ours or the engine's; the kernel closes what lies between.
long close_all(unsigned first, unsigned last, unsigned flags) {
  if (inside() || (flags & CLOSE_RANGE_CLOEXEC) != 0) return raw(SYS_close_range, first, last, flags);
  if (first > last) return -EINVAL;
  const unsigned end = last < SOFTIOMMU_MAX_DESCRIPTORS ? last : SOFTIOMMU_MAX_DESCRIPTORS - 1;
  unsigned next_gap = first;
  for (unsigned at = first & ~63u; at <= end && engine() != nullptr; at += 64) {
    uint64_t special = __atomic_load_n(&owned_bits[at / 64], __ATOMIC_RELAXED) |
                       __atomic_load_n(&hidden_bits[at / 64], __ATOMIC_RELAXED);
    for (; special != 0; special &= special - 1) {
      const unsigned fd = at + static_cast<unsigned>(__builtin_ctzll(special));
      if (fd < first || fd > last) continue;
      if (fd > next_gap) close_gap(next_gap, fd - 1, flags);
      if (owned(static_cast<int>(fd))) close_descriptor(static_cast<int>(fd));
      next_gap = fd + 1;
    }
  }
  return next_gap == 0 && first != 0 ? 0 : close_gap(next_gap, last, flags);
}

long duplicate(int from, int to, int flags) {
  if (owned(from)) return in_engine([&](const SoftiommuEngine& e) { return e.dup(from, -1, to, flags); });
  if (hidden(from) || hidden(to)) return -EBADF;
  if (owned(to)) return in_engine([&](const SoftiommuEngine& e) { return e.replace(from, to, flags); });
  const long made = raw(SYS_dup3, from, to, flags);
  copy_attribute(from, static_cast<int>(made));
  return made;
}

long duplicate2(int from, int to) {
  if (from == to) {
    const long valid = raw(SYS_fcntl, from, F_GETFD);
    return valid < 0 ? valid : to;
  }
  return duplicate(from, to, 0);
}

unsigned long type_of(unsigned long request) { return request >> 8 & 0xff; }
constexpr unsigned long kVfioType = ';', kKvmType = 0xae;  // iommufd's commands have VFIO's

bool any_owned(const pollfd* list, nfds_t count) {
  if (engine() == nullptr || inside()) return false;
  for (nfds_t i = 0; i < count; ++i) {
    if (owned(list[i].fd)) return true;
  }
  return false;
}

// Asks our handles, hides them from the kernel as negative numbers, and lets it wait only if none is ready.
class PollList {
 public:
  PollList(pollfd* list, nfds_t count) : list_(list), count_(count) {}

  int ask_ours() {
    int ready = 0;
    for (nfds_t i = 0; i < count_; ++i) {
      if (!owned(list_[i].fd)) continue;
      const int fd = list_[i].fd;
      const long events = in_engine([&](const SoftiommuEngine& e) { return e.poll(fd); });
      const int wanted = list_[i].events | POLLERR | POLLHUP | POLLNVAL;
      list_[i].revents = static_cast<short>(events < 0 ? POLLNVAL : events & wanted);
      ready += list_[i].revents != 0;
    }
    return ready;
  }
  // A descriptor -1 - fd is ignored by the kernel, which clears its revents: those are put back.
  template <typename Wait>
  int others(Wait&& wait) {
    flip();
    const int result = wait();
    flip();
    return result;
  }

 private:
  void flip() {
    for (nfds_t i = 0; i < count_; ++i) {
      const int plain = list_[i].fd < 0 ? -1 - list_[i].fd : list_[i].fd;
      if (owned(plain)) list_[i].fd = -1 - list_[i].fd;
    }
  }
  pollfd* list_;
  nfds_t count_;
};

constexpr int kSliceMilliseconds = 10;

int poll_ours(pollfd* list, nfds_t count, int timeout) {
  PollList ours(list, count);
  for (int waited = 0;; waited += kSliceMilliseconds) {
    const bool last = timeout >= 0 && waited + kSliceMilliseconds >= timeout;
    const int slice = ours.ask_ours() > 0 ? 0 : last ? timeout - waited : kSliceMilliseconds;
    const int others = ours.others([&] { return __poll(list, count, slice); });
    if (others < 0) return others;
    const int ready = others + ours.ask_ours();
    if (ready > 0 || (timeout >= 0 && waited + slice >= timeout)) return ready;
  }
}

bool any_owned(int count, const fd_set* set) {
  if (set == nullptr) return false;
  for (int fd = 0; fd < count && fd < FD_SETSIZE; ++fd) {
    if (FD_ISSET(fd, set) && owned(fd)) return true;
  }
  return false;
}

// Our handles have no poll method: Linux takes them as always ready, so the others are only asked, not waited for.
int select_ours(int count, fd_set* read, fd_set* write, fd_set* except) {
  fd_set ours_read, ours_write;
  FD_ZERO(&ours_read);
  FD_ZERO(&ours_write);
  int ready = 0;
  for (int fd = 0; fd < count && fd < FD_SETSIZE; ++fd) {
    if (!owned(fd)) continue;
    if (read != nullptr && FD_ISSET(fd, read)) FD_CLR(fd, read), FD_SET(fd, &ours_read), ++ready;
    if (write != nullptr && FD_ISSET(fd, write)) FD_CLR(fd, write), FD_SET(fd, &ours_write), ++ready;
    if (except != nullptr) FD_CLR(fd, except);
  }
  timeval now = {0, 0};
  const int others = __select(count, read, write, except, &now);
  if (others < 0) return others;
  for (int fd = 0; fd < count && fd < FD_SETSIZE; ++fd) {
    if (FD_ISSET(fd, &ours_read)) FD_SET(fd, read);
    if (FD_ISSET(fd, &ours_write)) FD_SET(fd, write);
  }
  return ready + others;
}

long control(int fd, int command, long argument) {
  switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
      return in_engine([&](const SoftiommuEngine& e) {
        return e.dup(fd, static_cast<int>(argument), -1, command == F_DUPFD ? 0 : O_CLOEXEC);
      });
    case F_GETFL:
      return in_engine([&](const SoftiommuEngine& e) { return e.get_flags(fd); });
    case F_SETFL:
      return in_engine([&](const SoftiommuEngine& e) { return e.set_flags(fd, static_cast<int>(argument)); });
    default:
      return raw(SYS_fcntl, fd, command, argument);
  }
}

int control_any(int fd, int command, long argument) {
  if (owned(fd)) return int_answer(control(fd, command, argument));
  const int result = __fcntl(fd, command, argument);
  if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) copy_attribute(fd, result);
  return result;
}

}  // namespace

long device_call(int fd, unsigned long request, unsigned long argument) {
  if (owned(fd)) return in_engine([&](const SoftiommuEngine& e) { return e.ioctl(fd, request, argument); });
  if (type_of(request) == kVfioType && adopted(fd)) return device_call(fd, request, argument);
  if (type_of(request) == kKvmType && engine() != nullptr && !inside()) return kvm_ioctl(fd, request, argument);
  return raw(SYS_ioctl, fd, static_cast<long>(request), static_cast<long>(argument));
}

}  // namespace softiommu::shim

using namespace softiommu::shim;

// Declared with an ellipsis, whose one argument every 64-bit Linux ABI passes as if it were named.
SHIM_EXPORT int ioctl(int fd, unsigned long request, unsigned long argument) {
  return int_answer(device_call(fd, request, argument));
}

SHIM_EXPORT int close(int fd) { return int_answer(close_descriptor(fd)); }
SHIM_EXPORT int close_range(unsigned first, unsigned last, int flags) {
  return int_answer(close_all(first, last, static_cast<unsigned>(flags)));
}
SHIM_EXPORT void closefrom(int first) { close_all(first < 0 ? 0 : static_cast<unsigned>(first), ~0u, 0); }

SHIM_EXPORT int dup(int fd) {
  if (owned(fd)) return int_answer(in_engine([&](const SoftiommuEngine& e) { return e.dup(fd, 0, -1, 0); }));
  if (hidden(fd)) return int_answer(-EBADF);
  const int made = int_answer(raw(SYS_dup, fd));
  copy_attribute(fd, made);
  return made;
}
SHIM_EXPORT int dup2(int from, int to) { return int_answer(duplicate2(from, to)); }
SHIM_EXPORT int __dup2(int from, int to) { return int_answer(duplicate2(from, to)); }
SHIM_EXPORT int dup3(int from, int to, int flags) {
  return int_answer(from == to ? -EINVAL : duplicate(from, to, flags));
}

SHIM_EXPORT int fcntl(int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  const long argument = va_arg(list, long);
  va_end(list);
  return control_any(fd, command, argument);
}
SHIM_EXPORT int fcntl64(int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  const long argument = va_arg(list, long);
  va_end(list);
  return control_any(fd, command, argument);
}

SHIM_EXPORT ssize_t read(int fd, void* to, size_t bytes) {
  return owned(fd) ? answer(transfer(fd, to, bytes, -1, false)) : __read(fd, to, bytes);
}
SHIM_EXPORT ssize_t __read_chk(int fd, void* to, size_t bytes, size_t room) {
  if (bytes > room) __builtin_trap();
  return read(fd, to, bytes);
}
SHIM_EXPORT ssize_t write(int fd, const void* from, size_t bytes) {
  if (owned(fd)) return answer(transfer(fd, const_cast<void*>(from), bytes, -1, true));
  if (attribute(fd)) [[unlikely]] {
    const iovec part = {const_cast<void*>(from), bytes};
    if (const long stored = write_attribute(fd, &part, 1); stored != kNotAttribute) return answer(stored);
  }
  return __write(fd, from, bytes);
}
SHIM_EXPORT ssize_t pread64(int fd, void* to, size_t bytes, off64_t offset) {
  if (!owned(fd)) {
    const ssize_t got = __pread64(fd, to, bytes, offset);
    if (got >= 0 || errno != ESPIPE || !adopted(fd)) return got;
  }
  return answer(offset < 0 ? -EINVAL : transfer(fd, to, bytes, offset, false));
}
SHIM_EXPORT ssize_t pread(int fd, void* to, size_t bytes, off_t offset) { return pread64(fd, to, bytes, offset); }
SHIM_EXPORT ssize_t __pread_chk(int fd, void* to, size_t bytes, off_t offset, size_t room) {
  if (bytes > room) __builtin_trap();
  return pread64(fd, to, bytes, offset);
}
SHIM_EXPORT ssize_t __pread64_chk(int fd, void* to, size_t bytes, off64_t offset, size_t room) {
  if (bytes > room) __builtin_trap();
  return pread64(fd, to, bytes, offset);
}
SHIM_EXPORT ssize_t pwrite64(int fd, const void* from, size_t bytes, off64_t offset) {
  if (attribute(fd)) [[unlikely]] {
    const iovec part = {const_cast<void*>(from), bytes};
    if (const long stored = store_attribute(fd, &part, 1); stored != kNotAttribute) return answer(stored);
  }
  if (!owned(fd)) {
    const ssize_t put = __pwrite64(fd, from, bytes, offset);
    if (put >= 0 || errno != ESPIPE || !adopted(fd)) return put;
  }
  return answer(offset < 0 ? -EINVAL : transfer(fd, const_cast<void*>(from), bytes, offset, true));
}
SHIM_EXPORT ssize_t pwrite(int fd, const void* from, size_t bytes, off_t offset) {
  return pwrite64(fd, from, bytes, offset);
}

#define VECTOR_CALL(name, is_write)                                                \
  SHIM_EXPORT ssize_t name(int fd, const iovec* parts, int count) {                \
    static ssize_t (*libc)(int, const iovec*, int);                                \
    if (owned(fd)) return answer(transfer_vector(fd, parts, count, -1, is_write)); \
    if (is_write && attribute(fd)) {                                               \
      const long stored = write_attribute(fd, parts, count);                       \
      if (stored != kNotAttribute) return answer(stored);                          \
    }                                                                              \
    return next(libc, #name)(fd, parts, count);                                    \
  }
#define VECTOR_CALL_AT(name, is_write)                                                         \
  SHIM_EXPORT ssize_t name(int fd, const iovec* parts, int count, off_t offset) {              \
    static ssize_t (*libc)(int, const iovec*, int, off_t);                                     \
    if (is_write && attribute(fd)) {                                                           \
      const long stored = store_attribute(fd, parts, count);                                   \
      if (stored != kNotAttribute) return answer(stored);                                      \
    }                                                                                          \
    if (!owned(fd)) return next(libc, #name)(fd, parts, count, offset);                        \
    return answer(offset < 0 ? -EINVAL : transfer_vector(fd, parts, count, offset, is_write)); \
  }
VECTOR_CALL(readv, false)
VECTOR_CALL(writev, true)
VECTOR_CALL_AT(preadv, false)
VECTOR_CALL_AT(preadv64, false)
VECTOR_CALL_AT(pwritev, true)
VECTOR_CALL_AT(pwritev64, true)

SHIM_EXPORT off_t lseek(int fd, off_t offset, int whence) {
  return answer(owned(fd) ? -ESPIPE : raw(SYS_lseek, fd, offset, whence));
}
SHIM_EXPORT off64_t lseek64(int fd, off64_t offset, int whence) {
  return answer(owned(fd) ? -ESPIPE : raw(SYS_lseek, fd, offset, whence));
}

// libc declares the list as written only, which is not so: fd and events are read.
#pragma GCC diagnostic push
#if !defined(__clang__)  // which has no such warning
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
SHIM_EXPORT int poll(pollfd* list, nfds_t count, int timeout) {
  return any_owned(list, count) ? poll_ours(list, count, timeout) : __poll(list, count, timeout);
}
SHIM_EXPORT int __poll_chk(pollfd* list, nfds_t count, int timeout, size_t room) {
  if (room / sizeof(pollfd) < count) __builtin_trap();
  return poll(list, count, timeout);
}
SHIM_EXPORT int ppoll(pollfd* list, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  static int (*libc)(pollfd*, nfds_t, const timespec*, const sigset_t*);
  if (!any_owned(list, count)) return next(libc, "ppoll")(list, count, timeout, mask);
  PollList ours(list, count);
  timespec now = {0, 0};
  const bool ready = ours.ask_ours() > 0;
  const int others = ours.others([&] { return next(libc, "ppoll")(list, count, ready ? &now : timeout, mask); });
  return others < 0 ? others : others + ours.ask_ours();
}
#pragma GCC diagnostic pop
SHIM_EXPORT int select(int count, fd_set* read, fd_set* write, fd_set* except, timeval* timeout) {
  if (engine() != nullptr && (any_owned(count, read) || any_owned(count, write))) {
    return select_ours(count, read, write, except);
  }
  return __select(count, read, write, except, timeout);
}
SHIM_EXPORT int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  if (owned(fd)) return int_answer(-EPERM);  // as Linux for a file without a poll method
  return int_answer(raw(SYS_epoll_ctl, epoll, operation, fd, word(event)));
}
