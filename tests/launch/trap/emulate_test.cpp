// SPDX-License-Identifier: BSD-3-Clause
// Each instruction form runs twice with the same registers: on trapped pages and on plain memory. What it leaves in
// memory, registers and flags must be the same; the processor is the oracle.
#include "launch/trap/emulate.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "forms.h"
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
    plain_ = low_pages(PROT_READ | PROT_WRITE);
    trapped_ = low_pages(PROT_NONE);
    TrapRegion region;
    region.first = reinterpret_cast<std::uintptr_t>(trapped_);
    region.last = region.first + kBytes - 1;
    region.registers = &device_;
    EXPECT_TRUE(regions_.add(region));
    struct sigaction action = {};
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    action.sa_sigaction = on_fault;
    ::sigaction(SIGSEGV, &action, &before_);
    fill(0);
  }
  ~TrappedForm() override {
    ::sigaction(SIGSEGV, &before_, nullptr);
    ::munmap(trapped_, kBytes);
    ::munmap(plain_, kBytes);
  }

  // Below 4 GiB, for addresses of 32 bits.
  static std::uint8_t* low_pages(int rights) {
    void* got = ::mmap(nullptr, kBytes, rights, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    return static_cast<std::uint8_t*>(got);
  }
  bool device_is_like_memory() const { return std::equal(device_.content.begin(), device_.content.end(), plain_); }

  // Registers and memory for the next runs: of number 0 as chosen, else at random.
  void fill(unsigned number) {
    random_.seed(number);
    for (std::size_t i = 0; i < kBytes; ++i) {
      plain_[i] = device_.content[i] =
          number == 0 ? static_cast<std::uint8_t>(i * 37 + 0x81) : static_cast<std::uint8_t>(random_());
    }
    for (std::size_t i = 0; i < start_.vector.size(); ++i) {
      start_.vector[i] = number == 0 ? static_cast<std::uint8_t>(200 - i) : static_cast<std::uint8_t>(random_());
    }
    start_.rax = number == 0 ? 0x8877'6655'4433'2211 : random_();
    start_.rcx = 5;  // a count for some, an index for others
    start_.rdx = number == 0 ? 0xa5f0'9966'c3d2'e1f7 : random_();
  }

  // Starts at a 64-byte boundary, so that the aligned forms may run; pointers come out relative to their memory.
  State run(const Form& form, std::uint8_t* memory) {
    alignas(64) std::array<std::uint8_t, 256> beside{};
    for (std::size_t i = 0; i < beside.size(); ++i) beside[i] = static_cast<std::uint8_t>(i ^ 0x5a);
    State state = start_;
    state.rsi = reinterpret_cast<std::uint64_t>(beside.data());
    state.rdi = reinterpret_cast<std::uint64_t>(memory);
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

  std::array<std::uint8_t, 256> beside_{};
  State start_;
  std::mt19937_64 random_;
  std::uint8_t* plain_ = nullptr;
  std::uint8_t* trapped_ = nullptr;
  Bytes device_;
  TrapRegions regions_;
  struct sigaction before_ = {};
};

TEST_P(TrappedForm, DoesWhatTheProcessorDoes) {
  if (!has(GetParam().needs)) GTEST_SKIP() << "this processor has no such instruction to compare with";
  constexpr unsigned kStarts = 16;
  for (unsigned number = 0; number < kStarts; ++number) {
    SCOPED_TRACE(number);
    fill(number);
    const State wanted = run(GetParam(), plain_);
    const auto wanted_beside = beside_;
    const State got = run(GetParam(), trapped_);
    EXPECT_EQ(got.rax, wanted.rax);
    EXPECT_EQ(got.rcx, wanted.rcx);
    EXPECT_EQ(got.rdx, wanted.rdx);
    EXPECT_EQ(got.rsi, wanted.rsi);
    EXPECT_EQ(got.rdi, wanted.rdi);
    EXPECT_EQ(got.flags, wanted.flags);
    EXPECT_EQ(got.vector, wanted.vector);
    EXPECT_TRUE(device_is_like_memory());
    EXPECT_EQ(beside_, wanted_beside);
    ASSERT_FALSE(HasFailure());
  }
}

INSTANTIATE_TEST_SUITE_P(All, TrappedForm, testing::ValuesIn(kForms),
                         [](const auto& form) { return std::to_string(form.index); });

class TrappedAccess : public TrappedForm {};
constexpr Form kNoForm = {"", Needs::nothing, nullptr};
INSTANTIATE_TEST_SUITE_P(One, TrappedAccess, testing::Values(kNoForm),
                         [](const auto&) { return std::string("Access"); });

TEST_P(TrappedAccess, AnAlignedStoreIsOneAccessOfItsWidth) {
  *reinterpret_cast<volatile std::uint64_t*>(trapped_ + 8) = 1;
  *reinterpret_cast<volatile std::uint16_t*>(trapped_ + 2) = 1;
  EXPECT_EQ(device_.widths, (std::vector<unsigned>{8, 2}));
}

// ---- the register accesses of an instruction; the mask of the masked ones has 3 bits set among the lowest 8

struct Access {
  Form form;
  std::vector<unsigned> widths;
};
const Access kAccesses[] = {
    {GENERAL("movl %%eax, 4(%%rdi)"), {4}},
    {GENERAL("movl %%eax, 3(%%rdi)"), {1, 2, 1}},
    {GENERAL("movq 4(%%rdi), %%rax"), {4, 4}},
    {GENERAL("addl %%eax, (%%rdi)"), {4, 4}},
    {GENERAL("cmpl $1, (%%rdi)"), {4}},
    {GENERAL("shll 4(%%rdi)"), {4, 4}},
    {GENERAL("btsl $9, (%%rdi)"), {4, 4}},
    {GENERAL("btl $9, (%%rdi)"), {4}},
    {GENERAL("movl $2, %%ecx\nrep stosl"), {4, 4}},
    {GENERAL("cmpxchg16b (%%rdi)"), {8, 8, 8, 8}},
    {GENERAL("fildl (%%rdi)\nfstps (%%rsi)"), {4}},
    {GENERAL("fldt (%%rdi)\nfstpt (%%rsi)"), {8, 2}},
    {GENERAL("stmxcsr (%%rdi)"), {4}},
    {GENERAL("prefetcht0 (%%rdi)\nclflush (%%rdi)"), {}},
    {SSE("movdqu (%%rdi), %%xmm1"), {8, 8}},
    {SSE("movss %%xmm1, (%%rdi)"), {4}},
    {SSE("addsd (%%rdi), %%xmm1"), {8}},
    {SSE("addps (%%rdi), %%xmm1"), {8, 8}},
    {SSE("pextrb $3, %%xmm1, 1(%%rdi)"), {1}},
    {AVX("vmovdqu %%ymm1, (%%rdi)"), {8, 8, 8, 8}},
    {AVX("vpbroadcastd (%%rdi), %%ymm1"), {4}},
    {AVX512("vmovdqu64 %%zmm1, (%%rdi)"), {8, 8, 8, 8, 8, 8, 8, 8}},
    {AVX512("vpaddd (%%rdi)%{1to16%}, %%zmm1, %%zmm1"), {4}},
    {AVX512("vmovdqu64 (%%rdi), %%zmm1%{%%k1%}"), {8, 8, 8}},
    {AVX512("vmovdqu64 %%zmm1, (%%rdi)%{%%k1%}"), {8, 8, 8}},
    {AVX512("vpmovqw %%zmm1, (%%rdi)%{%%k1%}"), {2, 2, 2}},
    {AVX512("vpcompressq %%zmm1, (%%rdi)%{%%k1%}"), {8, 8, 8}},
    {AVX512("vpexpandq (%%rdi), %%zmm1%{%%k1%}"), {8, 8, 8}},
    {AVX512("vpxorq %%zmm2, %%zmm2, %%zmm2\nvpgatherqq 8(%%rdi,%%zmm2,8), %%zmm1%{%%k1%}"), {8, 8, 8}},
    {{"movdir64b", Needs::movdir64b, BODY("", "movdir64b (%%rsi), %%rdi", "")}, {8, 8, 8, 8, 8, 8, 8, 8}},
};

TEST_P(TrappedAccess, EveryFormMakesTheAccessesOfTheProcessor) {
  for (const auto& [form, widths] : kAccesses) {
    if (!has(form.needs)) continue;
    device_.widths.clear();
    start_.rdx = 0x2c;
    run(form, trapped_);
    EXPECT_EQ(device_.widths, widths) << form.text;
  }
}

// Code near the registers, with addresses relative to itself: behind some displacements an immediate follows.
TEST_P(TrappedAccess, AnAddressMayBeRelativeToTheInstruction) {
  std::uint8_t* const code = low_pages(PROT_READ | PROT_WRITE | PROT_EXEC);
  std::uint8_t* end = code + 64;  // a sanitizer of calls reads what is before a function
  const auto function = [&](std::initializer_list<std::uint8_t> opcode, std::initializer_list<std::uint8_t> immediate) {
    std::uint8_t* const start = end;
    end = std::copy(opcode.begin(), opcode.end(), end);
    const auto distance = static_cast<std::int32_t>(trapped_ + 16 - (end + 4 + immediate.size()));
    std::memcpy(end, &distance, sizeof distance);
    end = std::copy(immediate.begin(), immediate.end(), end + sizeof distance);
    *end++ = 0xc3;
    return start;
  };
  const auto load = reinterpret_cast<int (*)()>(function({0x8b, 0x05}, {}));
  const auto store = reinterpret_cast<void (*)()>(function({0xc7, 0x05}, {0x44, 0x33, 0x22, 0x11}));
  const auto add = reinterpret_cast<float (*)(float)>(function({0xf3, 0x0f, 0x58, 0x05}, {}));  // addss
  const auto multiply = reinterpret_cast<int (*)()>(function({0x69, 0x05}, {3, 0, 0, 0}));      // imul $3 to eax
  store();
  EXPECT_EQ(load(), 0x11223344);
  EXPECT_EQ(multiply(), 0x11223344 * 3);
  const float two = 2;
  std::memcpy(&device_.content[16], &two, sizeof two);
  EXPECT_EQ(add(1), 3);
  ::munmap(code, kBytes);
}

TEST_P(TrappedAccess, AnInstructionThatCannotBeDoneIsNamed) {
  EXPECT_EXIT(__asm__ volatile("fxsave (%0)" : : "r"(trapped_) : "memory"), testing::KilledBySignal(SIGSEGV),
              "the instruction fxsave at 0x[0-9a-f]+ cannot be done on the device registers at 0x[0-9a-f]+: 0f ae");
}

TEST_P(TrappedAccess, AStoreThatTheProcessorDoesNotHaveIsDoneAllTheSame) {
  static constexpr std::uint8_t kMovdir64b[] = {0x66, 0x0f, 0x38, 0xf8, 0x3e};  // movdir64b (%rsi), %rdi
  alignas(64) std::array<std::uint8_t, 64> from;
  from.fill(0x77);
  ucontext_t context;
  ::getcontext(&context);
  const auto set = [&](int reg, const void* to) { context.uc_mcontext.gregs[reg] = reinterpret_cast<greg_t>(to); };
  set(REG_RIP, kMovdir64b), set(REG_RSI, from.data()), set(REG_RDI, trapped_);
  siginfo_t info = {};
  info.si_code = ILL_ILLOPN;
  EXPECT_TRUE(handle_fault(regions_, SIGILL, &info, &context));
  EXPECT_EQ(device_.content[63], 0x77);
  EXPECT_EQ(context.uc_mcontext.gregs[REG_RIP], reinterpret_cast<greg_t>(kMovdir64b + sizeof kMovdir64b));
  set(REG_RIP, kMovdir64b), set(REG_RDI, from.data());
  EXPECT_FALSE(handle_fault(regions_, SIGILL, &info, &context)) << "to memory: the program's own";
}

TEST(TrappedThreads, MayDoTheSameInstructionAtOnce) {
  struct Ones final : MmioRegion {
    std::uint64_t read(std::uint64_t, unsigned) override { return 0x3f80'0000'3f80'0000; }  // 1.0f twice
    void write(std::uint64_t, unsigned, std::uint64_t) override {}
  } ones;
  TrapRegions here;
  void* page = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  TrapRegion region;
  region.first = reinterpret_cast<std::uintptr_t>(page);
  region.last = region.first + 4095;
  region.registers = &ones;
  ASSERT_TRUE(here.add(region));
  regions = &here;
  struct sigaction action = {}, before = {};
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  action.sa_sigaction = on_fault;
  ::sigaction(SIGSEGV, &action, &before);
  std::vector<float> sums(4);
  std::vector<std::thread> threads;
  for (float& sum : sums) {
    threads.emplace_back([page, &sum] {
      for (int i = 0; i < 2000; ++i) __asm__ volatile("addss (%1), %0" : "+x"(sum) : "r"(page));
    });
  }
  for (std::thread& thread : threads) thread.join();
  ::sigaction(SIGSEGV, &before, nullptr);
  EXPECT_EQ(sums, (std::vector<float>{2000, 2000, 2000, 2000}));
  ::munmap(page, 4096);
}

}  // namespace
}  // namespace softiommu::launch
