// SPDX-License-Identifier: BSD-3-Clause
#include "launch/trap/native.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>

// void softiommu_run_native(state = rdi, mask = rsi, general = rdx, code = rcx)
//   state    an XSAVE image of the components in `mask`, or an FXSAVE image if `mask` is 0
//   general  rax, rcx, rdx, rbx, (rsp), rbp, rsi, rdi, r8..r15, flags, the exception
// The code ends with a jump to softiommu_native_back; while it runs, 8(%rsp) holds `general`. x87 and SSE are then set
// up as for any function.
asm(R"(
  .pushsection .text
  .hidden softiommu_run_native
  .globl softiommu_run_native
  .type softiommu_run_native, @function
softiommu_run_native:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  push %rdi
  push %rsi
  push %rdx
  push %rcx
  mov %rdx, %r8
  mov %esi, %eax
  mov %rsi, %rdx
  shr $32, %rdx
  test %rsi, %rsi
  jz 1f
  xrstor64 (%rdi)
  jmp 2f
1:
  fxrstor64 (%rdi)
2:
  mov %r8, %rax
  push 128(%rax)
  popfq
  mov 8(%rax), %rcx
  mov 16(%rax), %rdx
  mov 24(%rax), %rbx
  mov 40(%rax), %rbp
  mov 48(%rax), %rsi
  mov 56(%rax), %rdi
  mov 64(%rax), %r8
  mov 72(%rax), %r9
  mov 80(%rax), %r10
  mov 88(%rax), %r11
  mov 96(%rax), %r12
  mov 104(%rax), %r13
  mov 112(%rax), %r14
  mov 120(%rax), %r15
  mov (%rax), %rax
  jmp *(%rsp)

  .hidden softiommu_native_back
  .globl softiommu_native_back
softiommu_native_back:
  push %rax
  mov 16(%rsp), %rax
  mov %rcx, 8(%rax)
  mov %rdx, 16(%rax)
  mov %rbx, 24(%rax)
  mov %rbp, 40(%rax)
  mov %rsi, 48(%rax)
  mov %rdi, 56(%rax)
  mov %r8, 64(%rax)
  mov %r9, 72(%rax)
  mov %r10, 80(%rax)
  mov %r11, 88(%rax)
  mov %r12, 96(%rax)
  mov %r13, 104(%rax)
  mov %r14, 112(%rax)
  mov %r15, 120(%rax)
  pop (%rax)
  pushfq
  pop 128(%rax)
  cld
  mov 16(%rsp), %rsi
  mov 24(%rsp), %rdi
  mov %esi, %eax
  mov %rsi, %rdx
  shr $32, %rdx
  test %rsi, %rsi
  jz 1f
  xsave64 (%rdi)
  jmp 2f
1:
  fxsave64 (%rdi)
2:
  fninit
  movl $0x1f80, (%rsp)
  ldmxcsr (%rsp)
  add $32, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
  .size softiommu_run_native, . - softiommu_run_native
  .popsection
)");

extern "C" {
void softiommu_run_native(void* state, std::uint64_t mask, std::uint64_t* general, const void* code);
extern const char softiommu_native_back[];
}

