// SPDX-License-Identifier: BSD-3-Clause
#include "base/guarded_copy.h"

#include <sys/ucontext.h>

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>

// bool softiommu_guarded_copy*(to = rdi, from = rsi, bytes = rdx). They use no stack and no callee-saved register, so
// that the failure exit can be entered from any of their instructions.
//
// softiommu_guarded_copy: any size, any processor. Below 1 KiB each byte is written once, from the first to the last:
// 32 at a time, then what is left of it by halves. A size that is a power of two is one store (32: two).
//   1 KiB and more: rep movsb, which moves whole lines on every processor of the last decade
// softiommu_guarded_copy_string: rep movsb alone.
// softiommu_guarded_copy_ymm, _zmm: sizes of at least four vectors. The first vector where it falls, then four at a
// time to aligned places, then the last four once more from the end: what memcpy does with the same registers.
asm(R"(
  .pushsection .text

  .macro softiommu_copy_half bytes, load, loaded, store, stored
  test $\bytes, %dl
  jz 9f
  \load (%rsi), %\loaded
  \store %\stored, (%rdi)
  and $(\bytes - 1), %edx
  jz 8f
  add $\bytes, %rsi
  add $\bytes, %rdi
9:
  .endm

  .hidden softiommu_guarded_copy
  .globl softiommu_guarded_copy
  .type softiommu_guarded_copy, @function
  .balign 64
softiommu_guarded_copy:
  .cfi_startproc
  cmp $1024, %rdx
  jae 7f
  cmp $32, %rdx
  jb 2f
1:
  movups (%rsi), %xmm0
  movups 16(%rsi), %xmm1
  movups %xmm0, (%rdi)
  movups %xmm1, 16(%rdi)
  add $32, %rsi
  add $32, %rdi
  sub $32, %rdx
  cmp $32, %rdx
  jae 1b
2:
  test %edx, %edx
  jz 8f
  softiommu_copy_half 16, movups, xmm0, movups, xmm0
  softiommu_copy_half 8, mov, rax, mov, rax
  softiommu_copy_half 4, mov, eax, mov, eax
  softiommu_copy_half 2, movzwl, eax, mov, ax
  movzbl (%rsi), %eax
  mov %al, (%rdi)
  jmp 8f
7:
  mov %rdx, %rcx
  rep movsb
8:
  mov $1, %eax
  ret
  .cfi_endproc
  .size softiommu_guarded_copy, . - softiommu_guarded_copy

  .hidden softiommu_guarded_copy_string
  .globl softiommu_guarded_copy_string
  .type softiommu_guarded_copy_string, @function
  .balign 16
softiommu_guarded_copy_string:
  .cfi_startproc
  mov %rdx, %rcx
  rep movsb
  mov $1, %eax
  ret
  .cfi_endproc
  .size softiommu_guarded_copy_string, . - softiommu_guarded_copy_string

  .hidden softiommu_guarded_copy_failed
  .globl softiommu_guarded_copy_failed
softiommu_guarded_copy_failed:
  xor %eax, %eax
  ret

  .macro softiommu_vector_copy name, move, register, width
  .hidden \name
  .globl \name
  .type \name, @function
  .balign 64
\name:
  .cfi_startproc
  \move (%rsi), %\register\()4
  \move -4*\width(%rsi,%rdx), %\register\()5
  \move -3*\width(%rsi,%rdx), %\register\()6
  \move -2*\width(%rsi,%rdx), %\register\()7
  \move -\width(%rsi,%rdx), %\register\()8
  lea -4*\width(%rdi,%rdx), %r8
  \move %\register\()4, (%rdi)
  mov $\width, %ecx
  mov %edi, %eax
  and $(\width - 1), %eax
  sub %rax, %rcx
  add %rcx, %rdi
  add %rcx, %rsi
  cmp %r8, %rdi
  jae 2f
  .balign 32
1:
  \move (%rsi), %\register\()0
  \move \width(%rsi), %\register\()1
  \move 2*\width(%rsi), %\register\()2
  \move 3*\width(%rsi), %\register\()3
  \move %\register\()0, (%rdi)
  \move %\register\()1, \width(%rdi)
  \move %\register\()2, 2*\width(%rdi)
  \move %\register\()3, 3*\width(%rdi)
  add $(4*\width), %rsi
  add $(4*\width), %rdi
  cmp %r8, %rdi
  jb 1b
2:
  \move %\register\()5, (%r8)
  \move %\register\()6, \width(%r8)
  \move %\register\()7, 2*\width(%r8)
  \move %\register\()8, 3*\width(%r8)
  vzeroupper
  mov $1, %eax
  ret
  .cfi_endproc
  .size \name, . - \name
  .endm
  softiommu_vector_copy softiommu_guarded_copy_ymm, vmovdqu, ymm, 32
  softiommu_vector_copy softiommu_guarded_copy_zmm, vmovdqu64, zmm, 64

  .hidden softiommu_guarded_copy_vector_failed
  .globl softiommu_guarded_copy_vector_failed
softiommu_guarded_copy_vector_failed:
  vzeroupper
  xor %eax, %eax
  ret
  .popsection
)");

