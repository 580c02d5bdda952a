// SPDX-License-Identifier: BSD-3-Clause
#include "launch/supervise/tracee.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "launch/supervise/filter.h"
#include "launch/supervise/traced_program.h"

namespace softiommu::launch {
namespace {

constexpr int kMostStops = 100;  // on the way through a call that ends at once
constexpr std::uint64_t kNoRestart = ~std::uint64_t{0};

template <typename Data>
long trace(int request, pid_t thread, std::uintptr_t address, Data* data) {
  return ::ptrace(static_cast<__ptrace_request>(request), thread, address, data);
}

bool set_mask(pid_t thread, std::uint64_t mask) { return trace(PTRACE_SETSIGMASK, thread, sizeof mask, &mask) == 0; }

// The first thread of a process is a zombie that nobody is told of, as long as the others have not been waited for.
bool is_zombie(pid_t thread) {
  char path[32], text[256];
  std::snprintf(path, sizeof path, "/proc/%d/stat", thread);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t got = fd < 0 ? 0 : ::read(fd, text, sizeof text - 1);
  if (fd >= 0) ::close(fd);
  if (got <= 0) return true;
  text[got] = '\0';
  const char* const name_end = std::strrchr(text, ')');
  return name_end == nullptr || name_end[1] == '\0' || name_end[2] == 'Z' || name_end[2] == 'X';
}

// Until `thread` has stopped; false: it ends. Nothing is taken: what else there is, is left to the loop.
bool wait_for_stop(pid_t thread) {
  constexpr int kAny = WEXITED | WSTOPPED | WNOWAIT | __WALL;
  constexpr timespec kPause = {0, 20'000};
  for (;;) {
    siginfo_t any{}, own{};
    if (::waitid(P_ALL, 0, &any, kAny) != 0 && errno != EINTR) return false;
    if (any.si_pid != thread && ::waitid(P_PID, static_cast<id_t>(thread), &own, kAny | WNOHANG) != 0) return false;
    const siginfo_t& info = any.si_pid == thread ? any : own;
    if (info.si_pid == thread) return !is_end(info);
    if (is_end(any) && is_zombie(thread)) return false;
    ::nanosleep(&kPause, nullptr);
  }
}

}  // namespace

Tracee::Tracee(pid_t thread, std::shared_ptr<TracedProgram> program) : thread_(thread) {
  set_program(std::move(program));
}

Tracee::~Tracee() { set_program(nullptr); }

void Tracee::set_program(std::shared_ptr<TracedProgram> program) {
  if (program != nullptr) program->space().enter();
  if (program_ != nullptr) program_->space().leave(std::exchange(scratch_, 0));
  program_ = std::move(program);
}

Result<SystemCall> Tracee::call() {
  __ptrace_syscall_info info{};
  begun_ = false;
  at_entry_ = true;
  if (trace(PTRACE_GET_SYSCALL_INFO, thread_, sizeof info, &info) <= 0 || info.op != PTRACE_SYSCALL_INFO_SECCOMP)
    return fail(ESRCH, "the thread is not at a call");
  SystemCall call;
  call.number = static_cast<long>(info.seccomp.nr);
  std::copy_n(info.seccomp.args, call.argument.size(), call.argument.begin());
  return call;
}

bool Tracee::registers(user_regs_struct& out) const { return trace(PTRACE_GETREGS, thread_, 0, &out) == 0; }
bool Tracee::set_registers(const user_regs_struct& in) const {
  return trace(PTRACE_SETREGS, thread_, 0, const_cast<user_regs_struct*>(&in)) == 0;
}

void Tracee::go_on(int signal) const {
  trace(PTRACE_CONT, thread_, 0, reinterpret_cast<void*>(static_cast<std::intptr_t>(signal)));
}

bool Tracee::begin() {
  if (begun_) return true;
  if (!registers(before_) || trace(PTRACE_GETSIGMASK, thread_, sizeof mask_, &mask_) != 0) return false;
  begun_ = set_mask(thread_, ~std::uint64_t{0});
  return begun_;
}

void Tracee::begin_calls() { begun_ = at_entry_ = false; }

void Tracee::end_calls() {
  if (!begun_) return;
  set_registers(before_);
  set_mask(thread_, mask_);
  begun_ = false;
}

Result<std::uint64_t> Tracee::run(long number, const std::array<std::uint64_t, 6>& arguments) {
  if (!begin()) return fail(ESRCH, "the thread has ended");
  const bool exempt = program_->filtered && program_->space().has_call_page;
  if (exempt && at_entry_ && !skip_call()) return fail(ESRCH, "the thread has ended");
  user_regs_struct now = before_;
  now.rdi = arguments[0];
  now.rsi = arguments[1];
  now.rdx = arguments[2];
  now.r10 = arguments[3];
  now.r8 = arguments[4];
  now.r9 = arguments[5];
  if (at_entry_) {  // this call becomes that one
    now.orig_rax = static_cast<std::uint64_t>(number);
    at_entry_ = false;
  } else {  // once more through the same instruction
    now.rip = exempt ? kCallPage : before_.rip - kCallBytes;
    now.rax = static_cast<std::uint64_t>(number);
    now.orig_rax = kNoRestart;
  }
  std::uint64_t result = 0;
  if (!set_registers(now) || !to_exit(result)) return fail(ESRCH, "the thread has ended");
  if (const auto error = static_cast<std::int64_t>(result); error < 0 && error > -4096)
    return fail(static_cast<int>(-error), "a call made in the program");
  return result;
}

// The program's filter would judge what its own call becomes: that call ends, and others are made elsewhere.
bool Tracee::skip_call() {
  user_regs_struct now = before_;
  std::uint64_t result = 0;
  now.orig_rax = kNoRestart;
  at_entry_ = false;
  return set_registers(now) && to_exit(result);
}

Result<> Tracee::make_call_page() {
  static constexpr long kInstruction = 0x050f;  // syscall
  Space& space = program_->space();
  if (!space.has_call_page) {
    constexpr std::uint64_t kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    TRY(run(SYS_mmap, {kCallPage, 4096, PROT_READ | PROT_EXEC, kFlags, ~std::uint64_t{0}, 0}));
    if (trace(PTRACE_POKEDATA, thread_, kCallPage, reinterpret_cast<void*>(kInstruction)) != 0)
      return fail(EFAULT, "the page cannot be written");
    space.has_call_page = true;
  }
  program_->filtered = true;
  return {};
}

// Over the stops at the call's entry and of the filter. What is not to be seen yet is left for the loop.
bool Tracee::to_exit(std::uint64_t& result) {
  for (int stops = 0; stops < kMostStops; ++stops) {
    if (trace(PTRACE_SYSCALL, thread_, 0, static_cast<void*>(nullptr)) != 0) return false;
    if (!wait_for_stop(thread_)) return false;
    int status = 0;
    while (::waitpid(thread_, &status, __WALL | WNOHANG) != thread_) {  // killed since: no stop any more
      if (!wait_for_stop(thread_)) return false;
    }
    const int signal = WSTOPSIG(status), event = status >> 16;
    if (event == 0 && signal != (SIGTRAP | 0x80)) pending_ = signal;  // SIGSTOP: all others are blocked
    __ptrace_syscall_info what{};
    if (trace(PTRACE_GET_SYSCALL_INFO, thread_, sizeof what, &what) > 0 && what.op == PTRACE_SYSCALL_INFO_EXIT) {
      result = static_cast<std::uint64_t>(what.exit.rval);
      return true;
    }
  }
  return false;
}

void Tracee::answer(long result) {
  user_regs_struct now{};
  if (begun_) {
    now = before_;
  } else if (!registers(now)) {
    return;
  }
  now.rax = static_cast<std::uint64_t>(result);
  now.orig_rax = kNoRestart;
  set_registers(now);
  if (begun_) set_mask(thread_, mask_);
  begun_ = false;
  go_on(std::exchange(pending_, 0));
}

Result<std::uint64_t> Tracee::scratch() {
  if (scratch_ == 0) scratch_ = program_->space().take_scratch();
  if (scratch_ == 0) {
    scratch_ = TRY(run(SYS_mmap, {0, kScratchBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~0ull, 0}));
  }
  return scratch_;
}

}  // namespace softiommu::launch
