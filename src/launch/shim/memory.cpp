// SPDX-License-Identifier: BSD-3-Clause
// Calls that change the program's mappings: BARs are mapped by the engine, pinned memory is moved aside first.
#include <stdarg.h>
#include <sys/mman.h>

#include "launch/shim/shim.h"

namespace softiommu::shim {
namespace {

const SoftiommuEngine* watching() { return inside() ? nullptr : engine(); }

long map(void* address, size_t bytes, int prot, int flags, int fd, off_t offset) {
  const auto plain = [&] { return raw(SYS_mmap, word(address), static_cast<long>(bytes), prot, flags, fd, offset); };
  const SoftiommuEngine* e = watching();
  if (e == nullptr || ((flags & MAP_ANONYMOUS) == 0 && !bit(owned_bits, fd) && (flags & MAP_FIXED) == 0)) {
    const long result = plain();
    return result == -ENODEV && adopted(fd) ? map(address, bytes, prot, flags, fd, offset) : result;
  }
  const Scope scope;
  if ((flags & MAP_ANONYMOUS) == 0 && bit(owned_bits, fd)) return e->mmap(address, bytes, prot, flags, fd, offset);
  const bool replaces = (flags & MAP_FIXED) != 0;
  if (replaces) e->before_unmap(reinterpret_cast<uintptr_t>(address), bytes);
  const long result = plain();
  if (replaces) e->mappings_changed();
  return result;
}

long unmap(void* address, size_t bytes) {
  const SoftiommuEngine* e = watching();
  if (e == nullptr) return raw(SYS_munmap, word(address), static_cast<long>(bytes));
  const Scope scope;
  e->before_unmap(reinterpret_cast<uintptr_t>(address), bytes);
  const long result = raw(SYS_munmap, word(address), static_cast<long>(bytes));
  e->mappings_changed();
  return result;
}

long remap(void* from, size_t old_bytes, size_t new_bytes, int flags, void* to) {
  const auto plain = [&] {
    return raw(SYS_mremap, word(from), static_cast<long>(old_bytes), static_cast<long>(new_bytes), flags, word(to));
  };
  const SoftiommuEngine* e = watching();
  if (e == nullptr) return plain();
  const Scope scope;
  return e->mremap(reinterpret_cast<uintptr_t>(from), old_bytes, new_bytes, flags, reinterpret_cast<uintptr_t>(to));
}

long protect(void* address, size_t bytes, int prot) {
  const SoftiommuEngine* e = watching();
  if (e == nullptr) return raw(SYS_mprotect, word(address), static_cast<long>(bytes), prot);
  const Scope scope;
  if (e->is_trapped(reinterpret_cast<uintptr_t>(address), bytes) != 0) return 0;
  const long result = raw(SYS_mprotect, word(address), static_cast<long>(bytes), prot);
  e->mappings_changed();
  return result;
}

long advise(void* address, size_t bytes, int advice) {
  if (const SoftiommuEngine* e = watching()) {
    const Scope scope;
    const long result = e->madvise(reinterpret_cast<uintptr_t>(address), bytes, advice);
    if (result != SOFTIOMMU_MADVISE_PASS) return result;
  }
  return raw(SYS_madvise, word(address), static_cast<long>(bytes), advice);
}

// The heap is about to end at `end`: pages that a device uses move aside, and what is left shrinks as one piece.
void before_heap_shrinks(uintptr_t present, uintptr_t end) {
  constexpr uintptr_t kPageBytes = 4096;
  const SoftiommuEngine* e = watching();
  const uintptr_t first = (end + kPageBytes - 1) & ~(kPageBytes - 1);
  if (e == nullptr || first >= present) return;
  const Scope scope;
  e->madvise(first, present - first, MADV_DONTNEED);
}

}  // namespace
}  // namespace softiommu::shim

using namespace softiommu::shim;

SHIM_EXPORT void* mmap(void* address, size_t bytes, int prot, int flags, int fd, off_t offset) {
  return reinterpret_cast<void*>(answer(map(address, bytes, prot, flags, fd, offset)));
}
SHIM_EXPORT void* mmap64(void* address, size_t bytes, int prot, int flags, int fd, off64_t offset) {
  return reinterpret_cast<void*>(answer(map(address, bytes, prot, flags, fd, offset)));
}
SHIM_EXPORT int munmap(void* address, size_t bytes) { return int_answer(unmap(address, bytes)); }
SHIM_EXPORT void* mremap(void* from, size_t old_bytes, size_t new_bytes, int flags, ...) {
  va_list list;
  va_start(list, flags);
  void* to = (flags & MREMAP_FIXED) != 0 ? va_arg(list, void*) : nullptr;
  va_end(list);
  return reinterpret_cast<void*>(answer(remap(from, old_bytes, new_bytes, flags, to)));
}
SHIM_EXPORT int brk(void* end) {
  static int (*libc)(void*);
  before_heap_shrinks(static_cast<uintptr_t>(raw(SYS_brk)), reinterpret_cast<uintptr_t>(end));
  return next(libc, "brk")(end);
}
SHIM_EXPORT void* sbrk(intptr_t increment) {
  static void* (*libc)(intptr_t);
  if (increment < 0) {
    const auto present = static_cast<uintptr_t>(raw(SYS_brk));
    before_heap_shrinks(present, present + static_cast<uintptr_t>(increment));
  }
  return next(libc, "sbrk")(increment);
}
// Gives heap memory back with calls inside libc that we do not see: in a program with devices nothing is given back.
SHIM_EXPORT int malloc_trim(size_t keep) {
  static int (*libc)(size_t);
  return watching() != nullptr ? 0 : next(libc, "malloc_trim")(keep);
}
// For the heap's library, which is preloaded beside us under --dma-sanitizer (launch/heap).
SHIM_EXPORT int softiommu_keep_freed(void* block, size_t bytes) {
  const SoftiommuEngine* e = watching();
  if (e == nullptr) return 0;
  const Scope scope;
  return static_cast<int>(e->keep_freed(reinterpret_cast<uintptr_t>(block), bytes));
}
SHIM_EXPORT void* softiommu_take_freed(void) {
  const SoftiommuEngine* e = watching();
  if (e == nullptr) return nullptr;
  const Scope scope;
  return reinterpret_cast<void*>(e->take_freed());
}
SHIM_EXPORT int softiommu_device_reaches(void* block, size_t bytes) {
  const SoftiommuEngine* e = watching();
  if (e == nullptr) return 0;
  const Scope scope;
  return static_cast<int>(e->device_reaches(reinterpret_cast<uintptr_t>(block), bytes));
}

SHIM_EXPORT int mprotect(void* address, size_t bytes, int prot) { return int_answer(protect(address, bytes, prot)); }
SHIM_EXPORT int madvise(void* address, size_t bytes, int advice) { return int_answer(advise(address, bytes, advice)); }
