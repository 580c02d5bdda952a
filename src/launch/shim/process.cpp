// SPDX-License-Identifier: BSD-3-Clause
// Signals, threads and the end of the process's image.
//
// The engine's fault handler must see faults whatever the program blocks, and a program's handler must
// not run while its thread is inside the engine: sigaction and the mask calls pass here.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fault_signals.h"
#include "launch/shim/execution.h"
#include "launch/shim/shim.h"

extern "C" int __sigaction(int, const struct sigaction*, struct sigaction*);

namespace softiommu::shim {
namespace {

int set_action(int signal, const struct sigaction* action, struct sigaction* old) {
  const SoftiommuEngine* e = inside() ? nullptr : engine();
  if (e == nullptr) return __sigaction(signal, action, old);
  const Scope scope;
  return int_answer(e->sigaction(signal, action, old));
}

sighandler_t set_handler(int signal, sighandler_t handler, int flags) {
  struct sigaction action = {}, old = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  return set_action(signal, &action, &old) < 0 ? SIG_ERR : old.sa_handler;
}

// They cannot be blocked in a run.
const sigset_t* without_faults(const sigset_t* mask, sigset_t* copy) {
  if (mask == nullptr || run_dir[0] == '\0' || inside()) return mask;
  *copy = *mask;
  for (const int fault : kFaultSignals) sigdelset(copy, fault);
  return copy;
}

int set_mask(int how, const sigset_t* mask, sigset_t* old) {
  sigset_t copy;
  const sigset_t* wanted = how == SIG_UNBLOCK ? mask : without_faults(mask, &copy);
  static constexpr long kKernelMaskBytes = 8;
  return static_cast<int>(-raw(SYS_rt_sigprocmask, how, word(wanted), word(old), kKernelMaskBytes));
}

void flush_engine() {
  if (inside()) return;
  if (const SoftiommuEngine* e = engine()) {
    const Scope scope;
    e->flush();
  }
}

// The image ends: with `e` inside the engine for good, unless the kernel refuses.
template <typename Exec>
int leave_by(Exec&& exec) {
  const SoftiommuEngine* e = inside() ? nullptr : engine();
  if (e == nullptr) return exec();
  ++this_thread.inside;
  e->flush();
  e->depart(SOFTIOMMU_EXEC);
  const int result = exec();
  const int error = errno;
  e->depart(SOFTIOMMU_EXEC_FAILED);
  if (--this_thread.inside == 0 && this_thread.postponed != 0) e->leave();
  errno = error;
  return result;
}

int execute(const Execution& to) {
  return leave_by(
      [&] { return int_answer(raw(SYS_execve, word(to.path()), word(to.arguments()), word(to.environment()))); });
}

void leave_by_exit() {
  if (inside()) return;
  if (const SoftiommuEngine* e = engine()) {
    const Scope scope;
    e->depart(SOFTIOMMU_EXIT);
  }
}
__attribute__((destructor)) void image_ends() {
  drain_output();
  leave_by_exit();
}

// A page that fork wipes and vfork shares: the process that called vfork first.
pid_t* vfork_caller;

bool remember_caller() {
  if (vfork_caller == nullptr) {
    static constexpr size_t kPage = 4096;
    const long page = raw(SYS_mmap, 0, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (page < 0 && page > -4096) return false;
    if (raw(SYS_madvise, page, kPage, MADV_WIPEONFORK) < 0) {
      raw(SYS_munmap, page, kPage);
      return false;
    }
    vfork_caller = reinterpret_cast<pid_t*>(page);
  }
  if (*vfork_caller == 0) *vfork_caller = static_cast<pid_t>(raw(SYS_getpid));
  return true;
}

// The arguments of execl and its kin as a list; they end with a null pointer.
struct ArgumentList {
  static constexpr size_t kMost = 4096;
  char* words[kMost];
  bool fits = true;

  ArgumentList(const char* first, va_list list) {
    size_t count = 0;
    for (const char* word = first; word != nullptr && fits; word = va_arg(list, const char*)) {
      words[count++] = const_cast<char*>(word);
      fits = count < kMost - 1;
    }
    words[count] = nullptr;
  }
};

struct EngineThread {
  void* (*run)(void*);
  void* argument;
};

void* run_inside(void* started) {
  const EngineThread thread = *static_cast<EngineThread*>(started);
  free(started);
  this_thread.inside = 1;
  return thread.run(thread.argument);
}

}  // namespace

bool in_vfork_child() { return vfork_caller != nullptr && *vfork_caller != 0 && *vfork_caller != raw(SYS_getpid); }

}  // namespace softiommu::shim

using namespace softiommu::shim;

SHIM_EXPORT int sigaction(int signal, const struct sigaction* action, struct sigaction* old) {
  return set_action(signal, action, old);
}
SHIM_EXPORT sighandler_t signal(int number, sighandler_t handler) { return set_handler(number, handler, SA_RESTART); }
SHIM_EXPORT sighandler_t bsd_signal(int number, sighandler_t handler) {
  return set_handler(number, handler, SA_RESTART);
}
SHIM_EXPORT sighandler_t ssignal(int number, sighandler_t handler) { return set_handler(number, handler, SA_RESTART); }
SHIM_EXPORT sighandler_t __sysv_signal(int number, sighandler_t handler) {
  return set_handler(number, handler, static_cast<int>(SA_RESETHAND | SA_NODEFER));
}

SHIM_EXPORT int pthread_sigmask(int how, const sigset_t* mask, sigset_t* old) { return set_mask(how, mask, old); }
SHIM_EXPORT int sigprocmask(int how, const sigset_t* mask, sigset_t* old) {
  const int error = set_mask(how, mask, old);
  if (error != 0) errno = error;
  return error != 0 ? -1 : 0;
}

// Threads that the engine starts are the engine's: nothing they call is redirected.
SHIM_EXPORT int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                               void* argument) {
  using Create = int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static Create* libc;
  if (!inside()) return next(libc, "pthread_create")(thread, attributes, run, argument);
  auto* started = static_cast<EngineThread*>(malloc(sizeof(EngineThread)));
  if (started == nullptr) return EAGAIN;
  *started = {run, argument};
  const int result = next(libc, "pthread_create")(thread, attributes, run_inside, started);
  if (result != 0) free(started);
  return result;
}