namespace softiommu::launch {
namespace {

constexpr unsigned kSlots = 2048, kSlotBytes = 32, kProbes = 64;
constexpr std::array<std::uint8_t, 6> kJump = {0xff, 0x25, 0, 0, 0, 0};  // jmp to the address that follows
constexpr std::size_t kLongest = kSlotBytes - kJump.size() - sizeof(std::uint64_t);

// A slot is empty, being filled, or filled: then it never changes.
enum Fill : std::uint8_t { kEmpty, kFilling, kFilled };
std::array<std::atomic<std::uint8_t>, kSlots> fills;

std::uint8_t* arena() {
  static std::uint8_t* const pages = [] {
    void* got =
        ::mmap(nullptr, kSlots * kSlotBytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return got == MAP_FAILED ? nullptr : static_cast<std::uint8_t*>(got);
  }();
  return pages;
}
// Made before the first fault, so that no handler makes it.
[[maybe_unused]] std::uint8_t* const early = arena();

unsigned hash(std::span<const std::uint8_t> code) {
  std::uint32_t sum = 0;
  for (const std::uint8_t byte : code) sum = sum * 31 + byte;
  return sum % kSlots;
}

using Image = std::array<std::uint8_t, kSlotBytes>;
Image with_jump_back(std::span<const std::uint8_t> code) {
  Image image{};
  auto* end = std::ranges::copy(code, image.begin()).out;
  end = std::ranges::copy(kJump, end).out;
  const auto back = reinterpret_cast<std::uint64_t>(softiommu_native_back);
  std::memcpy(end, &back, sizeof back);
  return image;
}

constexpr unsigned kGeneral = 16, kFlags = 16, kException = 17;
constexpr unsigned kGeneralAt = 8;  // from the stack pointer of running code
// What an instruction may read and change; the rest of the flags is the handler's (the trap flag, for one).
constexpr std::uint64_t kUserFlags = 0x8d5 | 0x400;

}  // namespace

// 0 means none: the slot of that number stays empty.
std::uint16_t keep_code(std::span<const std::uint8_t> code) {
  std::uint8_t* const pages = arena();
  if (pages == nullptr || code.size() > kLongest) return 0;
  const Image wanted = with_jump_back(code);
  const unsigned start = hash(code);
  for (unsigned i = 0; i < kProbes; ++i) {
    const unsigned slot = (start + i) % kSlots;
    if (slot == 0) continue;
    std::uint8_t* const place = pages + slot * kSlotBytes;
    std::uint8_t state = fills[slot].load(std::memory_order_acquire);
    if (state == kEmpty && fills[slot].compare_exchange_strong(state, kFilling, std::memory_order_acq_rel)) {
      std::ranges::copy(wanted, place);
      fills[slot].store(kFilled, std::memory_order_release);
      return static_cast<std::uint16_t>(slot);
    }
    // One that another thread fills now is passed over: a second copy of the same does no harm.
    if (state == kFilled && std::equal(wanted.begin(), wanted.end(), place)) return static_cast<std::uint16_t>(slot);
  }
  return 0;
}

Exception run_code(std::uint16_t code, Registers& registers, unsigned pointer, void* operand) {
  std::array<std::uint64_t, kException + 1> general;
  for (unsigned i = 0; i < kGeneral; ++i) general[i] = registers.get(i, 8);
  general[pointer] = reinterpret_cast<std::uint64_t>(operand);
  general[kFlags] = registers.flags() & kUserFlags;
  general[kException] = 0;
  const Registers::Saved saved = registers.saved();
  softiommu_run_native(saved.image, saved.components, general.data(), arena() + code * kSlotBytes);
  if (general[kException] != 0) return std::bit_cast<Exception>(general[kException]);
  for (unsigned i = 0; i < kGeneral; ++i) {
    if (i != pointer && i != Registers::kRsp) registers.set(i, 8, general[i]);
  }
  registers.set_flags((registers.flags() & ~kUserFlags) | (general[kFlags] & kUserFlags));
  return {};
}

bool native_recover(Exception exception, ucontext_t* context) {
  auto* registers = context->uc_mcontext.gregs;
  const auto rip = static_cast<std::uint64_t>(registers[REG_RIP]), first = reinterpret_cast<std::uint64_t>(arena());
  if (first == 0 || rip - first >= kSlots * kSlotBytes) return false;
  std::uint64_t* general;
  std::memcpy(&general, reinterpret_cast<const void*>(registers[REG_RSP] + kGeneralAt), sizeof general);
  general[kException] = std::bit_cast<std::uint64_t>(exception);
  registers[REG_RIP] = reinterpret_cast<greg_t>(softiommu_native_back);
  return true;
}

}  // namespace softiommu::launch
