// SPDX-License-Identifier: BSD-3-Clause
#include "launch/trap/emulate.h"

#include <signal.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "launch/trap/native.h"

namespace softiommu::launch {
namespace {

// RFLAGS (Intel SDM 1, 3.4.3).
enum Flag : std::uint64_t {
  kCarry = 1u << 0,
  kParity = 1u << 2,
  kAdjust = 1u << 4,
  kZero = 1u << 6,
  kSign = 1u << 7,
  kDirection = 1u << 10,
  kOverflow = 1u << 11
};
constexpr std::uint64_t kArithmetic = kCarry | kParity | kAdjust | kZero | kSign | kOverflow;

constexpr std::uint64_t sign_bit(unsigned bytes) { return 1ull << (bytes * 8 - 1); }
constexpr std::uint64_t sign_extended(std::uint64_t value, unsigned bytes) {
  return (value & sign_bit(bytes)) != 0 ? value | ~low_bits(bytes) : value & low_bits(bytes);
}

// One instruction at work: the address, the operand's width, the two values.
struct Work {
  const Instruction& in;
  Registers& regs;
  Bus& bus;
  std::uintptr_t address;
  unsigned bytes;

  bool read(std::uint64_t& value) const {
    value = 0;
    return bus.read(address, &value, bytes);
  }
  bool write(std::uint64_t value) const { return bus.write(address, &value, bytes); }
  // The operand beside memory.
  std::uint64_t other() const {
    return in.has_reg ? regs.get(in.reg, in.reg_bytes, in.reg_high) & low_bits(bytes)
                      : static_cast<std::uint64_t>(in.immediate) & low_bits(bytes);
  }
  void set_reg(std::uint64_t value) const { regs.set(in.reg, in.reg_bytes, value, in.reg_high); }
  void set_flags(std::uint64_t which, std::uint64_t values) const {
    regs.set_flags((regs.flags() & ~which) | (values & which));
  }
  bool done() const {
    regs.set_rip(regs.rip() + in.length);
    return true;
  }
};

std::uint64_t result_flags(std::uint64_t result, unsigned bytes) {
  constexpr std::uint64_t kLowByte = 0xff;
  std::uint64_t flags = 0;
  if ((result & low_bits(bytes)) == 0) flags |= kZero;
  if ((result & sign_bit(bytes)) != 0) flags |= kSign;
  if (std::popcount(result & kLowByte) % 2 == 0) flags |= kParity;
  return flags;
}

struct Sum {
  std::uint64_t result, flags;
};

Sum add(std::uint64_t a, std::uint64_t b, bool carry, unsigned bytes) {
  constexpr std::uint64_t kNibbleCarry = 0x10;
  const std::uint64_t result = (a + b + carry) & low_bits(bytes);
  std::uint64_t flags = result_flags(result, bytes);
  const std::uint64_t carries = (a & b) | ((a | b) & ~result);
  if ((carries & sign_bit(bytes)) != 0) flags |= kCarry;
  if (((a ^ result) & (b ^ result) & sign_bit(bytes)) != 0) flags |= kOverflow;
  if (((a ^ b ^ result) & kNibbleCarry) != 0) flags |= kAdjust;
  return {result, flags};
}

Sum subtract(std::uint64_t a, std::uint64_t b, bool borrow, unsigned bytes) {
  constexpr std::uint64_t kNibbleCarry = 0x10;
  const std::uint64_t result = (a - b - borrow) & low_bits(bytes);
  std::uint64_t flags = result_flags(result, bytes);
  const std::uint64_t borrows = (~a & b) | ((~a | b) & result);
  if ((borrows & sign_bit(bytes)) != 0) flags |= kCarry;
  if (((a ^ b) & (a ^ result) & sign_bit(bytes)) != 0) flags |= kOverflow;
  if (((a ^ b ^ result) & kNibbleCarry) != 0) flags |= kAdjust;
  return {result, flags};
}

Sum combine(const Work& w, std::uint64_t left, std::uint64_t right) {
  const bool carry = (w.regs.flags() & kCarry) != 0;
  switch (w.in.operation) {
    case Operation::add:
      return add(left, right, false, w.bytes);
    case Operation::adc:
      return add(left, right, carry, w.bytes);
    case Operation::sub:
    case Operation::compare:
      return subtract(left, right, false, w.bytes);
    case Operation::sbb:
      return subtract(left, right, carry, w.bytes);
    case Operation::bit_or:
      return {left | right, result_flags(left | right, w.bytes)};
    case Operation::bit_xor:
      return {left ^ right, result_flags(left ^ right, w.bytes)};
    default:
      return {left & right, result_flags(left & right, w.bytes)};
  }
}

// ADD OR ADC SBB AND SUB XOR CMP TEST: memory and a register or an immediate, either way round.
bool arithmetic(const Work& w) {
  std::uint64_t memory;
  if (!w.read(memory)) return false;
  const bool only_flags = w.in.operation == Operation::compare || w.in.operation == Operation::test;
  const bool memory_first = w.in.mem_is_destination;
  const Sum sum = memory_first ? combine(w, memory, w.other()) : combine(w, w.other(), memory);
  if (!only_flags) {
    if (memory_first) {
      if (!w.write(sum.result)) return false;
    } else {
      w.set_reg(sum.result);
    }
  }
  w.set_flags(kArithmetic, sum.flags);
  return w.done();
}

// INC and DEC leave the carry; NOT leaves all flags.
bool unary(const Work& w) {
  std::uint64_t memory;
  if (!w.read(memory)) return false;
  Sum sum{};
  std::uint64_t changed = kArithmetic;
  switch (w.in.operation) {
    case Operation::increment:
      sum = add(memory, 1, false, w.bytes), changed &= ~std::uint64_t{kCarry};
      break;
    case Operation::decrement:
      sum = subtract(memory, 1, false, w.bytes), changed &= ~std::uint64_t{kCarry};
      break;
    case Operation::negate:
      sum = subtract(0, memory, false, w.bytes);
      break;
    default:
      sum = {~memory & low_bits(w.bytes), 0}, changed = 0;
      break;
  }
  if (!w.write(sum.result)) return false;
  w.set_flags(changed, sum.flags);
  return w.done();
}

bool exchange(const Work& w) {
  std::uint64_t memory;
  if (!w.read(memory)) return false;
  const std::uint64_t reg = w.other();
  if (w.in.operation == Operation::exchange) {
    if (!w.write(reg)) return false;
    w.set_reg(memory);
  } else if (w.in.operation == Operation::exchange_add) {
    const Sum sum = add(memory, reg, false, w.bytes);
    if (!w.write(sum.result)) return false;
    w.set_reg(memory);
    w.set_flags(kArithmetic, sum.flags);
  } else {
    const std::uint64_t expected = w.regs.get(Registers::kRax, w.bytes);
    const Sum difference = subtract(expected, memory, false, w.bytes);
    const bool equal = expected == memory;
    if (!w.write(equal ? reg : memory)) return false;  // the processor writes in both cases
    if (!equal) w.regs.set(Registers::kRax, w.bytes, memory);
    w.set_flags(kArithmetic, difference.flags);
  }
  return w.done();
}

// BT, BTS, BTR, BTC: a register's bit number reaches beyond the operand, an immediate's does not.
bool bit_operation(const Work& w) {
  Work at = w;
  const unsigned width = w.bytes * 8;
  std::int64_t bit = static_cast<std::int64_t>(w.other());
  if (w.in.has_reg) {
    bit = static_cast<std::int64_t>(sign_extended(w.other(), w.bytes));
    at.address += static_cast<std::uintptr_t>((bit >> std::countr_zero(width)) * w.bytes);
  }
  const std::uint64_t chosen = 1ull << (static_cast<std::uint64_t>(bit) % width);
  std::uint64_t memory;
  if (!at.read(memory)) return false;
  const bool was_set = (memory & chosen) != 0;
  switch (w.in.operation) {
    case Operation::bit_set:
      memory |= chosen;
      break;
    case Operation::bit_reset:
      memory &= ~chosen;
      break;
    case Operation::bit_complement:
      memory ^= chosen;
      break;
    default:
      break;
  }
  if (w.in.operation != Operation::bit_test && !at.write(memory)) return false;
  w.set_flags(kCarry, was_set ? std::uint64_t{kCarry} : 0);
  return w.done();
}

bool move(const Work& w) {
  const bool swapped = w.in.operation == Operation::load_swapped || w.in.operation == Operation::store_swapped;
  const auto swap = [&](std::uint64_t v) { return swapped ? __builtin_bswap64(v) >> (64 - w.bytes * 8) : v; };
  if (w.in.mem_is_destination) return w.write(swap(w.other())) && w.done();
  std::uint64_t memory;
  if (!w.read(memory)) return false;
  memory = swap(memory);
  w.set_reg(w.in.sign_extend ? sign_extended(memory, w.bytes) : memory);
  return w.done();
}

bool stack(const Work& w) {
  const std::uint64_t rsp = w.regs.get(Registers::kRsp, 8);
  std::uint64_t value = 0;
  if (w.in.operation == Operation::push) {
    if (!w.read(value) || !w.bus.write(rsp - w.bytes, &value, w.bytes)) return false;
    w.regs.set(Registers::kRsp, 8, rsp - w.bytes);
  } else {
    if (!w.bus.read(rsp, &value, w.bytes) || !w.write(value)) return false;
    w.regs.set(Registers::kRsp, 8, rsp + w.bytes);
  }
  return w.done();
}

bool string(const Work& w) {
  const bool down = (w.regs.flags() & kDirection) != 0;
  const std::uint64_t step = down ? -std::uint64_t{w.bytes} : w.bytes;
  const unsigned width = w.in.address.narrow ? 4 : 8;
  const bool reads = w.in.operation != Operation::string_store, writes = w.in.operation != Operation::string_load;
  std::uint64_t left = w.in.repeat ? w.regs.get(Registers::kRcx, width) : 1;
  for (; left > 0; --left) {
    const std::uint64_t from = w.regs.get(Registers::kRsi, width), to = w.regs.get(Registers::kRdi, width);
    std::uint64_t value = w.regs.get(Registers::kRax, w.bytes);
    if (reads && !w.bus.read(from, &value, w.bytes)) return false;
    if (writes && !w.bus.write(to, &value, w.bytes)) return false;
    if (!writes) w.regs.set(Registers::kRax, w.bytes, value);
    if (reads) w.regs.set(Registers::kRsi, width, from + step);
    if (writes) w.regs.set(Registers::kRdi, width, to + step);
    if (w.in.repeat) w.regs.set(Registers::kRcx, width, left - 1);
  }
  return w.done();
}

// CMPS and SCAS: the flags of a subtraction; a repeated one ends after the first pair that is not, or is, equal.
bool string_search(const Work& w) {
  const bool down = (w.regs.flags() & kDirection) != 0, scans = w.in.operation == Operation::string_scan;
  const std::uint64_t step = down ? -std::uint64_t{w.bytes} : w.bytes;
  const unsigned width = w.in.address.narrow ? 4 : 8;
  std::uint64_t left = w.in.repeat ? w.regs.get(Registers::kRcx, width) : 1;
  for (bool goes_on = true; left > 0 && goes_on; --left) {
    const std::uint64_t from = w.regs.get(Registers::kRsi, width), to = w.regs.get(Registers::kRdi, width);
    std::uint64_t first = w.regs.get(Registers::kRax, w.bytes), second = 0;
    if (!scans) first = 0;
    if (!scans && !w.bus.read(from, &first, w.bytes)) return false;
    if (!w.bus.read(to, &second, w.bytes)) return false;
    if (!scans) w.regs.set(Registers::kRsi, width, from + step);
    w.regs.set(Registers::kRdi, width, to + step);
    if (w.in.repeat) w.regs.set(Registers::kRcx, width, left - 1);
    w.set_flags(kArithmetic, subtract(first, second, false, w.bytes).flags);
    goes_on = w.in.repeat_unequal ? first != second : first == second;
  }
  return w.done();
}

// The condition codes of Jcc, SETcc and CMOVcc (Intel SDM 2, appendix B): bit 0 inverts.
bool holds(unsigned condition, std::uint64_t flags) {
  const bool carry = (flags & kCarry) != 0, zero = (flags & kZero) != 0, sign = (flags & kSign) != 0;
  const bool overflow = (flags & kOverflow) != 0, parity = (flags & kParity) != 0;
  const bool table[] = {overflow, carry, zero, carry || zero, sign, parity, sign != overflow, zero || sign != overflow};
  return table[condition >> 1] != ((condition & 1) != 0);
}

bool conditional(const Work& w) {
  const bool yes = holds(w.in.condition, w.regs.flags());
  if (w.in.operation == Operation::set_if) return w.write(yes ? 1 : 0) && w.done();
  std::uint64_t memory;
  if (!w.read(memory)) return false;  // the processor reads in both cases
  w.set_reg(yes ? memory : w.regs.get(w.in.reg, w.in.reg_bytes));
  return w.done();
}

bool chosen(const Instruction& in, std::uint64_t mask, unsigned byte) {
  return in.mask == 0 || in.element_bytes == 0 || (mask >> (byte / in.element_bytes) & 1) != 0;
}

bool vector_store(const Work& w) {
  const Registers::Vector value = w.regs.vector(w.in.reg);
  if (w.in.mask == 0) return w.bus.write(w.address, value.data() + w.in.vector_offset, w.bytes) && w.done();
  const std::uint64_t mask = w.regs.mask(w.in.mask);
  for (unsigned at = 0; at < w.bytes; at += w.in.element_bytes) {
    if (chosen(w.in, mask, at) && !w.bus.write(w.address + at, value.data() + at, w.in.element_bytes)) return false;
  }
  return w.done();
}

bool vector_load(const Work& w) {
  Registers::Vector value{};
  const Registers::Vector old = w.regs.vector(w.in.reg);
  if (w.in.vector_offset != 0 || w.in.reg_bytes == w.bytes) value = old;
  if (w.in.mask == 0) {
    if (!w.bus.read(w.address, value.data() + w.in.vector_offset, w.bytes)) return false;
  } else {
    const std::uint64_t mask = w.regs.mask(w.in.mask);
    for (unsigned at = 0; at < w.bytes; at += w.in.element_bytes) {
      auto* element = value.data() + at;
      if (chosen(w.in, mask, at)) {
        if (!w.bus.read(w.address + at, element, w.in.element_bytes)) return false;
      } else if (w.in.mask_zeroes) {
        std::memset(element, 0, w.in.element_bytes);
      } else {
        std::memcpy(element, old.data() + at, w.in.element_bytes);
      }
    }
  }
  const unsigned changed = std::max<unsigned>(w.in.reg_bytes, w.in.vector_offset + w.bytes);
  w.regs.set_vector(w.in.reg, value, changed, w.in.zero_rest);
  return w.done();
}

// MOVDIR64B: from memory to the address in the register, 64 bytes at once.
bool direct_store(const Work& w) {
  Registers::Vector value{};
  if (!w.bus.read(w.address, value.data(), value.size())) return false;
  const std::uint64_t to = w.regs.get(w.in.reg, w.in.address.narrow ? 4 : 8);
  return w.bus.write(to, value.data(), value.size()) && w.done();
}

constexpr std::uint64_t low_elements(unsigned count) { return count >= 64 ? ~0ull : (1ull << count) - 1; }

// Bit i: element i of the memory operand is read or written.
std::uint64_t chosen_elements(const Instruction& in, const Registers& regs) {
  if (in.chosen == Chosen::by_mask) return regs.mask(in.mask);
  if (in.chosen == Chosen::packed) {
    const auto count = std::popcount(regs.mask(in.mask) & low_elements(in.mem_bytes / in.element_bytes));
    return low_elements(static_cast<unsigned>(count));
  }
  const Registers::Vector signs = regs.vector(in.mask);
  constexpr std::uint8_t kSign = 0x80;
  std::uint64_t chosen = 0;
  for (unsigned i = 0; (i + 1u) * in.element_bytes <= signs.size(); ++i) {
    if ((signs[(i + 1u) * in.element_bytes - 1u] & kSign) != 0) chosen |= std::uint64_t{1} << i;
  }
  return chosen;
}

// Calls with the offset and the size of each piece of memory that the instruction touches; ends where one fails.
template <typename Visit>
bool each_piece(const Work& w, Visit&& visit) {
  if (w.in.chosen == Chosen::all) return visit(0u, w.bytes);
  const std::uint64_t chosen = chosen_elements(w.in, w.regs);
  const unsigned size = w.in.element_bytes;
  for (unsigned i = 0; (i + 1) * size <= w.bytes; ++i) {
    if ((chosen >> i & 1) != 0 && !visit(i * size, size)) return false;
  }
  return true;
}

// The memory operand goes through a buffer. What cannot be written is known before any register changes.
bool run_native(const Work& w) {
  alignas(kOperandBytes) std::array<std::uint8_t, kOperandBytes> operand{};
  const auto read = [&](unsigned at, unsigned size) { return w.bus.read(w.address + at, &operand[at], size); };
  const auto may_write = [&](unsigned at, unsigned size) { return w.bus.writable(w.address + at, size); };
  const auto write = [&](unsigned at, unsigned size) { return w.bus.write(w.address + at, &operand[at], size); };
  if (w.in.writes && !each_piece(w, may_write)) return false;
  if (w.in.reads && !each_piece(w, read)) return false;
  if (const Exception exception = run_code(w.in.code, w.regs, w.in.pointer, operand.data()); exception.signal != 0) {
    // A general protection fault has no address.
    w.bus.fail({exception.signal, exception.code, exception.signal == SIGFPE ? w.regs.rip() : 0});
    return false;
  }
  if (w.in.writes && !each_piece(w, write)) return false;
  return w.done();
}

// Gathers and scatters, from the lowest element. The mask, opmask or vector register, is clear afterwards.
bool each_address(const Work& w) {
  const Instruction& in = w.in;
  Instruction plain = in;
  plain.address.index = Address::kNone;
  const std::uint64_t base = effective_address(plain, w.regs), chosen = chosen_elements(in, w.regs);
  const Registers::Vector indices = w.regs.vector(in.address.index);
  Registers::Vector values = w.regs.vector(in.reg);
  for (unsigned i = 0; i < in.elements; ++i) {
    if ((chosen >> i & 1) == 0) continue;
    std::uint64_t index = 0;
    std::memcpy(&index, &indices[i * in.index_bytes], in.index_bytes);
    std::uint64_t at = base + sign_extended(index, in.index_bytes) * in.address.scale;
    if (in.address.narrow) at &= low_bits(4);
    auto* element = &values[i * in.element_bytes];
    const bool done = in.operation == Operation::gather ? w.bus.read(at, element, in.element_bytes)
                                                        : w.bus.write(at, element, in.element_bytes);
    if (!done) return false;
  }
  constexpr unsigned kLeast = 16;  // bytes of a vector register
  if (in.operation == Operation::gather) {
    std::fill(values.begin() + in.elements * in.element_bytes, values.end(), std::uint8_t{0});
    w.regs.set_vector(in.reg, values, std::max<unsigned>(kLeast, in.elements * in.element_bytes), true);
  }
  if (in.chosen == Chosen::by_sign) {
    w.regs.set_vector(in.mask, {}, kLeast, true);
  } else {
    w.regs.set_mask(in.mask, 0);
  }
  return w.done();
}

}  // namespace

std::uintptr_t effective_address(const Instruction& in, const Registers& regs) {
  const Address& a = in.address;
  std::uint64_t sum = static_cast<std::uint64_t>(std::int64_t{a.displacement});
  if (a.base == Address::kRip) {
    sum += regs.rip() + in.length;
  } else if (a.base != Address::kNone) {
    sum += regs.get(a.base, 8);
  }
  if (a.index != Address::kNone) sum += regs.get(a.index, 8) * a.scale;
  if (a.narrow) sum &= low_bits(4);
  if (a.fs || a.gs) sum += regs.segment_base(a.gs);
  return sum;
}

bool emulate(const Instruction& in, Registers& regs, Bus& bus) {
  const bool vector_addresses = in.operation == Operation::gather || in.operation == Operation::scatter;
  const Work w{in, regs, bus, vector_addresses ? 0 : effective_address(in, regs), in.mem_bytes};
  switch (in.operation) {
    case Operation::load:
    case Operation::store:
    case Operation::load_swapped:
    case Operation::store_swapped:
      return move(w);
    case Operation::add:
    case Operation::bit_or:
    case Operation::adc:
    case Operation::sbb:
    case Operation::bit_and:
    case Operation::sub:
    case Operation::bit_xor:
    case Operation::compare:
    case Operation::test:
      return arithmetic(w);
    case Operation::increment:
    case Operation::decrement:
    case Operation::negate:
    case Operation::invert:
      return unary(w);
    case Operation::exchange:
    case Operation::exchange_add:
    case Operation::compare_exchange:
      return exchange(w);
    case Operation::bit_test:
    case Operation::bit_set:
    case Operation::bit_reset:
    case Operation::bit_complement:
      return bit_operation(w);
    case Operation::push:
    case Operation::pop:
      return stack(w);
    case Operation::string_move:
    case Operation::string_store:
    case Operation::string_load:
      return string(w);
    case Operation::string_compare:
    case Operation::string_scan:
      return string_search(w);
    case Operation::set_if:
    case Operation::load_if:
      return conditional(w);
    case Operation::vector_load:
      return vector_load(w);
    case Operation::vector_store:
      return vector_store(w);
    case Operation::direct_store64:
      return direct_store(w);
    case Operation::gather:
    case Operation::scatter:
      return each_address(w);
    case Operation::native:
      return run_native(w);
    case Operation::nothing:
      return w.done();
  }
  return w.done();
}

}  // namespace softiommu::launch
