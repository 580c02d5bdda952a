// SPDX-License-Identifier: BSD-3-Clause
// softiommu-supervisor PROGRAM ARGUMENTS...: becomes a program that the shim cannot enter, under supervision.
//
// This process stays the one that the caller started: it forks the supervisor, which seizes it and is nobody's
// child, installs the filter and executes PROGRAM. ARGUMENTS begin with the program's argv[0]. Where the host does
// not allow it, the program runs as it is, after one line on standard error.
#include <fcntl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/fault_signals.h"
#include "launch/engine/engine.h"
#include "launch/shim/entry.h"
#include "launch/shim/shim.h"
#include "launch/supervise/filter.h"
#include "launch/supervise/image.h"
#include "launch/supervise/supervisor.h"

namespace softiommu::launch {
namespace {

constexpr int kNotExecutable = 126, kNotFound = 127;

SoftiommuThread* thread_record() { return &shim::this_thread; }
const SoftiommuShim services = {SOFTIOMMU_ABI_VERSION, shim::owned_bits, shim::hidden_bits, thread_record,
                                shim::run_dir};

// --- the supervisor ------------------------------------------------------------------------------------------

// The program's descriptors are not ours to hold, but for standard error and the one to its process.
int keep_only(int socket) {
  constexpr int kKept = 3;
  if (::dup3(socket, kKept, O_CLOEXEC) < 0 && socket != kKept) return -1;
  ::close_range(kKept + 1, ~0u, 0);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(null, STDIN_FILENO);
  ::dup2(null, STDOUT_FILENO);
  ::close(null);
  return kKept;
}

void block_signals() {
  const sigset_t blocked = all_but_faults();
  ::sigprocmask(SIG_SETMASK, &blocked, nullptr);
}

// A descriptor for each open file of the programs, and for each piece of their memory.
void raise_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Says 0 or why not; the process waits for it.
[[noreturn]] void supervise(pid_t process, int socket) {
  const pid_t own = ::getpid();
  int told = 0;
  bool sent = ::send(socket, &own, sizeof own, MSG_NOSIGNAL) == sizeof own;
  sent = sent && ::recv(socket, &told, sizeof told, 0) == sizeof told;  // it allows us to trace it
  block_signals();
  raise_limit();
  ::setsid();
  ::prctl(PR_SET_NAME, "softiommu-super");
  socket = keep_only(socket);
  Supervisor supervisor;
  int result = start_engine(&services) == nullptr ? ENOMEM : 0;
  if (sent && result == 0) {
    if (const auto seized = supervisor.seize(process); !seized) result = seized.error().code;
  }
  sent = sent && ::send(socket, &result, sizeof result, MSG_NOSIGNAL) == sizeof result;
  ::close(socket);
  if (sent && result == 0) supervisor.run();
  std::_Exit(0);
}

// --- the process that becomes the program ----------------------------------------------------------------------

// The supervisor, as a child of nobody here: the program has no child that it did not make. 0, or why there is none.
int start_supervisor() {
  int ends[2];
  const pid_t own = ::getpid();
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return errno;
  const pid_t between = ::fork();
  if (between == 0) {
    if (::fork() == 0) {
      ::close(ends[0]);
      supervise(own, ends[1]);
    }
    std::_Exit(0);
  }
  ::close(ends[1]);
  pid_t supervisor = 0;
  int result = EAGAIN;
  constexpr int kGo = 0;
  while (between > 0 && ::waitpid(between, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (::recv(ends[0], &supervisor, sizeof supervisor, 0) == sizeof supervisor) {
    ::prctl(PR_SET_PTRACER, supervisor);  // where Yama asks for it
    const bool asked = ::send(ends[0], &kGo, sizeof kGo, MSG_NOSIGNAL) == sizeof kGo;
    if (!asked || ::recv(ends[0], &result, sizeof result, 0) != sizeof result) result = ESRCH;
  }
  ::close(ends[0]);
  return result;
}

// Without no_new_privs where that is possible, so that programs keep what they could do.
int install_filter() {
  std::vector<sock_filter> code = program_filter();
  const sock_fprog program = {static_cast<unsigned short>(code.size()), code.data()};
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0) return 0;
  if (errno != EACCES || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0 ? 0 : errno;
}

bool gains_privilege(const char* path) {
  struct stat status{};
  return ::stat(path, &status) == 0 && (status.st_mode & (S_ISUID | S_ISGID)) != 0;
}

void enter_supervision(const char* path) {
  if (is_traced_by_supervisor()) return;
  const char* why = nullptr;
  if (gains_privilege(path)) {
    why = "it is set-user-id";
  } else if (const int refused = start_supervisor(); refused != 0) {
    why = std::strerror(refused);
  } else if (const int error = install_filter(); error != 0) {
    why = std::strerror(error);
  }
  if (why != nullptr)
    std::fprintf(stderr, "softiommu: %s cannot be supervised (%s): it sees the host's devices\n", path, why);
}

int become(char** arguments) {
  const char* const run_dir = std::getenv("SOFTIOMMU_RUN");
  if (run_dir != nullptr && std::strlen(run_dir) < sizeof shim::run_dir) {
    std::strcpy(shim::run_dir, run_dir);
    shim::redirecting = std::getenv("SOFTIOMMU_VIEW_IS_REAL") == nullptr;
    enter_supervision(arguments[1]);
  }
  ::execv(arguments[1], arguments + 2);
  const int error = errno;
  std::fprintf(stderr, "softiommu: %s: %s\n", arguments[1], std::strerror(error));
  return error == ENOENT || error == ENOTDIR ? kNotFound : kNotExecutable;
}

}  // namespace
}  // namespace softiommu::launch

int main(int count, char** arguments) {
  if (count < 3) {
    std::fprintf(stderr, "usage: softiommu-supervisor PROGRAM ARGV0 ARGUMENTS... (by softiommu run)\n");
    return 2;
  }
  return softiommu::launch::become(arguments);
}
