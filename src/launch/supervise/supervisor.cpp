// SPDX-License-Identifier: BSD-3-Clause
#include "launch/supervise/supervisor.h"

#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "launch/engine/state.h"
#include "launch/run_options.h"
#include "launch/shim/entry.h"
#include "launch/supervise/handles.h"
#include "launch/supervise/image.h"
#include "launch/supervise/paths.h"
#include "launch/supervise/registers_fault.h"

namespace softiommu::launch {
namespace {

constexpr unsigned long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE |
                                   PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE |
                                   PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
constexpr int kEventShift = 16, kStopSignalMask = 0xff;

pid_t event_message(pid_t thread) {
  unsigned long message = 0;
  ::ptrace(PTRACE_GETEVENTMSG, thread, 0, &message);
  return static_cast<pid_t>(message);
}

void let_go(pid_t thread, int signal = 0) {
  ::ptrace(PTRACE_CONT, thread, 0, reinterpret_cast<void*>(static_cast<std::intptr_t>(signal)));
}

// Its calls would stop for nobody, and its registers be memory that it cannot reach.
void end_unserved(pid_t process, const Error& error) {
  if (error.code != ESRCH) log::error("process {} is killed, it cannot be supervised: {}", process, error.why);
  ::kill(process, SIGKILL);
}

// A new thread or process stops before it runs. False: it has been killed.
bool wait_for_first_stop(pid_t thread) {
  int status = 0;
  while (::waitpid(thread, &status, __WALL) < 0) {
    if (errno != EINTR) return false;
  }
  return WIFSTOPPED(status);
}

// Whether `thread`, which was interrupted, has stopped; its stop is taken. One that ends, or waits for the end of those
// that we hold (it executes a program), never stops.
bool stops_now(pid_t thread, int& status) {
  constexpr int kTries = 10'000;
  constexpr timespec kPause = {0, 20'000};
  for (int i = 0; i < kTries; ++i) {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(thread), &info, WEXITED | WSTOPPED | WNOWAIT | WNOHANG | __WALL) != 0)
      return false;
    if (info.si_pid == thread) {
      return !is_end(info) && ::waitpid(thread, &status, __WALL | WNOHANG) == thread;
    }
    ::nanosleep(&kPause, nullptr);
  }
  return false;
}

// What the call that `parent` is in shares with its child. The event does not say: clone3 with CLONE_VFORK alone is a
// fork that waits.
std::uint64_t shared_with_child(const Tracee& parent) {
  user_regs_struct now{};
  std::uint64_t flags = 0;
  if (!parent.registers(now)) return 0;
  switch (now.orig_rax) {
    case SYS_vfork:
      return CLONE_VM | CLONE_VFORK;
    case SYS_clone:
      return now.rdi;
    case SYS_clone3:  // the first member of struct clone_args
      (void)parent.program().read(now.rdi, &flags, sizeof flags);
      return flags;
    default:
      return 0;
  }
}

}  // namespace

Result<> Supervisor::seize(pid_t process) {
  auto program = TRY(TracedProgram::create(process, *engine, std::make_shared<Space>(*this)));
  program->set_entered();  // until it has executed what it is to be
  if (::ptrace(PTRACE_SEIZE, process, 0, kOptions) != 0) return fail(errno, "the process may not be traced");
  add(process, std::move(program));
  return {};
}

Tracee* Supervisor::add(pid_t thread, std::shared_ptr<TracedProgram> program) {
  auto& place = threads_[thread];
  place = std::make_unique<Tracee>(thread, std::move(program));
  return place.get();
}

void Supervisor::run() {
  while (!threads_.empty()) {
    if (held_.empty()) {
      wait_for_one();
    } else {  // the rest stays known as stopped
      const auto [thread, status] = held_.front();
      held_.erase(held_.begin());
      if (threads_.contains(thread)) handle(thread, status);
    }
  }
  release_closed();
  engine->service.stop();
  engine->service.serve_until_unused();
}

// An end is seen by the program's parent when it is waited for here: what it had must be free by then.
void Supervisor::wait_for_one() {
  siginfo_t info{};
  int status = 0;
  if (::waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOWAIT | __WALL) != 0) {
    if (errno == ECHILD) threads_.clear();
    return;
  }
  if (is_end(info)) ended(info.si_pid);
  // Not for ever: killed meanwhile, it may have no stop any more and no end yet.
  if (::waitpid(info.si_pid, &status, __WALL | WNOHANG) == info.si_pid && WIFSTOPPED(status))
    handle(info.si_pid, status);
}

void Supervisor::stop_others(const Tracee& thread) {
  for (const auto& [number, other] : threads_) {
    const bool concerned = other.get() != &thread && &other->program().space() == &thread.program().space();
    const bool held = std::ranges::find(held_, number, &std::pair<pid_t, int>::first) != held_.end();
    if (!concerned || held || other->in_vfork || ::ptrace(PTRACE_INTERRUPT, number, 0, 0) != 0) continue;
    if (int status = 0; stops_now(number, status)) held_.emplace_back(number, status);
  }
}

