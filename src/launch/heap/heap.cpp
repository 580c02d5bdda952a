// SPDX-License-Identifier: BSD-3-Clause
// Preloaded beside the shim under --dma-sanitizer: a block that a device can still reach stays out of the heap when the
// program frees it, so that DMA into it is told as what it is.
//
// Only the ways out of the heap pass here. Blocks go back by a later free() of the program's own: never from inside one
// of our calls, which a signal handler may have made while its thread is in malloc.
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <string.h>

extern "C" {
// The shim's (launch/shim/memory.cpp). Absent when this library is loaded by itself.
__attribute__((weak)) int softiommu_keep_freed(void* block, size_t bytes);
__attribute__((weak)) void* softiommu_take_freed(void);
__attribute__((weak)) int softiommu_device_reaches(void* block, size_t bytes);
void __libc_free(void* block);
}

namespace {

using Free = void(void*);
using Reallocate = void*(void*, size_t);

template <class Function>
Function* next(Function*& cache, const char* name, Function* meanwhile) {
  static thread_local bool looking __attribute__((tls_model("initial-exec"))) = false;
  Function* found = __atomic_load_n(&cache, __ATOMIC_ACQUIRE);
  if (found != nullptr || looking) return found != nullptr ? found : meanwhile;
  const int saved = errno;
  looking = true;
  found = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
  looking = false;
  errno = saved;
  __atomic_store_n(&cache, found, __ATOMIC_RELEASE);
  return found != nullptr ? found : meanwhile;
}

void really_free(void* block) {
  static Free* libc;
  next(libc, "free", static_cast<Free*>(__libc_free))(block);
}

void* really_reallocate(void* block, size_t bytes) {
  static Reallocate* libc;
  Reallocate* const found = next(libc, "realloc", static_cast<Reallocate*>(nullptr));
  return found != nullptr ? found(block, bytes) : nullptr;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void free(void* block) {
  if (block == nullptr) return;
  if (softiommu_keep_freed != nullptr && softiommu_keep_freed(block, malloc_usable_size(block)) != 0) return;
  really_free(block);
  if (softiommu_take_freed == nullptr) return;
  if (void* const unreachable = softiommu_take_freed()) really_free(unreachable);
}

// A block that a device reaches does not grow or move behind its back: the new one is another one.
extern "C" __attribute__((visibility("default"))) void* realloc(void* block, size_t bytes) {
  if (block != nullptr && bytes == 0) {  // glibc's free()
    free(block);
    return nullptr;
  }
  const bool reached = block != nullptr && softiommu_device_reaches != nullptr &&
                       softiommu_device_reaches(block, malloc_usable_size(block)) != 0;
  if (!reached) return really_reallocate(block, bytes);
  const size_t present = malloc_usable_size(block);
  if (bytes <= present) return block;
  void* const made = malloc(bytes);
  if (made == nullptr) return nullptr;
  memcpy(made, block, present);
  free(block);
  return made;
}
