// SPDX-License-Identifier: BSD-3-Clause
// Every encoding with a memory operand that this processor executes, legacy, VEX and EVEX: once on plain memory, once
// on registers behind the trap. Registers, flags, x87 and vector state and memory must be the same afterwards.
//
// A few hundred encodings at a time run in a child, which has room for their copies and may crash.
#include <Zydis/Zydis.h>
#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "launch/trap/fault.h"
#include "launch/trap/instruction.h"
#include "launch/trap/registers.h"

extern "C" {
void softiommu_run_native(void* state, std::uint64_t mask, std::uint64_t* general, const void* code);
extern const char softiommu_native_back[];
}

namespace softiommu::launch {
namespace {

constexpr std::size_t kPage = 4096;
constexpr unsigned kRdi = 7, kRsp = 4, kFlags = 16;
using Code = std::vector<std::uint8_t>;

class Bytes final : public MmioRegion {
 public:
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override {
    std::uint64_t value = 0;
    std::memcpy(&value, &content[offset], bytes);
    return value;
  }
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override {
    std::memcpy(&content[offset], &value, bytes);
  }
  std::array<std::uint8_t, 2 * kPage> content{};
};

// ---- the encodings: memory at (rdi), or at (rdi + vector) where one is wanted

constexpr std::uint8_t kModRm = kRdi, kModRmSib = 4, kSib = 2 << 3 | kRdi;  // xmm2 is the index

void append_operand(Code& code, unsigned reg, bool vsib) {
  code.push_back(static_cast<std::uint8_t>(reg << 3 | (vsib ? kModRmSib : kModRm)));
  if (vsib) code.push_back(kSib);
  code.insert(code.end(), {0x05, 0, 0, 0});  // an immediate, for those that have one
}

void legacy(std::vector<Code>& out) {
  const Code maps[] = {{}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};
  for (const Code& map : maps)
    for (const Code& prefix : {Code{}, Code{0x66}, Code{0xf2}, Code{0xf3}, Code{0xf0}})
      for (const unsigned rex : {0x00u, 0x48u, 0x44u})
        for (unsigned opcode = 0; opcode < 256; ++opcode)
          for (unsigned reg = 0; reg < 8; ++reg) {
            Code code = prefix;
            if (rex != 0) code.push_back(static_cast<std::uint8_t>(rex));
            code.insert(code.end(), map.begin(), map.end());
            code.push_back(static_cast<std::uint8_t>(opcode));
            append_operand(code, reg, false);
            out.push_back(code);
          }
}

void vex(std::vector<Code>& out) {
  for (unsigned map = 1; map <= 3; ++map)
    for (unsigned low = 0; low < 8; ++low)  // L and pp
      for (const unsigned w : {0x00u, 0x80u})
        for (const unsigned v : {0x70u, 0x78u})  // xmm1, or none
          for (unsigned opcode = 0; opcode < 256; ++opcode)
            for (const unsigned reg : {0u, 1u, 2u, 3u, 6u})
              for (const bool vsib : {false, true}) {
                Code code = {0xc4, static_cast<std::uint8_t>(0xe0 | map), static_cast<std::uint8_t>(w | v | low),
                             static_cast<std::uint8_t>(opcode)};
                append_operand(code, reg, vsib);
                out.push_back(code);
              }
}

void evex(std::vector<Code>& out) {
  for (const unsigned map : {1u, 2u, 3u, 5u, 6u})
    for (unsigned pp = 0; pp < 4; ++pp)
      for (const unsigned w : {0x00u, 0x80u})
        for (const unsigned v : {0x70u, 0x78u})
          for (const unsigned last : {0x48u, 0x49u, 0xc9u, 0x58u, 0xd9u, 0x09u, 0x29u})  // z, L, b, mask
            for (unsigned opcode = 0; opcode < 256; ++opcode)
              for (const bool vsib : {false, true}) {
                Code code = {0x62, static_cast<std::uint8_t>(0xf0 | map), static_cast<std::uint8_t>(w | v | 4 | pp),
                             static_cast<std::uint8_t>(last), static_cast<std::uint8_t>(opcode)};
                append_operand(code, 3, vsib);
                out.push_back(code);
              }
}

// ---- which of them are asked: one memory operand, no other way out of the code, no state of the thread that matters

bool is_left_alone(const ZydisDecodedInstruction& instruction) {
  switch (instruction.meta.category) {
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_PUSH:
    case ZYDIS_CATEGORY_POP:
    case ZYDIS_CATEGORY_STRINGOP:
    case ZYDIS_CATEGORY_SYSTEM:
    case ZYDIS_CATEGORY_SEGOP:
      return true;
    default:
      break;
  }
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_LDMXCSR:  // from any bits: exceptions would be unmasked
    case ZYDIS_MNEMONIC_VLDMXCSR:
    case ZYDIS_MNEMONIC_FLDCW:
      return true;
    default:
      return false;
  }
}

bool asked(Code& code) {
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  ZydisDecodedInstruction instruction;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code.data(), code.size(), &instruction, operands))) return false;
  if (is_left_alone(instruction)) return false;
  unsigned memory = 0;
  for (unsigned i = 0; i < instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = operands[i];
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
      if (operand.mem.base != ZYDIS_REGISTER_RDI || operand.mem.type == ZYDIS_MEMOP_TYPE_AGEN) return false;
      ++memory;
    }
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
    const auto whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operand.reg.value);
    if (whole == ZYDIS_REGISTER_RSP || whole == ZYDIS_REGISTER_RDI) return false;  // an address is not a number here
    if (ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_SEGMENT) return false;
  }
  code.resize(instruction.length);
  return memory == 1;
}

