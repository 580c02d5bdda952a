// SPDX-License-Identifier: BSD-3-Clause
// The engine's own heap: operator new and delete never touch the program's malloc.
//
// A signal handler of the program may call us while its thread is inside malloc; and a program that was built with
// a checking allocator must not see our blocks. Blocks up to 32 KiB come from lists by size (four classes to a power of
// two), larger ones from mmap. Our lock is never held when a handler of the program runs (D13 d).
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>

#include "base/fault.h"
#include "base/futex_lock.h"
#include "launch/engine/allocator.h"

namespace softiommu::launch {
namespace {

constexpr std::size_t kHeader = 16, kLargest = 32 * 1024, kChunk = 1024 * 1024;
constexpr unsigned kClasses = 64;

struct Header {
  std::uint64_t size_class;  // kClasses: mapped on its own
  std::uint64_t mapped_bytes;
};
static_assert(sizeof(Header) == kHeader);

struct Block {
  Block* next;
};

FutexLock heap_lock;
Block* free_lists[kClasses];
std::byte* fresh = nullptr;
std::size_t fresh_bytes = 0;

// Sizes 16, 32, 48, 64, then four steps to each power of two.
constexpr unsigned class_of(std::size_t bytes) {
  if (bytes <= 64) return static_cast<unsigned>((bytes + 15) / 16);
  const unsigned lg2 = static_cast<unsigned>(std::bit_width(bytes - 1)) - 1;  // 6 for 65..128
  const std::size_t step = std::size_t{1} << (lg2 - 2);
  const std::size_t within = (bytes - 1 - (std::size_t{1} << lg2)) / step;
  return 5 + (lg2 - 6) * 4 + static_cast<unsigned>(within);
}
constexpr std::size_t bytes_of(unsigned size_class) {
  if (size_class <= 4) return size_class * 16;
  const unsigned lg2 = 6 + (size_class - 5) / 4;
  return (std::size_t{1} << lg2) + (std::size_t{(size_class - 5) % 4} + 1) * (std::size_t{1} << (lg2 - 2));
}
static_assert(bytes_of(class_of(65)) == 80 && bytes_of(class_of(128)) == 128 && bytes_of(class_of(129)) == 160);
static_assert(class_of(kLargest + kHeader) < kClasses);

void* map_pages(std::size_t bytes) {
  void* pages = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return pages == MAP_FAILED ? nullptr : pages;
}

void* allocate_mapped(std::size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  constexpr std::size_t kPage = 4096;
  const std::size_t whole = (bytes + kHeader + kPage - 1) & ~(kPage - 1);
  void* pages = map_pages(whole);
  if (pages == nullptr) return nullptr;
  *static_cast<Header*>(pages) = {kClasses, whole};
  return static_cast<std::byte*>(pages) + kHeader;
}

void* allocate_listed(std::size_t bytes) {
  const unsigned size_class = class_of(bytes + kHeader);
  const FutexGuard guard(heap_lock);
  std::byte* taken;
  if (Block* block = free_lists[size_class]) {
    free_lists[size_class] = block->next;
    taken = reinterpret_cast<std::byte*>(block);
  } else {
    const std::size_t size = bytes_of(size_class);
    if (fresh_bytes < size) {
      void* chunk = map_pages(kChunk);
      if (chunk == nullptr) return nullptr;
      fresh = static_cast<std::byte*>(chunk);
      fresh_bytes = kChunk;
    }
    taken = fresh;
    fresh += size;
    fresh_bytes -= size;
  }
  *reinterpret_cast<Header*>(taken) = {size_class, 0};
  return taken + kHeader;
}

}  // namespace

void* heap_allocate(std::size_t bytes) noexcept {
  return bytes <= kLargest ? allocate_listed(bytes) : allocate_mapped(bytes);
}

void heap_free(void* block) noexcept {
  if (block == nullptr) return;
  auto* start = static_cast<std::byte*>(block) - kHeader;
  const Header header = *reinterpret_cast<Header*>(start);
  if (header.size_class == kClasses) {
    ::munmap(start, header.mapped_bytes);
    return;
  }
  const FutexGuard guard(heap_lock);
  auto* freed = reinterpret_cast<Block*>(start);
  freed->next = free_lists[header.size_class];
  free_lists[header.size_class] = freed;
}

// One function takes the lock, another gives it back: beyond what the checker follows.
void heap_lock_for_fork() SOFTIOMMU_TS(no_thread_safety_analysis) { heap_lock.lock(); }
void heap_unlock_after_fork() SOFTIOMMU_TS(no_thread_safety_analysis) { heap_lock.unlock(); }

}  // namespace softiommu::launch

using softiommu::launch::heap_allocate;
using softiommu::launch::heap_free;

void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return softiommu::fault::heap_strikes() ? nullptr : heap_allocate(bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t& tag) noexcept { return operator new(bytes, tag); }
void* operator new(std::size_t bytes) {
  if (void* block = operator new(bytes, std::nothrow)) return block;
  throw std::bad_alloc();
}
void* operator new[](std::size_t bytes) { return operator new(bytes); }
void operator delete(void* block) noexcept { heap_free(block); }
void operator delete[](void* block) noexcept { heap_free(block); }
void operator delete(void* block, std::size_t) noexcept { heap_free(block); }
void operator delete[](void* block, std::size_t) noexcept { heap_free(block); }
void operator delete(void* block, const std::nothrow_t&) noexcept { heap_free(block); }
void operator delete[](void* block, const std::nothrow_t&) noexcept { heap_free(block); }

// Over-aligned blocks: the address that the heap gave stands before the aligned one.
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  const auto align = static_cast<std::size_t>(alignment);
  void* whole = operator new(bytes + align + sizeof(void*));
  const auto at = (reinterpret_cast<std::uintptr_t>(whole) + sizeof(void*) + align - 1) & ~(align - 1);
  reinterpret_cast<void**>(at)[-1] = whole;
  return reinterpret_cast<void*>(at);
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) { return operator new(bytes, alignment); }
void operator delete(void* block, std::align_val_t) noexcept {
  if (block != nullptr) heap_free(static_cast<void**>(block)[-1]);
}
void operator delete[](void* block, std::align_val_t alignment) noexcept { operator delete(block, alignment); }
void operator delete(void* block, std::size_t, std::align_val_t alignment) noexcept {
  operator delete(block, alignment);
}
void operator delete[](void* block, std::size_t, std::align_val_t alignment) noexcept {
  operator delete(block, alignment);
}