extern "C" bool softiommu_guarded_copy(void* to, const void* from, std::size_t bytes) noexcept;
extern "C" bool softiommu_guarded_copy_string(void* to, const void* from, std::size_t bytes) noexcept;
extern "C" const char softiommu_guarded_copy_failed[];
extern "C" bool softiommu_guarded_copy_ymm(void* to, const void* from, std::size_t bytes) noexcept;
extern "C" bool softiommu_guarded_copy_zmm(void* to, const void* from, std::size_t bytes) noexcept;
extern "C" const char softiommu_guarded_copy_vector_failed[];

namespace softiommu {

namespace {

// Larger pieces are rare (a DMA copy is at most a page), and rep movsb is good at them everywhere.
constexpr std::size_t kSmallestYmm = 4 * 32, kSmallestZmm = 4 * 64, kSmallestString = 8192;

// Processors with a fast short rep movsb (Ice Lake and later) also have 512-bit moves that do not slow their clock.
bool moves_512_bits_freely() {
  constexpr unsigned kFeatures = 7, kFastShortRepMov = 1u << 4;  // CPUID.(7,0):EDX
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(kFeatures, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  return (edx & kFastShortRepMov) != 0 && __builtin_cpu_supports("avx512f") != 0;
}

// Before they are initialised, the routine for every processor serves.
const bool has_ymm = __builtin_cpu_supports("avx2") != 0;
const bool has_zmm = moves_512_bits_freely();

}  // namespace

bool guarded_copy(void* to, const void* from, std::size_t bytes) noexcept {
  if (bytes < kSmallestYmm || !has_ymm) return softiommu_guarded_copy(to, from, bytes);
  if (bytes >= kSmallestString) return softiommu_guarded_copy_string(to, from, bytes);
  if (bytes >= kSmallestZmm && has_zmm) return softiommu_guarded_copy_zmm(to, from, bytes);
  return softiommu_guarded_copy_ymm(to, from, bytes);
}

bool guarded_copy_recover(ucontext_t* context) noexcept {
  auto& program_counter = context->uc_mcontext.gregs[REG_RIP];
  const auto at = static_cast<std::uintptr_t>(program_counter);
  const auto first = reinterpret_cast<std::uintptr_t>(&softiommu_guarded_copy);
  const auto failed = reinterpret_cast<std::uintptr_t>(softiommu_guarded_copy_failed);
  const auto vector_failed = reinterpret_cast<std::uintptr_t>(softiommu_guarded_copy_vector_failed);
  if (at < first || at >= vector_failed) return false;
  program_counter = static_cast<greg_t>(at < failed ? failed : vector_failed);
  return true;
}

}  // namespace softiommu

#else

namespace softiommu {

bool guarded_copy(void* to, const void* from, std::size_t bytes) noexcept {
  std::memcpy(to, from, bytes);
  return true;
}

bool guarded_copy_recover(ucontext_t*) noexcept { return false; }

}  // namespace softiommu

#endif
