// SPDX-License-Identifier: BSD-3-Clause
// The emulation (trap/) works on a signal frame's registers; here that frame is filled from the stopped thread and
// written back. Vector registers are fetched for vector instructions only.
#include "launch/supervise/registers_fault.h"

#include <elf.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>

#include "launch/supervise/traced_program.h"
#include "launch/trap/emulate.h"
#include "launch/trap/fault.h"

namespace softiommu::launch {
namespace {

struct Pair {
  int frame;
  unsigned long long user_regs_struct::* thread;
};
constexpr Pair kPairs[] = {
    {REG_R8, &user_regs_struct::r8},   {REG_R9, &user_regs_struct::r9},   {REG_R10, &user_regs_struct::r10},
    {REG_R11, &user_regs_struct::r11}, {REG_R12, &user_regs_struct::r12}, {REG_R13, &user_regs_struct::r13},
    {REG_R14, &user_regs_struct::r14}, {REG_R15, &user_regs_struct::r15}, {REG_RDI, &user_regs_struct::rdi},
    {REG_RSI, &user_regs_struct::rsi}, {REG_RBP, &user_regs_struct::rbp}, {REG_RBX, &user_regs_struct::rbx},
    {REG_RDX, &user_regs_struct::rdx}, {REG_RAX, &user_regs_struct::rax}, {REG_RCX, &user_regs_struct::rcx},
    {REG_RSP, &user_regs_struct::rsp}, {REG_RIP, &user_regs_struct::rip}, {REG_EFL, &user_regs_struct::eflags},
};

bool has_vectors(const Instruction& instruction) {
  using enum Operation;
  constexpr Operation kThose[] = {vector_load, vector_store, gather, scatter, native};
  return std::ranges::find(kThose, instruction.operation) != std::end(kThose);
}

// The thread's state as a signal frame has it.
class Frame {
 public:
  explicit Frame(const Tracee& thread) : thread_(thread) {}

  bool fetch() {
    if (!thread_.registers(general_)) return false;
    for (const Pair& pair : kPairs) context_.uc_mcontext.gregs[pair.frame] = static_cast<greg_t>(general_.*pair.thread);
    bases_ = {general_.fs_base, general_.gs_base};
    return true;
  }
  bool fetch_vectors() {
    iovec part{image_.data(), image_.size()};
    if (::ptrace(PTRACE_GETREGSET, thread_.thread(), NT_X86_XSTATE, &part) != 0) return false;
    image_bytes_ = part.iov_len;
    // ptrace's image has the components first there (Linux: struct xregs_state, xfeatures of the header's user copy).
    std::memcpy(software_.data(), software(), software_.size());
    std::uint64_t components;
    std::memcpy(&components, software_.data(), sizeof components);
    std::memcpy(software(), &Registers::kExtendedMagic, sizeof Registers::kExtendedMagic);
    std::memcpy(software() + Registers::kComponents, &components, sizeof components);
    context_.uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(image_.data());
    return true;
  }
  void store() {
    for (const Pair& pair : kPairs)
      general_.*pair.thread = static_cast<unsigned long long>(context_.uc_mcontext.gregs[pair.frame]);
    thread_.set_registers(general_);
    if (image_bytes_ == 0) return;
    std::memcpy(software(), software_.data(), software_.size());
    iovec part{image_.data(), image_bytes_};
    ::ptrace(PTRACE_SETREGSET, thread_.thread(), NT_X86_XSTATE, &part);
  }
  Registers registers() { return {&context_, bases_}; }

 private:
  std::uint8_t* software() { return image_.data() + Registers::kSoftwareBytes; }

  const Tracee& thread_;
  ucontext_t context_{};
  user_regs_struct general_{};
  Registers::SegmentBases bases_{};
  alignas(64) std::array<std::uint8_t, 16384> image_{};
  std::size_t image_bytes_ = 0;
  std::array<std::uint8_t, 16> software_{};  // what stood where a signal frame has its magic and components
};

int deliver(const Tracee& thread, siginfo_t info, const Bus::Fault& fault) {
  info.si_signo = fault.signal;
  info.si_code = fault.code;
  info.si_addr = reinterpret_cast<void*>(fault.address);
  ::ptrace(PTRACE_SETSIGINFO, thread.thread(), 0, &info);
  return fault.signal;
}

}  // namespace

int answer_fault(Tracee& thread) {
  siginfo_t info{};
  TracedProgram& program = thread.program();
  const TrapRegions& regions = program.space().regions;
  if (::ptrace(PTRACE_GETSIGINFO, thread.thread(), 0, &info) != 0 || info.si_code <= 0) return SIGSEGV;
  if (TrapRegions::Reader(regions).find(reinterpret_cast<std::uintptr_t>(info.si_addr)) == nullptr) return SIGSEGV;
  Frame frame(thread);
  if (!frame.fetch()) return SIGSEGV;
  Registers registers = frame.registers();
  std::array<std::uint8_t, 16> code{};
  const std::size_t known = program.peek(registers.rip(), code.data(), kLongestInstruction);
  const auto instruction = decode_cached(registers.rip(), {code.data(), known});
  if (!instruction || (has_vectors(*instruction) && !frame.fetch_vectors())) {
    say_unknown(registers.rip(), reinterpret_cast<std::uintptr_t>(info.si_addr), {code.data(), known});
    return SIGSEGV;
  }
  Bus bus(regions, program);
  const bool done = emulate(*instruction, registers, bus);
  frame.store();
  return done ? 0 : deliver(thread, info, bus.fault());
}

}  // namespace softiommu::launch