bool tests_bits(const Code& code) { return std::string_view(mnemonic(code)).starts_with("bt"); }

std::string text_of(const Code& code) {
  ZydisDisassembledInstruction out;
  ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, 0, code.data(), code.size(), &out);
  std::string text = std::string(out.text) + "  [";
  for (const std::uint8_t byte : code) {
    char digits[4];
    std::snprintf(digits, sizeof digits, " %02x", byte);
    text += digits;
  }
  return text + " ]";
}

// ---- one run

struct State {
  std::array<std::uint64_t, kFlags + 1> general{};
  alignas(64) std::array<std::uint8_t, kPage> image{};
};

// Offsets in an XSAVE image, and what Linux puts beside it (registers.cpp).
constexpr unsigned kTags = 4, kX87 = 32, kX87Bytes = 128, kMxcsr = 24, kMagic = 464, kComponents = 472, kInUse = 512;
constexpr std::uint64_t kAllComponents = 0xe7;

sigjmp_buf fault;
const TrapRegions* regions = nullptr;

void on_signal(int signal, siginfo_t* info, void* context) {
  if (signal == SIGSEGV && handle_fault(*regions, signal, info, static_cast<ucontext_t*>(context))) return;
  siglongjmp(fault, 1);
}

// In a child: the memory, the registers behind the trap, the page where the instruction runs.
class Bench {
 public:
  Bench() {
    code_ = static_cast<std::uint8_t*>(
        ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    trapped_ = static_cast<std::uint8_t*>(
        ::mmap(nullptr, 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    TrapRegion region;
    region.first = reinterpret_cast<std::uintptr_t>(trapped_);
    region.last = region.first + 2 * kPage - 1;
    region.registers = &device_;
    if (!regions_.add(region)) _exit(2);
    regions = &regions_;
    struct sigaction action = {};
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    action.sa_sigaction = on_signal;
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) ::sigaction(signal, &action, nullptr);
  }

  enum class Outcome { same, other, not_executed, not_done };
  Outcome judge(const Code& code) {
    place(code);
    const State start = begin(code);
    State wanted = start, got = start;
    if (!run(wanted, plain_.data() + kPage)) return Outcome::not_executed;
    if (!decode(code)) return Outcome::not_done;
    if (!run(got, trapped_ + kPage)) return Outcome::other;
    return same(wanted, got) && device_.content == plain_ ? Outcome::same : Outcome::other;
  }

 private:
  void place(const Code& code) {
    std::uint8_t* end = std::ranges::copy(code, code_).out;
    constexpr std::uint8_t kJump[] = {0xff, 0x25, 0, 0, 0, 0};
    end = std::ranges::copy(kJump, end).out;
    const auto back = reinterpret_cast<std::uint64_t>(softiommu_native_back);
    std::memcpy(end, &back, sizeof back);
  }

  // Random registers and memory; indices small, half of the x87 stack in use.
  State begin(const Code& code) {
    std::seed_seq seed(code.begin(), code.end());
    std::mt19937_64 random(seed);
    for (auto& byte : plain_) byte = static_cast<std::uint8_t>(random());
    device_.content = plain_;
    State state;
    for (auto& reg : state.general) reg = random();
    // Bit numbers reach beyond the operand, but not out of the page.
    if (tests_bits(code))
      std::ranges::transform(state.general, state.general.begin(), [](auto v) { return v % kPage; });
    state.general[kFlags] = 0x1;
    for (std::size_t i = kX87; i < state.image.size(); ++i) state.image[i] = static_cast<std::uint8_t>(random());
    std::memset(&state.image[416], 0, 96 + 64);
    const std::uint16_t control = 0x37f;
    const std::uint32_t mxcsr = 0x1f80, magic = 0x46505853;
    std::memcpy(&state.image[0], &control, sizeof control);
    state.image[kTags] = 0x0f;
    std::memcpy(&state.image[kMxcsr], &mxcsr, sizeof mxcsr);
    std::memcpy(&state.image[kMagic], &magic, sizeof magic);
    std::memcpy(&state.image[kComponents], &kAllComponents, sizeof kAllComponents);
    std::memcpy(&state.image[kInUse], &kAllComponents, sizeof kAllComponents);
    ucontext_t context = context_of(state);
    Registers registers(&context);
    Registers::Vector indices{};
    for (std::size_t i = 0; i < indices.size(); i += 8) indices[i] = static_cast<std::uint8_t>(random());
    registers.set_vector(2, indices, indices.size(), true);
    return state;
  }

  static ucontext_t context_of(State& state) {
    ucontext_t context = {};
    context.uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(state.image.data());
    return context;
  }

  // False: the instruction faulted by itself.
  bool run(State& state, std::uint8_t* memory) {
    if (sigsetjmp(fault, 1) != 0) return false;
    state.general[kRdi] = reinterpret_cast<std::uint64_t>(memory);
    softiommu_run_native(state.image.data(), kAllComponents, state.general.data(), code_);
    return true;
  }

  bool same(State& a, State& b) {
    constexpr std::uint64_t kStatus = 0x8d5;
    for (unsigned i = 0; i < kFlags; ++i)
      if (i != kRsp && i != kRdi && a.general[i] != b.general[i]) return false;
    if (((a.general[kFlags] ^ b.general[kFlags]) & kStatus) != 0) return false;
    if (std::memcmp(&a.image[0], &b.image[0], kTags + 1) != 0 ||
        std::memcmp(&a.image[kMxcsr], &b.image[kMxcsr], 4) != 0 ||
        std::memcmp(&a.image[kX87], &b.image[kX87], kX87Bytes) != 0)
      return false;
    ucontext_t first = context_of(a), second = context_of(b);
    const Registers one(&first), other(&second);
    for (unsigned i = 0; i < 32; ++i)
      if (one.vector(i) != other.vector(i)) return false;
    for (unsigned i = 1; i < 8; ++i)
      if (one.mask(i) != other.mask(i)) return false;
    return true;
  }

  std::uint8_t* code_ = nullptr;
  std::uint8_t* trapped_ = nullptr;
  Bytes device_;
  alignas(64) std::array<std::uint8_t, 2 * kPage> plain_{};
  TrapRegions regions_;
};

// What a child found: a line for each encoding that was not the same, and how many it executed.
struct Report {
  unsigned executed = 0;
  std::vector<std::string> other;
  std::set<std::string> not_done;
};

void judge_in_child(std::span<const Code> codes, int to) {
  Bench bench;
  unsigned executed = 0;
  for (const Code& code : codes) {
    const Bench::Outcome outcome = bench.judge(code);
    executed += outcome != Bench::Outcome::not_executed;
    if (outcome == Bench::Outcome::other) dprintf(to, "other %s\n", text_of(code).c_str());
    if (outcome == Bench::Outcome::not_done) dprintf(to, "not-done %s\n", mnemonic(code));
  }
  dprintf(to, "executed %u\n", executed);
}

void judge(std::span<const Code> codes, Report& report) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    judge_in_child(codes, ends[1]);
    _exit(0);
  }
  ::close(ends[1]);
  std::FILE* lines = ::fdopen(ends[0], "r");
  char line[512];
  while (std::fgets(line, sizeof line, lines) != nullptr) {
    std::string text = line;
    text.pop_back();
    if (text.starts_with("other ")) report.other.push_back(text.substr(6));
    if (text.starts_with("not-done ")) report.not_done.insert(text.substr(9));
    if (text.starts_with("executed ")) report.executed += static_cast<unsigned>(std::stoul(text.substr(9)));
  }
  std::fclose(lines);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "from " << text_of(codes.front()) << " on: " << status;
}