// A pidfd tells of an end before the tracer has seen it; a program that then looks for its child must find it. One by
// one: a look at all would also show stops, which come in the loop's order.
void Supervisor::reap_ended() {
  std::vector<pid_t> gone;
  for (const auto& [thread, tracee] : threads_) {
    siginfo_t info{};
    constexpr int kLook = WEXITED | WNOWAIT | WNOHANG | __WALL;
    if (::waitid(P_PID, static_cast<id_t>(thread), &info, kLook) == 0 && info.si_pid == thread && is_end(info))
      gone.push_back(thread);
  }
  for (const pid_t thread : gone) {
    ended(thread);
    ::waitpid(thread, nullptr, __WALL);
  }
}

// The outputs are written once for a process, not for each of its threads.
void Supervisor::ended(pid_t thread) {
  const auto known = threads_.find(thread);
  const pid_t process = known == threads_.end() ? 0 : known->second->program().pid();
  threads_.erase(thread);
  early_.erase(thread);
  release_closed();
  const auto is_of_it = [process](const auto& other) { return other.second->program().pid() == process; };
  if (process == 0 || std::ranges::any_of(threads_, is_of_it)) return;
  if (World* world = engine->current.load(std::memory_order_acquire)) world->flush();
}

void Supervisor::handle(pid_t thread, int status) {
  const auto known = threads_.find(thread);
  if (known == threads_.end()) {
    early_.insert(thread);
    return;
  }
  const int signal = WSTOPSIG(status) & kStopSignalMask;
  if (const int number = status >> kEventShift; number != 0) return event(*known->second, number, signal);
  signalled(*known->second, signal);
}

void Supervisor::event(Tracee& thread, int number, int signal) {
  switch (number) {
    case PTRACE_EVENT_SECCOMP:
      return stopped_by_filter(thread);
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
    case PTRACE_EVENT_CLONE:
      return made_child(thread, number);
    case PTRACE_EVENT_VFORK_DONE:
      thread.in_vfork = false;
      return thread.go_on();
    case PTRACE_EVENT_EXEC:
      return executed(thread);
    case PTRACE_EVENT_STOP:
      if (signal != SIGTRAP) {  // stopped by a job-control signal: it stays so until SIGCONT
        ::ptrace(PTRACE_LISTEN, thread.thread(), 0, 0);
        return;
      }
      return thread.go_on();
    default:
      return thread.go_on();
  }
}

void Supervisor::stopped_by_filter(Tracee& thread) {
  const auto call = thread.call();
  if (!call) return thread.go_on();
  if (call->number == SYS_wait4 || call->number == SYS_waitid) {
    reap_ended();
    return thread.go_on();
  }
  if (thread.program().entered()) return thread.go_on();
  if (!answer_path_call(thread, *call) && !answer_handle_call(thread, *call)) thread.go_on();
}

void Supervisor::signalled(Tracee& thread, int signal) {
  const bool ours = signal == SIGSEGV && !thread.program().entered();
  thread.go_on(ours ? answer_fault(thread) : signal);
}

// --- processes -----------------------------------------------------------------------------------------------

Result<std::shared_ptr<TracedProgram>> Supervisor::program_of_child(Tracee& parent, pid_t child, std::uint64_t flags) {
  if ((flags & CLONE_THREAD) != 0) return parent.shared_program();
  auto space = parent.program().shared_space();
  if ((flags & CLONE_VM) == 0) {
    space = std::make_shared<Space>(*this);
    TRY(space->copy_from(parent.program().space()));
  }
  auto program = TRY(TracedProgram::create(child, *engine, std::move(space)));
  if (parent.program().entered()) program->set_entered();
  program->filtered = parent.program().filtered;
  return program;
}

void Supervisor::made_child(Tracee& parent, int number) {
  const pid_t child = event_message(parent.thread());
  const std::uint64_t flags = shared_with_child(parent);
  parent.in_vfork = number == PTRACE_EVENT_VFORK;
  const bool lives = early_.erase(child) != 0 || wait_for_first_stop(child);
  auto program = lives ? program_of_child(parent, child, flags) : fail(ESRCH, "the child has ended");
  if (program) {
    Tracee* const made = add(child, std::move(*program));
    if ((flags & CLONE_VM) == 0 && !parent.program().space().moved.empty()) {
      stop_others(parent);
      parent.program().make_private(*made);
    }
    let_go(child);
  } else if (lives) {
    end_unserved(child, program.error());
  }
  parent.go_on();
}

// The process is the thread that called exec, under the process's number; all others are gone.
void Supervisor::executed(Tracee& thread) {
  const pid_t process = thread.thread(), before = event_message(process);
  std::erase_if(threads_, [&](const auto& entry) {
    return entry.first != process && (entry.first == before || entry.second->program().pid() == process);
  });
  auto program = TracedProgram::create(process, *engine, std::make_shared<Space>(*this));
  if (!program) return end_unserved(process, program.error());
  if (is_entered_by_shim(process)) (*program)->set_entered();
  (*program)->filtered = thread.program().filtered;
  thread.set_program(std::move(*program));
  release_closed();
  thread.go_on();
}

}  // namespace softiommu::launch
