// SPDX-License-Identifier: BSD-3-Clause
// Tells valgrind's memcheck that a mapped BAR may be accessed: its pages have no rights, which memcheck would report.
//
// A client request is a sequence of instructions that do nothing on a processor (valgrind's manual, "The Client Request
// mechanism").
#pragma once

#include <cstddef>
#include <cstdint>

namespace softiommu::launch {

inline void make_defined_for_memcheck([[maybe_unused]] const void* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(__x86_64__)
  constexpr std::uint64_t kMemcheck = std::uint64_t{'M'} << 24 | std::uint64_t{'C'} << 16, kMakeMemDefined = 2;
  const volatile std::uint64_t request[6] = {
      kMemcheck + kMakeMemDefined, reinterpret_cast<std::uintptr_t>(memory), bytes, 0, 0, 0};
  std::uint64_t answer = 0;
  asm volatile("rolq $3, %%rdi\n\trolq $13, %%rdi\n\trolq $61, %%rdi\n\trolq $51, %%rdi\n\txchgq %%rbx, %%rbx"
               : "+d"(answer)
               : "a"(&request[0])
               : "cc", "memory");
#endif
}

}  // namespace softiommu::launch