// A child of vfork shares our memory: where there is something of ours in it, what the child does to its descriptors
// would be done to the parent's. fork is allowed instead.
extern "C" __attribute__((used, visibility("hidden"))) void* softiommu_vfork(void) {
  static pid_t (*libc)(void);
  const bool alone = engine() == nullptr && !attributes_seen() && remember_caller();
  return reinterpret_cast<void*>(alone ? next(libc, "vfork") : &fork);
}
// libc's own keeps its return address away from the stack, which the child writes over: nothing of ours may be on it.
SHIM_EXPORT __attribute__((naked)) pid_t vfork(void) {
  __asm__(
      "endbr64\n\t"
      "subq $8, %rsp\n\t"
      "call softiommu_vfork\n\t"
      "addq $8, %rsp\n\t"
      "jmp *%rax");
}
SHIM_EXPORT pid_t __vfork(void) __attribute__((alias("vfork"), nothrow));

SHIM_EXPORT void _exit(int status) {
  flush_engine();
  leave_by_exit();
  for (;;) raw(SYS_exit_group, status);
}
SHIM_EXPORT void _Exit(int status) { _exit(status); }

// libc's own ends the parent by a call inside itself, which we would not see.
SHIM_EXPORT int daemon(int keep_folder, int keep_output) {
  const pid_t pid = fork();
  if (pid < 0) return -1;
  if (pid > 0) _exit(0);
  if (setsid() < 0) return -1;
  if (keep_folder == 0 && chdir("/") != 0) return -1;
  if (keep_output != 0) return 0;
  const int null = open("/dev/null", O_RDWR);
  if (null < 0) return -1;
  for (int standard = 0; standard < 3; ++standard) dup2(null, standard);
  if (null > 2) close(null);
  return 0;
}

