// SPDX-License-Identifier: BSD-3-Clause
#include "launch/engine/signals.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/fault_signals.h"
#include "launch/engine/shim_services.h"

extern "C" int __sigaction(int signal, const struct sigaction* action, struct sigaction* old);

// A place for a debugger's breakpoint (tools/softiommu.gdb): the fault is the program's own.
extern "C" [[gnu::noinline]] void softiommu_program_fault() { asm volatile(""); }

namespace softiommu::launch {
namespace {

constexpr int kSignals = 65;
constexpr std::size_t kKernelMaskBytes = 8;

// What the program asked for. Each word is atomic: a handler reads while another thread installs.
struct Record {
  std::atomic<std::uintptr_t> handler{0};
  std::atomic<int> flags{0};
  std::atomic<std::uint64_t> mask{0};
};
std::array<Record, kSignals> records;
FaultHandler fault_handler = nullptr;

bool is_fault(int signal) { return std::ranges::find(kFaultSignals, signal) != std::end(kFaultSignals); }
bool is_handler(std::uintptr_t handler) {
  return handler != reinterpret_cast<std::uintptr_t>(SIG_DFL) && handler != reinterpret_cast<std::uintptr_t>(SIG_IGN);
}
std::uint64_t bit_of(int signal) { return std::uint64_t{1} << (signal - 1); }
std::uint64_t to_word(const sigset_t& set) {
  std::uint64_t word;
  std::memcpy(&word, &set, sizeof word);
  return word;
}
void set_mask(int how, std::uint64_t mask, std::uint64_t* old = nullptr) {
  ::syscall(SYS_rt_sigprocmask, how, &mask, old, kKernelMaskBytes);
}
std::uint64_t fault_bits() {
  std::uint64_t bits = 0;
  for (const int signal : kFaultSignals) bits |= bit_of(signal);
  return bits;
}

// libc's own, past a sanitizer's: that one may be our caller, and hold its lock.
int real_sigaction(int signal, const struct sigaction* action, struct sigaction* old) {
  return __sigaction(signal, action, old);
}

void call_program(int signal, siginfo_t* info, void* context) {
  Record& record = records[static_cast<std::size_t>(signal)];
  const std::uintptr_t handler = record.handler.load();
  if (!is_handler(handler)) return;
  const int flags = record.flags.load();
  if ((flags & static_cast<int>(SA_RESETHAND)) != 0) record.handler = 0;
  if ((flags & SA_SIGINFO) != 0) {
    reinterpret_cast<void (*)(int, siginfo_t*, void*)>(handler)(signal, info, context);
  } else {
    reinterpret_cast<void (*)(int)>(handler)(signal);
  }
}

// Ours, for every signal that the program handles.
void on_signal(int signal, siginfo_t* info, void* raw_context) {
  const int saved = errno;
  auto* context = static_cast<ucontext_t*>(raw_context);
  SoftiommuThread* thread = shim_services->thread();
  if (thread->inside != 0) {
    std::uint64_t blocked;
    std::memcpy(&blocked, &context->uc_sigmask, sizeof blocked);
    if ((blocked & bit_of(signal)) == 0) thread->postponed |= bit_of(signal);
    blocked |= bit_of(signal);
    std::memcpy(&context->uc_sigmask, &blocked, sizeof blocked);
    ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::syscall(SYS_gettid), signal, info);
    errno = saved;
    return;
  }
  if ((records[static_cast<std::size_t>(signal)].flags.load() & SA_NODEFER) != 0) set_mask(SIG_UNBLOCK, bit_of(signal));
  errno = saved;
  call_program(signal, info, context);
}

// The default action: with the kernel's handler in place the instruction faults again, and the process ends as it
// would.
void default_action(int signal) {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  real_sigaction(signal, &action, nullptr);
}

void on_fault(int signal, siginfo_t* info, void* raw_context) {
  const int saved = errno;
  auto* context = static_cast<ucontext_t*>(raw_context);
  siginfo_t told = *info;
  const bool ours = fault_handler(signal, &told, context);
  errno = saved;
  if (ours) return;
  softiommu_program_fault();
  const int number = told.si_signo;
  Record& record = records[static_cast<std::size_t>(number)];
  if (!is_handler(record.handler.load())) {
    default_action(number);
    // A fault that we made (SIGBUS for a disabled BAR), or one that was sent, does not come again by itself.
    if (number != signal || info->si_code <= 0) {
      set_mask(SIG_UNBLOCK, bit_of(number));
      ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::syscall(SYS_gettid), number, &told);
    }
    return;
  }
  std::uint64_t interrupted;
  std::memcpy(&interrupted, &context->uc_sigmask, sizeof interrupted);
  set_mask(SIG_SETMASK, (interrupted | record.mask.load()) & ~fault_bits());
  call_program(number, &told, context);
}

