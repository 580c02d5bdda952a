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

namespace softiommu::launch {
namespace {

constexpr std::size_t kLongest = 15;  // bytes of an x86 instruction
constexpr std::uintptr_t kPageBytes = 4096;

// Instructions may end at the last byte before unmapped memory.
std::size_t read_code(std::uintptr_t rip, std::array<std::uint8_t, 16>& code) {
  if (guarded_copy(code.data(), reinterpret_cast<const void*>(rip), kLongest)) return kLongest;
  const std::size_t rest = kPageBytes - rip % kPageBytes;
  return rest < kLongest && guarded_copy(code.data(), reinterpret_cast<const void*>(rip), rest) ? rest : 0;
}

}  // namespace

void say_unknown(std::span<const std::uint8_t> code) {
  static constexpr char kDigits[] = "0123456789abcdef";
  char line[] =
      "softiommu: an instruction that accesses a device register cannot be emulated:                               "
      "                \n";
  char* at = line + 77;
  for (const std::uint8_t byte : code) {
    *at++ = ' ';
    *at++ = kDigits[byte >> 4];
    *at++ = kDigits[byte & 0xf];
  }
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line, sizeof line - 1);
}

bool handle_fault(const TrapRegions& regions, int signal, siginfo_t* info, ucontext_t* context) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  const bool from_kernel = info->si_code > 0;
  if (from_kernel && signal == SIGSEGV && TrapRegions::Reader(regions).find(address) != nullptr) {
    Registers registers(context);
    std::array<std::uint8_t, 16> code{};
    const std::size_t known = read_code(registers.rip(), code);
    const auto instruction = decode_cached(registers.rip(), {code.data(), known});
    if (!instruction) {
      say_unknown({code.data(), known});
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
  return from_kernel && guarded_copy_recover(context);
}

}  // namespace softiommu::launch
