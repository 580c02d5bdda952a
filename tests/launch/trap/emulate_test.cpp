// SPDX-License-Identifier: BSD-3-Clause
// Each instruction form runs twice with the same registers: on trapped pages and on plain memory. What it leaves in
// memory, registers and flags must be the same; the processor is the oracle.
#include "launch/trap/emulate.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <vector>

#include "launch/trap/fault.h"
#include "launch/trap/instruction.h"

namespace softiommu::launch {
namespace {

constexpr std::size_t kBytes = 8192;
constexpr std::uint64_t kStatusFlags = 0x8d5;  // CF PF AF ZF SF OF

class Bytes final : public MmioRegion {
 public:
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override {
    std::uint64_t value = 0;
    std::memcpy(&value, &content[offset], bytes);
    widths.push_back(bytes);
    return value;
  }
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override {
    std::memcpy(&content[offset], &value, bytes);
    widths.push_back(bytes);
  }
  std::array<std::uint8_t, kBytes> content{};
  std::vector<unsigned> widths;
};

enum class Needs { nothing, movbe, avx2, avx512, movdir64b };

bool has(Needs needs) {
  switch (needs) {
    case Needs::nothing:
      return true;
    case Needs::movbe:
      return __builtin_cpu_supports("avx2") != 0;  // every processor with the one has the other
    case Needs::avx2:
      return __builtin_cpu_supports("avx2") != 0;
    case Needs::avx512:
      return __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512bw") != 0;
    case Needs::movdir64b: {
      unsigned c = 0, a = 7, b = 0, d = 0;
      __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
      return (c >> 28 & 1) != 0;
    }
  }
  return false;
}

// Registers before and after. The form finds memory in rdi and other plain memory in rsi.
struct State {
  std::uint64_t rax = 0, rcx = 0, rdx = 0, rsi = 0, rdi = 0, flags = 0;
  alignas(64) std::array<std::uint8_t, 64> vector{};
};

struct Form {
  const char* text;
  Needs needs;
  void (*run)(State&);
};

// The red zone is stepped over because the forms may push; flags start clear but for carry.
#define BODY(before, text, after)                                                                                      \
  [](State& s) {                                                                                                       \
    register std::uint8_t* vector __asm__("r10") = s.vector.data();                                                    \
    register std::uint64_t* flags __asm__("r9") = &s.flags;                                                            \
    __asm__ volatile("lea -256(%%rsp), %%rsp\n" before "xorl %%r8d, %%r8d\nstc\n" text "\npushfq\npopq (%%r9)\n" after \
                     "lea 256(%%rsp), %%rsp\n"                                                                         \
                     : "+a"(s.rax), "+c"(s.rcx), "+d"(s.rdx), "+S"(s.rsi), "+D"(s.rdi)                                 \
                     : "r"(vector), "r"(flags)                                                                         \
                     : "r8", "cc", "memory", "xmm1");                                                                  \
  }
#define GENERAL(text) {text, Needs::nothing, BODY("", text, "")}
#define SSE(text) {text, Needs::nothing, BODY("movdqu (%%r10), %%xmm1\n", text, "movdqu %%xmm1, (%%r10)\n")}
#define AVX(text) {text, Needs::avx2, BODY("vmovdqu (%%r10), %%ymm1\n", text, "vmovdqu %%ymm1, (%%r10)\nvzeroupper\n")}
#define AVX512(text)                                                                       \
  {text, Needs::avx512,                                                                    \
   BODY("vmovdqu64 (%%r10), %%zmm1\nvmovdqa64 %%zmm1, %%zmm17\nkmovq %%rdx, %%k1\n", text, \
        "vpaddq %%zmm17, %%zmm1, %%zmm1\nvmovdqu64 %%zmm1, (%%r10)\nvzeroupper\n")}

const Form kForms[] = {
    GENERAL("movb %%al, 3(%%rdi)"),
    GENERAL("movw %%ax, 2(%%rdi)"),
    GENERAL("movl %%eax, 4(%%rdi)"),
    GENERAL("movq %%rax, 8(%%rdi)"),
    GENERAL("movb (%%rdi), %%al"),
    GENERAL("movw (%%rdi), %%ax"),
    GENERAL("movl (%%rdi), %%eax"),
    GENERAL("movq (%%rdi), %%rax"),
    GENERAL("movb %%ah, 1(%%rdi)"),
    GENERAL("movb 1(%%rdi), %%dh"),
    GENERAL("movb $0x7f, (%%rdi)"),
    GENERAL("movw $0x1234, (%%rdi)"),
    GENERAL("movl $-2, (%%rdi)"),
    GENERAL("movq $-2, (%%rdi)"),
    GENERAL("movzbl (%%rdi), %%eax"),
    GENERAL("movzbw (%%rdi), %%ax"),
    GENERAL("movzwq (%%rdi), %%rax"),
    GENERAL("movsbl 7(%%rdi), %%eax"),
    GENERAL("movsbq 7(%%rdi), %%rax"),
    GENERAL("movswl 6(%%rdi), %%eax"),
    GENERAL("movslq 4(%%rdi), %%rax"),
    GENERAL("movq (%%rdi,%%rcx,4), %%rax"),
    GENERAL("movl %%eax, 16(%%rdi,%%rcx,8)"),
    GENERAL("movl (%%rdi), %%edi"),
    GENERAL("movnti %%rax, 8(%%rdi)"),
    GENERAL("movl %%eax, 3(%%rdi)"),
    GENERAL("movq 5(%%rdi), %%rax"),
    {"movbe load", Needs::movbe, BODY("", "movbe (%%rdi), %%rax", "")},
    {"movbe store", Needs::movbe, BODY("", "movbe %%eax, 4(%%rdi)", "")},
    GENERAL("addl %%eax, (%%rdi)"),
    GENERAL("addq $-1, (%%rdi)"),
    GENERAL("addb %%al, 7(%%rdi)"),
    GENERAL("addq (%%rdi), %%rax"),
    GENERAL("adcl %%eax, (%%rdi)"),
    GENERAL("adcq (%%rdi), %%rax"),
    GENERAL("subl %%eax, (%%rdi)"),
    GENERAL("subq (%%rdi), %%rax"),
    GENERAL("sbbw %%ax, (%%rdi)"),
    GENERAL("orl $0x80, (%%rdi)"),
    GENERAL("orb %%al, (%%rdi)"),
    GENERAL("andl %%eax, (%%rdi)"),
    GENERAL("andq (%%rdi), %%rax"),
    GENERAL("xorl %%eax, (%%rdi)"),
    GENERAL("xorq %%rax, (%%rdi)"),
    GENERAL("cmpl $5, (%%rdi)"),
    GENERAL("cmpq %%rax, (%%rdi)"),
    GENERAL("cmpq (%%rdi), %%rax"),
    GENERAL("cmpb $-1, 7(%%rdi)"),
    GENERAL("testl %%eax, (%%rdi)"),
    GENERAL("testb $1, (%%rdi)"),
    GENERAL("incl (%%rdi)"),
    GENERAL("decw (%%rdi)"),
    GENERAL("negq (%%rdi)"),
    GENERAL("notl (%%rdi)"),
    GENERAL("xchgl %%eax, (%%rdi)"),
    GENERAL("xchgb %%ah, (%%rdi)"),
    GENERAL("lock xaddl %%eax, (%%rdi)"),
    GENERAL("lock addl $1, (%%rdi)"),
    GENERAL("lock cmpxchgl %%edx, (%%rdi)"),
    GENERAL("movl (%%rdi), %%eax\nlock cmpxchgl %%edx, (%%rdi)"),
    GENERAL("cmpxchgq %%rdx, (%%rdi)"),
    GENERAL("btl $3, (%%rdi)"),
    GENERAL("btsl $4, (%%rdi)"),
    GENERAL("btsq %%rcx, (%%rdi)"),
    GENERAL("btrl $1, (%%rdi)"),
    GENERAL("btcl %%ecx, (%%rdi)"),
    GENERAL("pushq (%%rdi)\npopq %%rax"),
    GENERAL("pushq %%rdx\npopq (%%rdi)"),
    GENERAL("sete (%%rdi)"),
    GENERAL("setb (%%rdi)"),
    GENERAL("cmovbq (%%rdi), %%rax"),
    GENERAL("cmovel (%%rdi), %%eax"),
    GENERAL("movsl"),
    GENERAL("rep movsb"),
    GENERAL("rep movsq"),
    GENERAL("stosw"),
    GENERAL("rep stosl"),
    GENERAL("xchgq %%rsi, %%rdi\nrep movsl"),
    GENERAL("xchgq %%rsi, %%rdi\nlodsl\nxchgq %%rsi, %%rdi"),
    GENERAL("addq $32, %%rdi\naddq $32, %%rsi\nstd\nrep movsl\ncld"),
    GENERAL("clflush (%%rdi)"),
    SSE("movdqu (%%rdi), %%xmm1"),
    SSE("movdqu %%xmm1, 16(%%rdi)"),
    SSE("movaps (%%rdi), %%xmm1"),
    SSE("movups %%xmm1, 1(%%rdi)"),
    SSE("movntdq %%xmm1, (%%rdi)"),
    SSE("movd (%%rdi), %%xmm1"),
    SSE("movd %%xmm1, 4(%%rdi)"),
    SSE("movq (%%rdi), %%xmm1"),
    SSE("movq %%xmm1, 8(%%rdi)"),
    SSE("movss (%%rdi), %%xmm1"),
    SSE("movsd 8(%%rdi), %%xmm1"),
    SSE("movsd %%xmm1, (%%rdi)"),
    SSE("movlps (%%rdi), %%xmm1"),
    SSE("movhps (%%rdi), %%xmm1"),
    SSE("movhps %%xmm1, (%%rdi)"),
    AVX("vmovdqu (%%rdi), %%ymm1"),
    AVX("vmovdqu %%ymm1, 32(%%rdi)"),
    AVX("vmovdqu (%%rdi), %%xmm1"),
    AVX("vmovaps %%ymm1, (%%rdi)"),
    AVX("vmovntdq %%ymm1, (%%rdi)"),
    AVX("vmovd (%%rdi), %%xmm1"),
    AVX("vmovq %%xmm1, (%%rdi)"),
    AVX("vmovss (%%rdi), %%xmm1"),
    AVX512("vmovdqu64 (%%rdi), %%zmm1"),
    AVX512("vmovdqu64 %%zmm1, 64(%%rdi)"),
    AVX512("vmovdqu8 %%zmm1, (%%rdi)%{%%k1%}"),
    AVX512("vmovdqu32 (%%rdi), %%zmm1%{%%k1%}"),
    AVX512("vmovdqu32 (%%rdi), %%zmm1%{%%k1%}%{z%}"),
    AVX512("vmovdqu64 (%%rdi), %%zmm17"),
    AVX512("vmovdqu64 %%zmm17, (%%rdi)"),
    AVX512("vmovdqu32 (%%rdi), %%ymm17"),
    {"movdir64b", Needs::movdir64b, BODY("", "movdir64b (%%rsi), %%rdi", "")},
};

Bytes* device = nullptr;
TrapRegions* regions = nullptr;
void on_fault(int signal, siginfo_t* info, void* context) {
  if (handle_fault(*regions, signal, info, static_cast<ucontext_t*>(context))) return;
  struct sigaction plain = {};
  plain.sa_handler = SIG_DFL;
  ::sigaction(signal, &plain, nullptr);
}

class TrappedForm : public testing::TestWithParam<Form> {
 protected:
  TrappedForm() {
    device = &device_;
    regions = &regions_;
    trapped_ = static_cast<std::uint8_t*>(
        ::mmap(nullptr, kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    TrapRegion region;
    region.first = reinterpret_cast<std::uintptr_t>(trapped_);
    region.last = region.first + kBytes - 1;
    region.registers = &device_;
    EXPECT_TRUE(regions_.add(region));
    struct sigaction action = {};
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    action.sa_sigaction = on_fault;
    ::sigaction(SIGSEGV, &action, &before_);
    for (std::size_t i = 0; i < kBytes; ++i) plain_[i] = device_.content[i] = static_cast<std::uint8_t>(i * 37 + 0x81);
  }
  ~TrappedForm() override {
    ::sigaction(SIGSEGV, &before_, nullptr);
    ::munmap(trapped_, kBytes);
  }

  // Starts at a 64-byte boundary, so that the aligned forms may run; pointers come out relative to their memory.
  State run(const Form& form, std::uint8_t* memory) {
    alignas(64) std::array<std::uint8_t, 256> beside{};
    for (std::size_t i = 0; i < beside.size(); ++i) beside[i] = static_cast<std::uint8_t>(i ^ 0x5a);
    State state;
    state.rax = 0x8877'6655'4433'2211;
    state.rcx = 5;
    state.rdx = 0xa5f0'9966'c3d2'e1f7;
    state.rsi = reinterpret_cast<std::uint64_t>(beside.data());
    state.rdi = reinterpret_cast<std::uint64_t>(memory);
    for (std::size_t i = 0; i < state.vector.size(); ++i) state.vector[i] = static_cast<std::uint8_t>(200 - i);
    form.run(state);
    const auto relative = [&](std::uint64_t& pointer) {
      const auto here = reinterpret_cast<std::uint64_t>(memory), there = reinterpret_cast<std::uint64_t>(beside.data());
      if (pointer - here < kBytes) pointer -= here;
      if (pointer - there < beside.size()) pointer -= there;
    };
    relative(state.rsi);
    relative(state.rdi);
    state.flags &= kStatusFlags;
    beside_ = beside;
    return state;
  }

  alignas(64) std::array<std::uint8_t, kBytes> plain_{};
  std::array<std::uint8_t, 256> beside_{};
  std::uint8_t* trapped_ = nullptr;
  Bytes device_;
  TrapRegions regions_;
  struct sigaction before_ = {};
};

TEST_P(TrappedForm, DoesWhatTheProcessorDoes) {
  if (!has(GetParam().needs)) GTEST_SKIP() << "this processor has no such instruction";
  const State wanted = run(GetParam(), plain_.data());
  const auto wanted_beside = beside_;
  const State got = run(GetParam(), trapped_);
  EXPECT_EQ(got.rax, wanted.rax);
  EXPECT_EQ(got.rcx, wanted.rcx);
  EXPECT_EQ(got.rdx, wanted.rdx);
  EXPECT_EQ(got.rsi, wanted.rsi);
  EXPECT_EQ(got.rdi, wanted.rdi);
  EXPECT_EQ(got.flags, wanted.flags);
  EXPECT_EQ(got.vector, wanted.vector);
  EXPECT_EQ(device_.content, plain_);
  EXPECT_EQ(beside_, wanted_beside);
}

INSTANTIATE_TEST_SUITE_P(All, TrappedForm, testing::ValuesIn(kForms),
                         [](const auto& form) { return std::to_string(form.index); });

void PrintTo(const Form& form, std::ostream* out) { *out << form.text; }

class TrappedAccess : public TrappedForm {};
constexpr Form kNoForm = {"", Needs::nothing, nullptr};
INSTANTIATE_TEST_SUITE_P(One, TrappedAccess, testing::Values(kNoForm),
                         [](const auto&) { return std::string("Access"); });

TEST_P(TrappedAccess, AnAlignedStoreIsOneAccessOfItsWidth) {
  *reinterpret_cast<volatile std::uint64_t*>(trapped_ + 8) = 1;
  *reinterpret_cast<volatile std::uint16_t*>(trapped_ + 2) = 1;
  EXPECT_EQ(device_.widths, (std::vector<unsigned>{8, 2}));
}

}  // namespace
}  // namespace softiommu::launch
