// SPDX-License-Identifier: BSD-3-Clause
// One memory instruction, decoded to what the emulation needs, and a cache of them by address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace softiommu::launch {

constexpr std::size_t kLongestInstruction = 15;  // bytes (Intel SDM 2, 2.3.11)

enum class Operation : std::uint8_t {
  load,   // reg <- memory, zero- or sign-extended
  store,  // memory <- reg or immediate
  load_swapped,
  store_swapped,  // MOVBE
  add,
  bit_or,
  adc,
  sbb,
  bit_and,
  sub,
  bit_xor,
  compare,
  test,
  increment,
  decrement,
  negate,
  invert,
  exchange,
  exchange_add,
  compare_exchange,
  bit_test,
  bit_set,
  bit_reset,
  bit_complement,
  push,
  pop,
  string_move,
  string_store,
  string_load,
  string_compare,
  string_scan,
  set_if,
  load_if,
  vector_load,
  vector_store,    // mem_bytes at vector_offset of the register
  direct_store64,  // MOVDIR64B
  gather,
  scatter,
  native,   // a copy that runs on the processor (native.h)
  nothing,  // cache-line hints: no access to a device's registers
};

// Which elements of memory an instruction reads or writes.
enum class Chosen : std::uint8_t {
  all,
  by_mask,  // each by its bit of the opmask register
  by_sign,  // each by the sign bit of the same element of a vector register
  packed,   // the first ones, as many as the opmask register has bits
};

struct Address {
  static constexpr std::uint8_t kNone = 0xff, kRip = 0xfe;
  std::uint8_t base = kNone, index = kNone, scale = 1;
  bool fs = false, gs = false, narrow = false;  // narrow: 32-bit address size
  std::int32_t displacement = 0;
};

struct Instruction {
  Operation operation = Operation::nothing;
  std::uint8_t length = 0;
  std::uint8_t mem_bytes = 0;  // of one access (of the whole vector)
  std::uint8_t reg_bytes = 0;
  std::uint8_t reg = 0;  // general or vector register
  bool reg_high = false;
  bool has_reg = false;  // else the immediate is the operand
  bool mem_is_destination = false;
  bool sign_extend = false;
  bool repeat = false;
  bool repeat_unequal = false;  // REPNE: until two are equal
  bool may_be_missing = false;  // a processor without it raises SIGILL: MOVDIRI, MOVDIR64B
  bool zero_rest = false;       // VEX or EVEX vector load
  std::uint8_t condition = 0;   // of set_if and load_if: the opcode's low four bits
  std::uint8_t vector_offset = 0;
  std::uint8_t mask = 0;  // opmask register, 0: none; with Chosen::by_sign a vector register
  bool mask_zeroes = false;
  std::uint8_t element_bytes = 0;
  Chosen chosen = Chosen::all;                 // of native, gather and scatter
  bool reads = false, writes = false;          // native: the memory operand
  std::uint8_t pointer = 0;                    // native: the register that stands for it
  std::uint16_t code = 0;                      // native: keep_code()
  std::uint8_t index_bytes = 0, elements = 0;  // gather and scatter
  Address address;
  std::int64_t immediate = 0;
};

// nullopt: not an instruction that can be done on device registers.
std::optional<Instruction> decode(std::span<const std::uint8_t> code);
// Its name, for a report; "?" if it is none.
const char* mnemonic(std::span<const std::uint8_t> code);
// Decoded before, at this address and with the same bytes? For fault handlers: lock-free, allocates nothing.
std::optional<Instruction> decode_cached(std::uint64_t rip, std::span<const std::uint8_t> code);

}  // namespace softiommu::launch
