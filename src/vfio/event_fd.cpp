// SPDX-License-Identifier: BSD-3-Clause
#include "vfio/event_fd.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <string_view>

namespace softiommu::vfio {

namespace {

// A system call past libc: up to six arguments, a result or a negative errno.
long direct(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
#if defined(__x86_64__)
  long result = number;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "+a"(result)
                   : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
#else
  const int saved = errno;
  const long result = ::syscall(number, a, b, c, d, e, f);
  const long answer = result == -1 ? -errno : result;
  errno = saved;
  return answer;
#endif
}

long address(const void* pointer) { return static_cast<long>(reinterpret_cast<std::intptr_t>(pointer)); }

// Would a read (POLLIN) or a write (POLLOUT) go through at once?
bool ready(int descriptor, short events) {
  pollfd wanted{descriptor, events, 0};
  constexpr timespec now{};
  return direct(SYS_ppoll, address(&wanted), 1, address(&now)) == 1 && (wanted.revents & events) != 0;
}

// What /proc says of a descriptor.
class Info {
 public:
  explicit Info(int descriptor) {
    char path[40];
    std::snprintf(path, sizeof path, "/proc/self/fdinfo/%d", descriptor);
    const long file = direct(SYS_openat, AT_FDCWD, address(path), O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    length_ = std::max(0L, direct(SYS_read, file, address(text_), sizeof text_));
    direct(SYS_close, file);
  }
  // "eventfd-id: N", which all descriptors of one eventfd have in common (Linux 5.2); empty where there is none.
  std::string_view identity() const {
    const std::string_view text(text_, static_cast<std::size_t>(length_));
    const std::size_t at = text.find("eventfd-id");
    return at == text.npos ? std::string_view() : text.substr(at, text.find('\n', at) - at);
  }

 private:
  char text_[256];
  long length_ = 0;
};

}  // namespace

Result<EventFd> EventFd::take(Program& program, int descriptor) {
  return EventFd(TRY(program.take_eventfd(descriptor)), descriptor);
}

bool EventFd::is_held_by(Program& program) const {
  const auto now = program.take_eventfd(given_);
  // Any other error says nothing about the program's descriptor.
  if (!now) return now.error().code != EBADF && now.error().code != EINVAL;
  const Info mine(descriptor_), other(*now);
  direct(SYS_close, *now);
  return mine.identity() == other.identity();
}

void EventFd::reset() {
  if (descriptor_ >= 0) direct(SYS_close, descriptor_);
  descriptor_ = -1;
}

void EventFd::signal() const {
  if (descriptor_ < 0 || !ready(descriptor_, POLLOUT)) return;
  constexpr std::uint64_t one = 1;
  direct(SYS_write, descriptor_, address(&one), sizeof one);
}

bool EventFd::consume() const {
  if (descriptor_ < 0 || !ready(descriptor_, POLLIN)) return false;
  std::uint64_t count = 0;
  const iovec piece{&count, sizeof count};
  // The program may read it in between: RWF_NOWAIT keeps us from waiting for the next signal. The offset -1 is two
  // words.
  return direct(SYS_preadv2, descriptor_, address(&piece), 1, -1, -1, RWF_NOWAIT) == sizeof count;
}

}  // namespace softiommu::vfio
