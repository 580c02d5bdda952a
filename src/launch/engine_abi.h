// SPDX-License-Identifier: BSD-3-Clause
// The border between the two parts that live in a program: the preloaded shim and the engine that it loads.
//
// Plain C types only: the two are linked apart and share no C++ runtime. Calls answer as system calls do: a result
// >= 0 or a negative errno. The shim calls the engine with its thread marked as inside; everything the engine
// then calls passes through the shim untouched.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SOFTIOMMU_ABI_VERSION 3u
#define SOFTIOMMU_ENGINE_ENTRY "softiommu_engine"
#define SOFTIOMMU_MAX_DESCRIPTORS (1u << 20)  // Linux's default ceiling (fs.nr_open)

extern "C" {

// One per thread, in the shim's static TLS: reading it never allocates, also in a signal handler.
struct SoftiommuThread {
  unsigned inside;     // depth of engine calls; an engine thread starts with 1 and keeps it
  uint64_t postponed;  // bit n-1: signal n waits, blocked, until the thread leaves
};

// What the shim gives to the engine.
struct SoftiommuShim {
  unsigned version;
  uint64_t* owned;   // bit n: descriptor n is a handle of ours
  uint64_t* hidden;  // bit n: descriptor n is the engine's own; the program can neither close nor replace it
  SoftiommuThread* (*thread)(void);
  const char* run_dir;
};

// What stands behind a descriptor, for fstat and for the link in /proc/self/fd.
struct SoftiommuNode {
  uint32_t mode;
  uint64_t rdev;
  uint64_t inode;
  char path[128];
};

enum SoftiommuMadvise { SOFTIOMMU_MADVISE_PASS = 1 };

enum SoftiommuDeparture { SOFTIOMMU_EXEC, SOFTIOMMU_EXEC_FAILED, SOFTIOMMU_EXIT };

// What the engine gives to the shim.
struct SoftiommuEngine {
  unsigned version;
  // Opens /dev/vfio/... ; the result is the new descriptor.
  long (*open)(const char* path, int flags);
  long (*ioctl)(int fd, unsigned long command, unsigned long argument);
  // offset < 0: at the file position, which moves.
  long (*read)(int fd, void* to, size_t bytes, off_t offset);
  long (*write)(int fd, const void* from, size_t bytes, off_t offset);
  // Takes the handle out of the table, then closes the descriptor.
  long (*close)(int fd);
  // As fcntl(F_DUPFD, least) when replace < 0, else as dup3(fd, replace, flags).
  long (*dup)(int fd, int least, int replace, int flags);
  // dup3 of a descriptor that is not ours onto a handle of ours, which is closed by it.
  long (*replace)(int from, int fd, int flags);
  long (*get_flags)(int fd);
  long (*set_flags)(int fd, int flags);
  long (*describe)(int fd, struct SoftiommuNode* out);
  long (*poll)(int fd);

  long (*mmap)(void* address, size_t bytes, int prot, int flags, int fd, off_t offset);
  // The program is about to unmap or replace this range: trapped pages end, pinned ones are moved aside.
  void (*before_unmap)(uintptr_t address, size_t bytes);
  // Mappings changed (after munmap, mmap, mprotect, mremap): the cached view is stale.
  void (*mappings_changed)(void);
  // Does the range hold trapped pages, which the program must not make accessible? Then mprotect does nothing.
  long (*is_trapped)(uintptr_t address, size_t bytes);
  // mremap: pinned pages go along, device and program share them at the new place.
  long (*mremap)(uintptr_t from, size_t old_bytes, size_t new_bytes, int flags, uintptr_t to);
  // 0: done; SOFTIOMMU_MADVISE_PASS: the shim makes the system call.
  long (*madvise)(uintptr_t address, size_t bytes, int advice);

  long (*sigaction)(int signal, const void* action, void* old);
  // The thread leaves the engine and has postponed signals.
  void (*leave)(void);
  // The process's image ends (exec, exit): write what --explain and --trace collect.
  void (*flush)(void);

  // The descriptor is a handle that came from another process: from now on it is ours. A negative errno: it is not.
  long (*adopt)(int fd);
  // Handles are about to be sent, or inherited by a process that does not come from fork.
  void (*spread)(void);
  // The process's image ends (enum SoftiommuDeparture): who holds our handles elsewhere is served on.
  void (*depart)(int how);

  // Under --dma-sanitizer. The program frees a heap block: 1: a device can reach it, keep it out of the heap.
  long (*keep_freed)(uintptr_t block, size_t bytes);
  // A kept block that no device reaches any more; 0: none.
  uintptr_t (*take_freed)(void);
  long (*device_reaches)(uintptr_t block, size_t bytes);
};

typedef const struct SoftiommuEngine* (*SoftiommuEngineEntry)(const struct SoftiommuShim* shim);
}