Report judge_all(void (*make)(std::vector<Code>&)) {
  constexpr std::size_t kAtATime = 500;
  std::vector<Code> all;
  make(all);
  std::erase_if(all, [](Code& code) { return !asked(code); });
  std::ranges::sort(all);
  all.erase(std::unique(all.begin(), all.end()), all.end());
  Report report;
  for (std::size_t at = 0; at < all.size(); at += kAtATime)
    judge(std::span(all).subspan(at, std::min(kAtATime, all.size() - at)), report);
  testing::Test::RecordProperty("executed", std::to_string(report.executed));
  return report;
}

// State of the thread in more than 64 bytes, and bound checks that no processor has any more.
const std::set<std::string> kCannotBeDone = {"bndldx",   "bndstx",   "fnsave",     "frstor", "fldenv",   "fnstenv",
                                             "fxsave",   "fxsave64", "fxrstor",    "xsave",  "xsave64",  "xsavec",
                                             "xsavec64", "xsaveopt", "xsaveopt64", "xrstor", "fxrstor64"};

void expect_all_the_same(void (*make)(std::vector<Code>&), unsigned at_least) {
  const Report report = judge_all(make);
  EXPECT_GE(report.executed, at_least);
  EXPECT_EQ(report.other, std::vector<std::string>{});
  EXPECT_TRUE(std::ranges::includes(kCannotBeDone, report.not_done)) << testing::PrintToString(report.not_done);
}

TEST(Encodings, OfTheFirstKindDoWhatTheProcessorDoes) { expect_all_the_same(legacy, 1000); }
TEST(Encodings, WithVexDoWhatTheProcessorDoes) {
  if (__builtin_cpu_supports("avx2") == 0) GTEST_SKIP() << "this processor has no AVX2 to compare with";
  expect_all_the_same(vex, 1000);
}
TEST(Encodings, WithEvexDoWhatTheProcessorDoes) {
  if (__builtin_cpu_supports("avx512bw") == 0) GTEST_SKIP() << "this processor has no AVX-512 to compare with";
  expect_all_the_same(evex, 1000);
}

}  // namespace
}  // namespace softiommu::launch