void install(int signal, int program_flags, std::uint64_t program_mask) {
  struct sigaction action = {};
  action.sa_flags = SA_SIGINFO | (program_flags & (SA_ONSTACK | SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT));
  action.sa_sigaction = on_signal;
  program_mask &= ~fault_bits();
  if (is_fault(signal)) {
    // Nested faults must come through: the emulation reads the program's memory by guarded copies.
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    action.sa_sigaction = on_fault;
    program_mask = ~fault_bits();
  }
  std::memcpy(&action.sa_mask, &program_mask, sizeof program_mask);
  real_sigaction(signal, &action, nullptr);
}

void record_action(int signal, const struct sigaction& action) {
  Record& record = records[static_cast<std::size_t>(signal)];
  record.flags = action.sa_flags;
  record.mask = to_word(action.sa_mask);
  record.handler = reinterpret_cast<std::uintptr_t>(action.sa_handler);
}

}  // namespace

void take_signals(FaultHandler faults) {
  fault_handler = faults;
  for (int signal = 1; signal < kSignals; ++signal) {
    struct sigaction present = {};
    if (signal == SIGKILL || signal == SIGSTOP || real_sigaction(signal, nullptr, &present) != 0) continue;
    record_action(signal, present);
    const bool handled = is_handler(reinterpret_cast<std::uintptr_t>(present.sa_handler));
    if (handled || is_fault(signal)) install(signal, present.sa_flags, to_word(present.sa_mask));
  }
  set_mask(SIG_UNBLOCK, fault_bits());
}

long program_sigaction(int signal, const struct sigaction* action, struct sigaction* old) {
  if (signal < 1 || signal >= kSignals) return -EINVAL;
  Record& record = records[static_cast<std::size_t>(signal)];
  struct sigaction kernel = {};
  if (real_sigaction(signal, nullptr, &kernel) != 0) return -errno;
  struct sigaction before = kernel;
  if (kernel.sa_sigaction == on_signal || kernel.sa_sigaction == on_fault) {
    const std::uint64_t mask = record.mask.load();
    std::memcpy(&before.sa_mask, &mask, sizeof mask);
    before.sa_flags = record.flags.load();
    before.sa_handler = reinterpret_cast<sighandler_t>(record.handler.load());
  }
  if (action != nullptr) {
    const struct sigaction wanted = *action;
    record_action(signal, wanted);
    if (is_fault(signal) || is_handler(reinterpret_cast<std::uintptr_t>(wanted.sa_handler))) {
      install(signal, wanted.sa_flags, to_word(wanted.sa_mask));
    } else if (real_sigaction(signal, &wanted, nullptr) != 0) {
      return -errno;
    }
  }
  if (old != nullptr) *old = before;
  return 0;
}

void deliver_postponed() {
  SoftiommuThread* thread = shim_services->thread();
  const std::uint64_t waiting = std::atomic_ref(thread->postponed).exchange(0);
  set_mask(SIG_UNBLOCK, waiting);
}

}  // namespace softiommu::launch
