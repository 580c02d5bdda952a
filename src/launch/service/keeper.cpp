// SPDX-License-Identifier: BSD-3-Clause
#include "launch/service/keeper.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "base/fault_signals.h"
#include "launch/engine/shim_services.h"

namespace softiommu::launch {
namespace {

constinit std::atomic<bool> forking{false};

[[noreturn]] void end_process() {
  for (;;) ::syscall(SYS_exit_group, 0);
}

// The program's descriptors are not ours to hold: who reads a pipe of it waits for its end.
void close_all_but_hidden() {
  unsigned next = 0;
  for (unsigned word = 0; word < SOFTIOMMU_MAX_DESCRIPTORS / 64; ++word) {
    for (std::uint64_t bits = shim_services->hidden[word]; bits != 0; bits &= bits - 1) {
      const unsigned fd = word * 64 + static_cast<unsigned>(__builtin_ctzll(bits));
      if (fd > next) ::close_range(next, fd - 1, 0);
      next = fd + 1;
    }
  }
  ::close_range(next, ~0u, 0);
  for (int standard = 0; standard < 3; ++standard) {  // lowest numbers first: they become 0, 1 and 2
    if (::fcntl(standard, F_GETFD) < 0) ::open("/dev/null", O_RDWR);
  }
}

// Only the faults of guarded copies come through; the terminal's signals are the program's.
void block_signals() {
  const sigset_t blocked = all_but_faults();
  ::pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
}

}  // namespace

bool Keeper::is_forking() { return forking.load(); }

void Keeper::wait_and_live(int pipe, void (*live)()) {
  block_signals();
  ::setsid();
  ::prctl(PR_SET_NAME, "softiommu-keep");
  close_all_but_hidden();
  char byte;
  ssize_t got;
  do {
    got = ::read(pipe, &byte, 1);
  } while (got < 0 && errno == EINTR);
  if (got == 0) live();
  end_process();
}

Result<pid_t> Keeper::begin(void (*live)()) {
  int go[2], told[2];
  if (::pipe2(go, O_CLOEXEC) != 0) return fail(errno, "no pipe to the keeper");
  if (::pipe2(told, O_CLOEXEC) != 0) {
    ::close(go[0]);
    ::close(go[1]);
    return fail(EMFILE, "no pipe to the keeper");
  }
  const int waits = hide_descriptor(go[0]);
  pipe_ = hide_descriptor(go[1]);
  forking = true;
  const pid_t between = ::fork();
  if (between == 0) {
    const pid_t keeper = ::fork();
    if (keeper == 0) {
      forking = false;
      close_hidden(pipe_);
      ::close(told[0]);
      ::close(told[1]);
      wait_and_live(waits, live);
    }
    [[maybe_unused]] const ssize_t written = ::write(told[1], &keeper, sizeof keeper);
    end_process();
  }
  forking = false;
  close_hidden(waits);
  ::close(told[1]);
  pid_t keeper = -1;
  while (between > 0 && ::read(told[0], &keeper, sizeof keeper) < 0 && errno == EINTR) {
  }
  ::close(told[0]);
  while (between > 0 && ::waitpid(between, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (keeper > 0) return keeper;
  close_hidden(std::exchange(pipe_, -1));
  return fail(EAGAIN, "the keeper cannot be made");
}

void Keeper::abandon() {
  if (pipe_ < 0) return;
  constexpr char kStays = 'n';
  [[maybe_unused]] const ssize_t written = ::write(pipe_, &kStays, 1);
  close_hidden(std::exchange(pipe_, -1));
}

void Keeper::forget() { close_hidden(std::exchange(pipe_, -1)); }

}  // namespace softiommu::launch
