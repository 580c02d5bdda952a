// SPDX-License-Identifier: BSD-3-Clause
#include "launch/trap/fault.h"

#include <unistd.h>

#include <array>
#include <cstdint>
#include <span>

#include "base/guarded_copy.h"
#include "launch/trap/bus.h"
#include "launch/trap/emulate.h"
#include "launch/trap/instruction.h"
#include "launch/trap/native.h"

namespace softiommu::launch {
namespace {

constexpr std::uintptr_t kPageBytes = 4096;

// Instructions may end at the last byte before unmapped memory.
std::size_t read_code(std::uintptr_t rip, std::array<std::uint8_t, 16>& code) {
  if (guarded_copy(code.data(), reinterpret_cast<const void*>(rip), kLongestInstruction)) return kLongestInstruction;
  const std::size_t rest = kPageBytes - rip % kPageBytes;
  return rest < kLongestInstruction && guarded_copy(code.data(), reinterpret_cast<const void*>(rip), rest) ? rest : 0;
}

// A line put together without allocating.
class Line {
 public:
  Line& text(const char* more) {
    while (*more != '\0' && size_ < sizeof chars_ - 1) chars_[size_++] = *more++;
    return *this;
  }
  Line& hex(std::uint64_t value, unsigned digits) {
    constexpr unsigned kDigitBits = 4;
    for (unsigned i = digits; i-- > 0;) {
      const char digit[] = {"0123456789abcdef"[value >> (i * kDigitBits) & 0xf], '\0'};
      text(digit);
    }
    return *this;
  }
  void say() {
    chars_[size_++] = '\n';
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, chars_, size_);
  }

 private:
  char chars_[256];
  std::size_t size_ = 0;
};

}  // namespace

void say_unknown(std::uintptr_t rip, std::uintptr_t address, std::span<const std::uint8_t> code) {
  constexpr unsigned kAddressDigits = 12;
  Line line;
  line.text("softiommu: the instruction ").text(mnemonic(code)).text(" at 0x").hex(rip, kAddressDigits);
  line.text(" cannot be done on the device registers at 0x").hex(address, kAddressDigits).text(":");
  for (const std::uint8_t byte : code) line.text(" ").hex(byte, 2);
  line.say();
}

namespace {

bool is_access(int signal) { return signal == SIGSEGV || signal == SIGBUS; }

// MOVDIRI and MOVDIR64B where the processor has neither: is the store for device registers?
bool missing_store(const TrapRegions& regions, ucontext_t* context) {
  const Registers registers(context);
  std::array<std::uint8_t, 16> code{};
  const std::size_t known = read_code(registers.rip(), code);
  const auto instruction = decode_cached(registers.rip(), {code.data(), known});
  if (!instruction || !instruction->may_be_missing) return false;
  const std::uintptr_t to = instruction->operation == Operation::direct_store64
                                ? registers.get(instruction->reg, instruction->address.narrow ? 4 : 8)
                                : effective_address(*instruction, registers);
  return TrapRegions::Reader(regions).find(to) != nullptr;
}

bool is_device_access(const TrapRegions& regions, int signal, std::uintptr_t address, ucontext_t* context) {
  if (signal == SIGILL) return missing_store(regions, context);
  return signal == SIGSEGV && TrapRegions::Reader(regions).find(address) != nullptr;
}

}  // namespace

bool handle_fault(const TrapRegions& regions, int signal, siginfo_t* info, ucontext_t* context) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  const bool from_kernel = info->si_code > 0;
  if (from_kernel && (signal == SIGFPE || signal == SIGSEGV) && native_recover({signal, info->si_code}, context)) {
    return true;
  }
  if (from_kernel && is_device_access(regions, signal, address, context)) {
    Registers registers(context);
    std::array<std::uint8_t, 16> code{};
    const std::size_t known = read_code(registers.rip(), code);
    const auto instruction = decode_cached(registers.rip(), {code.data(), known});
    if (!instruction) {
      say_unknown(registers.rip(), address, {code.data(), known});
      return false;
    }
    Bus bus(regions);
    if (emulate(*instruction, registers, bus)) return true;
    // A guarded copy that reaches a disabled BAR or a hole answers "not there".
    if (guarded_copy_recover(context)) return true;
    info->si_signo = bus.fault().signal;
    info->si_code = bus.fault().code;
    info->si_addr = reinterpret_cast<void*>(bus.fault().address);
    return false;
  }
  return from_kernel && is_access(signal) && guarded_copy_recover(context);
}

}  // namespace softiommu::launch
