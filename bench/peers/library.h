// SPDX-License-Identifier: BSD-3-Clause
// Functions of a shared library by name. A missing one ends the program with a message.
#pragma once

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

inline void* open_library(const char* path) {
  void* const library = path == nullptr ? nullptr : dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "cannot load the candidate: %s\n", path == nullptr ? "no library is named" : dlerror());
    std::exit(2);
  }
  return library;
}

template <class Function>
void find_function(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) {
    std::fprintf(stderr, "the candidate lacks %s\n", name);
    std::exit(2);
  }
}
