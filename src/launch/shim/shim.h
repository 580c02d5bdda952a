// SPDX-License-Identifier: BSD-3-Clause
// The shim's own parts: state, raw system calls, the scope of an engine call, path redirection.
//
// The shim is preloaded into every program of a run, also into those that never touch a device: no libstdc++, a
// constructor of three system calls; a call on a descriptor that is not ours costs a bit test, one with a path a look
// at its first letters.
#pragma once

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "launch/engine_abi.h"

struct iovec;

#define SHIM_EXPORT extern "C" __attribute__((visibility("default")))

namespace softiommu::shim {

// The kernel's answer, errno not involved.
inline long raw(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
#if defined(__x86_64__)
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
#else
#error "raw system calls are written for x86-64"
#endif
}

template <typename T>
long word(T* pointer) {
  return reinterpret_cast<long>(pointer);
}

// A kernel-style answer as libc gives it.
inline long answer(long result) {
  if (result >= 0 || result < -4095) return result;
  errno = static_cast<int>(-result);
  return -1;
}
inline int int_answer(long result) { return static_cast<int>(answer(result)); }

// constinit: an access goes straight to it, without a look for an initialiser.
extern constinit thread_local SoftiommuThread this_thread __attribute__((tls_model("initial-exec")));
extern uint64_t owned_bits[SOFTIOMMU_MAX_DESCRIPTORS / 64];
extern uint64_t hidden_bits[SOFTIOMMU_MAX_DESCRIPTORS / 64];
extern const SoftiommuEngine* loaded_engine;  // nullptr until the first open of one of our files

inline const SoftiommuEngine* engine() { return __atomic_load_n(&loaded_engine, __ATOMIC_ACQUIRE); }
// Loads it at the first call. nullptr: it cannot be loaded (said on standard error once), or not in a child of vfork.
const SoftiommuEngine* load_engine();

inline bool bit(const uint64_t* bits, int fd) {
  return static_cast<unsigned>(fd) < SOFTIOMMU_MAX_DESCRIPTORS &&
         (__atomic_load_n(&bits[fd / 64], __ATOMIC_RELAXED) >> (fd % 64) & 1) != 0;
}
inline bool inside() { return this_thread.inside != 0; }
// Is this descriptor one of ours, asked by the program?
inline bool owned(int fd) { return bit(owned_bits, fd) && !inside(); }
inline bool hidden(int fd) { return bit(hidden_bits, fd) && !inside(); }

// The thread is in the engine as long as this lives. errno is as before afterwards.
class Scope {
 public:
  Scope() : place_(&errno), errno_(*place_) { ++this_thread.inside; }
  ~Scope() {
    if (--this_thread.inside == 0 && this_thread.postponed != 0) [[unlikely]] {
      if (const auto* e = engine()) e->leave();
    }
    *place_ = errno_;
  }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  int* place_;
  int errno_;
};

template <typename Call>
long in_engine(Call&& call) {
  const Scope scope;
  return call(*engine());
}

// Is our memory that of a process which waits in vfork (process.cpp)?
bool in_vfork_child();

// Handles (handles.cpp) ---------------------------------------------------------------------------------------------

// Is the descriptor a handle that came from another process? Then it is ours from now on.
bool adopted(int fd);
// Our handles are about to be in other processes.
void spread_handles();

// Where the shim's companions lie: a file of this name in its own folder. False: it cannot be known.
bool beside_shim(const char* name, char (&path)[PATH_MAX]);

// What a descriptor of this process is, as readlink says it: the length, without an end mark, or a negative errno.
long link_of(int fd, char* out, size_t room);

// libc's own function of this name, looked up once.
void* next_symbol(const char* name);
template <typename Function>
Function* next(Function*& cache, const char* name) {
  Function* found = __atomic_load_n(&cache, __ATOMIC_ACQUIRE);
  if (found == nullptr) {
    found = reinterpret_cast<Function*>(next_symbol(name));
    __atomic_store_n(&cache, found, __ATOMIC_RELEASE);
  }
  return found;
}

// Any ioctl of the program, as the kernel answers (descriptors.cpp); one of KVM's in a program with devices (kvm.cpp).
long device_call(int fd, unsigned long request, unsigned long argument);
long kvm_ioctl(int fd, unsigned long request, unsigned long argument);

// Files of sysfs that are written (attributes.cpp) --------------------------------------------------------------------

// A bit: the descriptor may be one of them, opened for writing; write_attribute() finds out.
extern uint64_t attribute_bits[SOFTIOMMU_MAX_DESCRIPTORS / 64];
inline bool attribute(int fd) { return bit(attribute_bits, fd) && !inside(); }
constexpr long kNotAttribute = -4097;  // no errno
// The answer of writev(2), or of pwritev(2), which leaves the position; or kNotAttribute.
long write_attribute(int fd, const struct iovec* parts, int count);
long store_attribute(int fd, const struct iovec* parts, int count);
// Has this process ever had one?
bool attributes_seen();
// open of a file below the view's /sys, `path` being the real one.
long open_attribute(const char* path, int flags);
// `to` is a duplicate of `from` (which may be anything) from now on.
void copy_attribute(int from, int to);
// The program's name of the view's file behind a descriptor; false: it is none below its /sys.
bool attribute_name(int fd, char (&name)[PATH_MAX]);
// Standard output and error may be such files already when the program starts.
void find_inherited_attributes();
// What standard output holds goes out before libc writes it.
void drain_output();

// Whose paths these are (state.cpp: this process's; the supervisor has its own, for the process that it serves) -------

// Its number, as it stands in /proc.
long observed_process();
// The absolute path of its folder `dirfd` (AT_FDCWD: the current one); the length, or < 1.
long observed_folder(int dirfd, char (&out)[PATH_MAX]);

// Paths (paths.cpp) -----------------------------------------------------------------------------------------------

extern char run_dir[PATH_MAX];  // "" outside a run: then the shim does nothing
extern bool redirecting;        // paths are rewritten (--view redirect)
extern bool fault_injection;    // the view has the kernel's files for it

// The path to use for `path` as seen from `dirfd`; `buffer` holds it if it differs.
struct Redirected {
  const char* path;
  bool changed;
};
Redirected redirect(int dirfd, const char* path, char (&buffer)[PATH_MAX]);
// "/dev/vfio/..." or "/dev/iommu" if the path names one of our device files, else nullptr.
const char* device_file(int dirfd, const char* path, char (&buffer)[PATH_MAX]);
// Takes the view's folder off the front of a NUL-terminated path, in place.
void show(char* path);
// The same; false: the path is not in it, and stays. In a mount namespace paths have no such folder: true.
bool take_view_off(char* path);
// The program's name for a file below the view's /sys, however it is spelled; nullptr: it is none.
const char* sysfs_name(int dirfd, const char* path, char (&buffer)[PATH_MAX]);
// The view's own path of such a name.
bool real_place(const char* name, char (&buffer)[PATH_MAX]);
// The same for `bytes` characters without a terminator; the new length.
long show(char* text, long bytes);
// N if `path` (seen from dirfd) is /proc/self/fd/N, else -1.
int descriptor_link(int dirfd, const char* path);
// The same, if N is ours.
int own_descriptor_link(int dirfd, const char* path);
// What stat says of one of our device files; in the view it is an empty regular file.
void make_device(struct stat* out, const char* device_file);
// What it says of a file of sysfs that is written; in the view such a file is marked. Other files with the mark
// are the host's own.
bool is_marked(mode_t mode);
void show_attribute(struct stat* out);
// What the functions above have set, for the younger call.
void patch_statx(struct statx* out, const struct stat& plain);
bool starts_with(const char* text, const char* prefix);
// /proc/PID/status of a process that has pinned memory through us: a descriptor of its text.
constexpr long kNotStatus = -4096;  // no errno
long open_status(const char* path, int flags);

}  // namespace softiommu::shim
