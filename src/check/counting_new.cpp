// SPDX-License-Identifier: BSD-3-Clause
#include "check/counting_new.h"

#include <cstdlib>
#include <new>

#include "base/fault.h"

namespace softiommu::check {

namespace {
thread_local std::int64_t live = 0;
thread_local std::uint64_t made = 0, countdown = 0;
thread_local bool struck = false;
}  // namespace

std::int64_t live_allocations() { return live; }
std::uint64_t allocations() { return made; }
bool allocation_failed() { return struck; }
void fail_nth_allocation(std::uint64_t nth) {
  countdown = nth;
  struck = false;
}

namespace {

void* allocate(std::size_t bytes) {
  if (countdown != 0 && --countdown == 0) {
    struck = true;
    throw std::bad_alloc();
  }
  if (fault::heap_strikes()) throw std::bad_alloc();
  void* memory = std::malloc(bytes != 0 ? bytes : 1);
  if (memory == nullptr) throw std::bad_alloc();
  ++live;
  ++made;
  return memory;
}

void release(void* memory) noexcept {
  if (memory == nullptr) return;
  --live;
  std::free(memory);
}

}  // namespace

}  // namespace softiommu::check

void* operator new(std::size_t bytes) { return softiommu::check::allocate(bytes); }
void* operator new[](std::size_t bytes) { return softiommu::check::allocate(bytes); }
// Sanitizers bring these of their own, which would not match the deletes below.
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return softiommu::check::allocate(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](std::size_t bytes, const std::nothrow_t& tag) noexcept { return operator new(bytes, tag); }
void operator delete(void* memory) noexcept { softiommu::check::release(memory); }
void operator delete[](void* memory) noexcept { softiommu::check::release(memory); }
void operator delete(void* memory, std::size_t) noexcept { softiommu::check::release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { softiommu::check::release(memory); }
