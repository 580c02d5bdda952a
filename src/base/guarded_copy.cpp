// SPDX-License-Identifier: BSD-3-Clause
#include "base/guarded_copy.h"

#include <sys/ucontext.h>

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)

// bool softiommu_guarded_copy(to = rdi, from = rsi, bytes = rdx). Uses no stack and no callee-saved register, so
// that the failure exit can be entered from any of its instructions.
//   1 KiB and more: rep movsb, which moves whole lines on every processor of the last decade
//   32 bytes and more: pairs of 16 bytes, then the last 32 bytes once more from the end (they may overlap)
//   less: two overlapping moves of the largest size that fits
// Every size loads all it needs before the last store, or stores in ascending order.
asm(R"(
  .pushsection .text
  .hidden softiommu_guarded_copy
  .globl softiommu_guarded_copy
  .type softiommu_guarded_copy, @function
  .balign 64
softiommu_guarded_copy:
  .cfi_startproc
  cmp $1024, %rdx
  jae 5f
  cmp $32, %rdx
  jb 2f
  movups -32(%rsi,%rdx), %xmm2
  movups -16(%rsi,%rdx), %xmm3
  lea -32(%rdi,%rdx), %r8
1:
  movups (%rsi), %xmm0
  movups 16(%rsi), %xmm1
  movups %xmm0, (%rdi)
  movups %xmm1, 16(%rdi)
  add $32, %rsi
  add $32, %rdi
  cmp %r8, %rdi
  jb 1b
  movups %xmm2, (%r8)
  movups %xmm3, 16(%r8)
  jmp 6f
2:
  cmp $16, %rdx
  jb 3f
  movups (%rsi), %xmm0
  movups -16(%rsi,%rdx), %xmm1
  movups %xmm0, (%rdi)
  movups %xmm1, -16(%rdi,%rdx)
  jmp 6f
3:
  cmp $8, %rdx
  jb 4f
  mov (%rsi), %rax
  mov -8(%rsi,%rdx), %rcx
  mov %rax, (%rdi)
  mov %rcx, -8(%rdi,%rdx)
  jmp 6f
4:
  cmp $4, %rdx
  jb 5f
  mov (%rsi), %eax
  mov -4(%rsi,%rdx), %ecx
  mov %eax, (%rdi)
  mov %ecx, -4(%rdi,%rdx)
  jmp 6f
5:
  mov %rdx, %rcx
  rep movsb
6:
  mov $1, %eax
  ret
  .hidden softiommu_guarded_copy_failed
  .globl softiommu_guarded_copy_failed
softiommu_guarded_copy_failed:
  xor %eax, %eax
  ret
  .cfi_endproc
  .size softiommu_guarded_copy, . - softiommu_guarded_copy
  .popsection
)");

extern "C" bool softiommu_guarded_copy(void* to, const void* from, std::size_t bytes) noexcept;
extern "C" const char softiommu_guarded_copy_failed[];

namespace softiommu {

bool guarded_copy(void* to, const void* from, std::size_t bytes) noexcept {
  return softiommu_guarded_copy(to, from, bytes);
}

bool guarded_copy_recover(ucontext_t* context) noexcept {
  auto& program_counter = context->uc_mcontext.gregs[REG_RIP];
  const auto at = static_cast<std::uintptr_t>(program_counter);
  const auto first = reinterpret_cast<std::uintptr_t>(&softiommu_guarded_copy);
  const auto failed = reinterpret_cast<std::uintptr_t>(softiommu_guarded_copy_failed);
  if (at < first || at >= failed) return false;
  program_counter = static_cast<greg_t>(failed);
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
