// SPDX-License-Identifier: BSD-3-Clause
// What a program needs so that we are in it from its first instruction.
//
// The preloaded shim is in programs that glibc's dynamic linker starts. Static programs, those of other C libraries
// (musl) and of languages that need none (Go) are started through softiommu-supervisor instead (launch/supervise).
// gcc's sanitizer runtimes (and clang's with -shared-libsan) are libraries that refuse, or miss their interceptors,
// when a preloaded library comes before them: they are named first in LD_PRELOAD. A runtime inside the program comes
// first by itself. Plain C++ without a library and without allocation: shim, command and supervisor use it.
#pragma once

#include <limits.h>
#include <stddef.h>

namespace softiommu::shim {

inline constexpr char kSupervisor[] = "softiommu-supervisor";

struct Needs {
  bool supervisor = false;
  char runtime[NAME_MAX + 1] = {};  // of a sanitizer; "": none
};

// Of the program that executing `path` in the folder `dirfd` starts; "" is what `dirfd` itself is. A script is what its
// interpreter is. Nothing is needed for what is no program: the kernel says so.
Needs needs_of(int dirfd, const char* path);

// Where execvp finds `file` in PATH. False: nowhere.
bool find_in_path(const char* file, char (&found)[PATH_MAX]);

// `value` of LD_PRELOAD, which names us, for a program that needs `runtime` ("": none): what stands before us is a
// runtime that we named for another program, or the user's. Into `out`; false: `value` is right as it is, or does not
// fit.
bool runtime_first(const char* value, const char* runtime, char* out, size_t room);

}  // namespace softiommu::shim