SHIM_EXPORT int execve(const char* path, char* const arguments[], char* const environment[]) {
  return Execution(AT_FDCWD, path, arguments, environment).by(execute);
}
SHIM_EXPORT int execv(const char* path, char* const arguments[]) { return execve(path, arguments, environ); }
SHIM_EXPORT int execvp(const char* file, char* const arguments[]) { return execvpe(file, arguments, environ); }
SHIM_EXPORT int execvpe(const char* file, char* const arguments[], char* const environment[]) {
  static int (*libc)(const char*, char* const[], char* const[]);
  return Execution(Execution::InPath{}, file, arguments, environment).by([](const Execution& to) {
    return leave_by([&] { return next(libc, "execvpe")(to.path(), to.arguments(), to.environment()); });
  });
}
SHIM_EXPORT int fexecve(int fd, char* const arguments[], char* const environment[]) {
  static int (*libc)(int, char* const[], char* const[]);
  return Execution(fd, "", arguments, environment).by([&](const Execution& to) {
    if (to.is_supervised()) return execute(to);
    return leave_by([&] { return next(libc, "fexecve")(fd, arguments, to.environment()); });
  });
}
SHIM_EXPORT int execveat(int dirfd, const char* path, char* const arguments[], char* const environment[], int flags) {
  return Execution(dirfd, path, arguments, environment).by([&](const Execution& to) {
    if (to.is_supervised()) return execute(to);
    return leave_by([&] {
      return int_answer(raw(SYS_execveat, dirfd, word(path), word(arguments), word(to.environment()), flags));
    });
  });
}
SHIM_EXPORT int execl(const char* path, const char* first, ...) {
  va_list list;
  va_start(list, first);
  const ArgumentList arguments(first, list);
  va_end(list);
  return arguments.fits ? execve(path, arguments.words, environ) : int_answer(-E2BIG);
}
SHIM_EXPORT int execlp(const char* file, const char* first, ...) {
  va_list list;
  va_start(list, first);
  const ArgumentList arguments(first, list);
  va_end(list);
  return arguments.fits ? execvp(file, arguments.words) : int_answer(-E2BIG);
}
SHIM_EXPORT int execle(const char* path, const char* first, ...) {
  va_list list;
  va_start(list, first);
  const ArgumentList arguments(first, list);
  char* const* environment = va_arg(list, char* const*);
  va_end(list);
  return arguments.fits ? execve(path, arguments.words, environment) : int_answer(-E2BIG);
}

// Programs that make system calls by number (seldom for our files): the calls that matter are sent the usual way.
SHIM_EXPORT long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  if (run_dir[0] != '\0' && !inside()) {
    switch (number) {
      case SYS_ioctl:
        return answer(
            device_call(static_cast<int>(a[0]), static_cast<unsigned long>(a[1]), static_cast<unsigned long>(a[2])));
      case SYS_close:
        return close(static_cast<int>(a[0]));
      case SYS_read:
        return read(static_cast<int>(a[0]), reinterpret_cast<void*>(a[1]), static_cast<size_t>(a[2]));
      case SYS_write:
        return write(static_cast<int>(a[0]), reinterpret_cast<const void*>(a[1]), static_cast<size_t>(a[2]));
      case SYS_pread64:
        return pread(static_cast<int>(a[0]), reinterpret_cast<void*>(a[1]), static_cast<size_t>(a[2]), a[3]);
      case SYS_pwrite64:
        return pwrite(static_cast<int>(a[0]), reinterpret_cast<const void*>(a[1]), static_cast<size_t>(a[2]), a[3]);
      case SYS_mmap:
        return reinterpret_cast<long>(mmap(reinterpret_cast<void*>(a[0]), static_cast<size_t>(a[1]),
                                           static_cast<int>(a[2]), static_cast<int>(a[3]), static_cast<int>(a[4]),
                                           a[5]));
      case SYS_munmap:
        return munmap(reinterpret_cast<void*>(a[0]), static_cast<size_t>(a[1]));
      case SYS_mremap:
        return reinterpret_cast<long>(mremap(reinterpret_cast<void*>(a[0]), static_cast<size_t>(a[1]),
                                             static_cast<size_t>(a[2]), static_cast<int>(a[3]),
                                             reinterpret_cast<void*>(a[4])));
      case SYS_madvise:
        return madvise(reinterpret_cast<void*>(a[0]), static_cast<size_t>(a[1]), static_cast<int>(a[2]));
      case SYS_exit_group:
        _exit(static_cast<int>(a[0]));
      case SYS_execve:
        return execve(reinterpret_cast<const char*>(a[0]), reinterpret_cast<char* const*>(a[1]),
                      reinterpret_cast<char* const*>(a[2]));
      default:
        break;
    }
  }
  return answer(raw(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}
