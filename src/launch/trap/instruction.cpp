// SPDX-License-Identifier: BSD-3-Clause
#include "launch/trap/instruction.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

namespace softiommu::launch {
namespace {

struct Row {
  ZydisMnemonic mnemonic;
  Operation operation;
};

// Instructions with one memory operand and a general register, an immediate or nothing beside it.
constexpr Row kGeneral[] = {
    {ZYDIS_MNEMONIC_ADD, Operation::add},
    {ZYDIS_MNEMONIC_OR, Operation::bit_or},
    {ZYDIS_MNEMONIC_ADC, Operation::adc},
    {ZYDIS_MNEMONIC_SBB, Operation::sbb},
    {ZYDIS_MNEMONIC_AND, Operation::bit_and},
    {ZYDIS_MNEMONIC_SUB, Operation::sub},
    {ZYDIS_MNEMONIC_XOR, Operation::bit_xor},
    {ZYDIS_MNEMONIC_CMP, Operation::compare},
    {ZYDIS_MNEMONIC_TEST, Operation::test},
    {ZYDIS_MNEMONIC_INC, Operation::increment},
    {ZYDIS_MNEMONIC_DEC, Operation::decrement},
    {ZYDIS_MNEMONIC_NEG, Operation::negate},
    {ZYDIS_MNEMONIC_NOT, Operation::invert},
    {ZYDIS_MNEMONIC_XCHG, Operation::exchange},
    {ZYDIS_MNEMONIC_XADD, Operation::exchange_add},
    {ZYDIS_MNEMONIC_CMPXCHG, Operation::compare_exchange},
    {ZYDIS_MNEMONIC_BT, Operation::bit_test},
    {ZYDIS_MNEMONIC_BTS, Operation::bit_set},
    {ZYDIS_MNEMONIC_BTR, Operation::bit_reset},
    {ZYDIS_MNEMONIC_BTC, Operation::bit_complement},
    {ZYDIS_MNEMONIC_PUSH, Operation::push},
    {ZYDIS_MNEMONIC_POP, Operation::pop},
    {ZYDIS_MNEMONIC_MOVSB, Operation::string_move},
    {ZYDIS_MNEMONIC_MOVSW, Operation::string_move},
    {ZYDIS_MNEMONIC_MOVSQ, Operation::string_move},
    {ZYDIS_MNEMONIC_STOSB, Operation::string_store},
    {ZYDIS_MNEMONIC_STOSW, Operation::string_store},
    {ZYDIS_MNEMONIC_STOSD, Operation::string_store},
    {ZYDIS_MNEMONIC_STOSQ, Operation::string_store},
    {ZYDIS_MNEMONIC_LODSB, Operation::string_load},
    {ZYDIS_MNEMONIC_LODSW, Operation::string_load},
    {ZYDIS_MNEMONIC_LODSD, Operation::string_load},
    {ZYDIS_MNEMONIC_LODSQ, Operation::string_load},
    {ZYDIS_MNEMONIC_CLFLUSH, Operation::nothing},
    {ZYDIS_MNEMONIC_CLFLUSHOPT, Operation::nothing},
    {ZYDIS_MNEMONIC_CLWB, Operation::nothing},
    {ZYDIS_MNEMONIC_MOVDIR64B, Operation::direct_store64},
};

constexpr ZydisMnemonic kMoves[] = {ZYDIS_MNEMONIC_MOV,    ZYDIS_MNEMONIC_MOVZX,  ZYDIS_MNEMONIC_MOVSX,
                                    ZYDIS_MNEMONIC_MOVSXD, ZYDIS_MNEMONIC_MOVNTI, ZYDIS_MNEMONIC_MOVDIRI,
                                    ZYDIS_MNEMONIC_MOVBE};

// Vector moves between a register's low bytes and memory; the operand's size says how many.
constexpr ZydisMnemonic kVectorMoves[] = {
    ZYDIS_MNEMONIC_MOVAPS,    ZYDIS_MNEMONIC_MOVAPD,    ZYDIS_MNEMONIC_MOVUPS,   ZYDIS_MNEMONIC_MOVUPD,
    ZYDIS_MNEMONIC_MOVDQA,    ZYDIS_MNEMONIC_MOVDQU,    ZYDIS_MNEMONIC_LDDQU,    ZYDIS_MNEMONIC_MOVNTDQ,
    ZYDIS_MNEMONIC_MOVNTDQA,  ZYDIS_MNEMONIC_MOVNTPS,   ZYDIS_MNEMONIC_MOVNTPD,  ZYDIS_MNEMONIC_MOVD,
    ZYDIS_MNEMONIC_MOVQ,      ZYDIS_MNEMONIC_MOVSS,     ZYDIS_MNEMONIC_VMOVAPS,  ZYDIS_MNEMONIC_VMOVAPD,
    ZYDIS_MNEMONIC_VMOVUPS,   ZYDIS_MNEMONIC_VMOVUPD,   ZYDIS_MNEMONIC_VMOVDQA,  ZYDIS_MNEMONIC_VMOVDQU,
    ZYDIS_MNEMONIC_VMOVDQA32, ZYDIS_MNEMONIC_VMOVDQA64, ZYDIS_MNEMONIC_VMOVDQU8, ZYDIS_MNEMONIC_VMOVDQU16,
    ZYDIS_MNEMONIC_VMOVDQU32, ZYDIS_MNEMONIC_VMOVDQU64, ZYDIS_MNEMONIC_VLDDQU,   ZYDIS_MNEMONIC_VMOVNTDQ,
    ZYDIS_MNEMONIC_VMOVNTDQA, ZYDIS_MNEMONIC_VMOVNTPS,  ZYDIS_MNEMONIC_VMOVNTPD, ZYDIS_MNEMONIC_VMOVD,
    ZYDIS_MNEMONIC_VMOVQ,     ZYDIS_MNEMONIC_VMOVSS,    ZYDIS_MNEMONIC_VMOVSD,   ZYDIS_MNEMONIC_MOVLPS,
    ZYDIS_MNEMONIC_MOVLPD,    ZYDIS_MNEMONIC_MOVHPS,    ZYDIS_MNEMONIC_MOVHPD,
};
// Legacy loads that leave the register's other half alone, and those that use the upper half.
constexpr ZydisMnemonic kHalves[] = {ZYDIS_MNEMONIC_MOVLPS, ZYDIS_MNEMONIC_MOVLPD, ZYDIS_MNEMONIC_MOVHPS,
                                     ZYDIS_MNEMONIC_MOVHPD};
constexpr ZydisMnemonic kUpperHalves[] = {ZYDIS_MNEMONIC_MOVHPS, ZYDIS_MNEMONIC_MOVHPD};

bool among(ZydisMnemonic mnemonic, std::span<const ZydisMnemonic> list) {
  return std::ranges::find(list, mnemonic) != list.end();
}

struct Decoded {
  ZydisDecodedInstruction instruction;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

  const ZydisDecodedOperand* memory() const {
    for (unsigned i = 0; i < instruction.operand_count; ++i) {
      if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) return &operands[i];
    }
    return nullptr;
  }
  // The other visible operand.
  const ZydisDecodedOperand* other(const ZydisDecodedOperand* memory) const {
    for (unsigned i = 0; i < instruction.operand_count_visible; ++i) {
      const bool opmask = operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                          ZydisRegisterGetClass(operands[i].reg.value) == ZYDIS_REGCLASS_MASK;
      if (&operands[i] != memory && !opmask) return &operands[i];
    }
    return nullptr;
  }
};

const ZydisDecoder& decoder() {
  static const ZydisDecoder made = [] {
    ZydisDecoder d;
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return d;
  }();
  return made;
}
[[maybe_unused]] const ZydisDecoder& early = decoder();

std::uint8_t general_number(ZydisRegister reg) {
  if (reg == ZYDIS_REGISTER_NONE) return Address::kNone;
  if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP) return Address::kRip;
  const auto whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
  return static_cast<std::uint8_t>(ZydisRegisterGetId(whole));
}

bool is_high_byte(ZydisRegister reg) { return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH; }

void take_register(const ZydisDecodedOperand& operand, Instruction& out) {
  out.has_reg = true;
  out.reg_bytes = static_cast<std::uint8_t>(operand.size / 8);
  out.reg_high = is_high_byte(operand.reg.value);
  switch (ZydisRegisterGetClass(operand.reg.value)) {
    case ZYDIS_REGCLASS_XMM:
    case ZYDIS_REGCLASS_YMM:
    case ZYDIS_REGCLASS_ZMM:
      out.reg = static_cast<std::uint8_t>(ZydisRegisterGetId(operand.reg.value));
      break;
    default:
      out.reg = general_number(operand.reg.value);
  }
}

void take_address(const Decoded& d, const ZydisDecodedOperand& operand, Instruction& out) {
  const auto& mem = operand.mem;
  out.address.base = general_number(mem.base);
  out.address.index = general_number(mem.index);
  out.address.scale = mem.scale == 0 ? std::uint8_t{1} : mem.scale;
  out.address.displacement = static_cast<std::int32_t>(mem.disp.value);
  out.address.fs = mem.segment == ZYDIS_REGISTER_FS;
  out.address.gs = mem.segment == ZYDIS_REGISTER_GS;
  out.address.narrow = d.instruction.address_width == 32;
  out.mem_bytes = static_cast<std::uint8_t>(operand.size / 8);
}

// SETcc and CMOVcc: their opcodes 0F 90.. and 0F 40.. carry the condition.
bool take_condition(const Decoded& d, Instruction& out) {
  constexpr std::uint8_t kSet = 0x90, kMoveIf = 0x40, kCondition = 0x0f;
  if (d.instruction.opcode_map != ZYDIS_OPCODE_MAP_0F) return false;
  const std::uint8_t row = d.instruction.opcode & static_cast<std::uint8_t>(~kCondition);
  if (row != kSet && row != kMoveIf) return false;
  if (d.instruction.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) return false;
  out.operation = row == kSet ? Operation::set_if : Operation::load_if;
  out.condition = d.instruction.opcode & kCondition;
  return true;
}

bool take_move(const Decoded& d, Instruction& out) {
  if (!among(d.instruction.mnemonic, kMoves)) return false;
  const bool swapped = d.instruction.mnemonic == ZYDIS_MNEMONIC_MOVBE;
  out.sign_extend = d.instruction.mnemonic == ZYDIS_MNEMONIC_MOVSX || d.instruction.mnemonic == ZYDIS_MNEMONIC_MOVSXD;
  if (out.mem_is_destination) {
    out.operation = swapped ? Operation::store_swapped : Operation::store;
  } else {
    out.operation = swapped ? Operation::load_swapped : Operation::load;
  }
  return true;
}

bool take_vector(const Decoded& d, const ZydisDecodedOperand& memory, Instruction& out) {
  // The string MOVSD and the vector MOVSD share a name; only the latter has an XMM operand.
  const bool scalar_double = d.instruction.mnemonic == ZYDIS_MNEMONIC_MOVSD && out.has_reg &&
                             d.instruction.meta.category != ZYDIS_CATEGORY_STRINGOP;
  if (!scalar_double && !among(d.instruction.mnemonic, kVectorMoves)) return false;
  const auto reg_class = ZydisRegisterGetClass(d.other(&memory)->reg.value);
  if (reg_class != ZYDIS_REGCLASS_XMM && reg_class != ZYDIS_REGCLASS_YMM && reg_class != ZYDIS_REGCLASS_ZMM)
    return false;
  out.operation = out.mem_is_destination ? Operation::vector_store : Operation::vector_load;
  out.vector_offset = among(d.instruction.mnemonic, kUpperHalves) ? 8 : 0;
  out.zero_rest = d.instruction.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY;
  // A scalar load clears the rest of the 16 bytes; MOVLPS and its kin do not.
  out.reg_bytes = among(d.instruction.mnemonic, kHalves) ? out.mem_bytes : std::max<std::uint8_t>(out.mem_bytes, 16);
  out.element_bytes = static_cast<std::uint8_t>(memory.element_size / 8);
  if (d.instruction.avx.mask.mode != ZYDIS_MASK_MODE_INVALID &&
      d.instruction.avx.mask.mode != ZYDIS_MASK_MODE_DISABLED) {
    out.mask = static_cast<std::uint8_t>(ZydisRegisterGetId(d.instruction.avx.mask.reg));
    out.mask_zeroes = d.instruction.avx.mask.mode == ZYDIS_MASK_MODE_ZEROING;
  }
  return true;
}

bool take_general(const Decoded& d, Instruction& out) {
  if (d.instruction.mnemonic == ZYDIS_MNEMONIC_MOVSD) {
    out.operation = Operation::string_move;
    return true;
  }
  const auto* row = std::ranges::find(kGeneral, d.instruction.mnemonic, &Row::mnemonic);
  if (row == std::end(kGeneral)) return false;
  out.operation = row->operation;
  return true;
}

// The cache: a slot's words are valid when its sequence number is even and did not change while they were read.
constexpr std::size_t kCodeBytes = 16;
struct Entry {
  std::uint64_t rip;
  std::array<std::uint8_t, kCodeBytes> code;
  Instruction instruction;
};
constexpr std::size_t kWords = (sizeof(Entry) + 7) / 8, kSlots = 1024;
struct Slot {
  std::atomic<std::uint32_t> sequence{0};
  std::array<std::atomic<std::uint64_t>, kWords> words{};
};
std::array<Slot, kSlots> cache;
static_assert(std::is_trivially_copyable_v<Entry>);

Slot& slot_of(std::uint64_t rip) { return cache[(rip ^ rip >> 10) % kSlots]; }

bool look_up(Slot& slot, Entry& out) {
  const std::uint32_t before = slot.sequence.load(std::memory_order_acquire);
  if (before % 2 != 0) return false;
  std::uint64_t words[kWords];
  for (std::size_t i = 0; i < kWords; ++i) words[i] = slot.words[i].load(std::memory_order_acquire);
  std::memcpy(static_cast<void*>(&out), words, sizeof out);
  return slot.sequence.load(std::memory_order_acquire) == before;
}

void remember(Slot& slot, const Entry& entry) {
  std::uint32_t before = slot.sequence.load(std::memory_order_relaxed);
  if (before % 2 != 0 || !slot.sequence.compare_exchange_strong(before, before + 1, std::memory_order_acq_rel)) return;
  std::uint64_t words[kWords] = {};
  std::memcpy(words, &entry, sizeof entry);
  for (std::size_t i = 0; i < kWords; ++i) slot.words[i].store(words[i], std::memory_order_release);
  slot.sequence.store(before + 2, std::memory_order_release);
}

}  // namespace

std::optional<Instruction> decode(std::span<const std::uint8_t> code) {
  Decoded d;
  if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder(), code.data(), code.size(), &d.instruction, d.operands))) {
    return std::nullopt;
  }
  const ZydisDecodedOperand* memory = d.memory();
  if (memory == nullptr) return std::nullopt;
  Instruction out;
  out.length = d.instruction.length;
  // CMP and TEST write nothing: there the first operand stands in the destination's place.
  const bool first = memory == &d.operands[0] && d.instruction.operand_count_visible > 1;
  const bool writes = (memory->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
  out.mem_is_destination = writes || (first && d.instruction.mnemonic != ZYDIS_MNEMONIC_MOVDIR64B);
  out.repeat = (d.instruction.attributes & ZYDIS_ATTRIB_HAS_REP) != 0;
  take_address(d, *memory, out);
  if (const ZydisDecodedOperand* other = d.other(memory)) {
    if (other->type == ZYDIS_OPERAND_TYPE_REGISTER) take_register(*other, out);
    if (other->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) out.immediate = other->imm.value.s;
  }
  if (take_move(d, out) || take_vector(d, *memory, out) || take_general(d, out) || take_condition(d, out)) return out;
  return std::nullopt;
}

std::optional<Instruction> decode_cached(std::uint64_t rip, std::span<const std::uint8_t> code) {
  Slot& slot = slot_of(rip);
  Entry entry;
  std::array<std::uint8_t, kCodeBytes> wanted{};
  std::copy_n(code.begin(), std::min(code.size(), kCodeBytes), wanted.begin());
  if (look_up(slot, entry) && entry.rip == rip && entry.instruction.length != 0 &&
      std::equal(wanted.begin(), wanted.begin() + entry.instruction.length, entry.code.begin())) {
    return entry.instruction;
  }
  const auto decoded = decode(code);
  if (decoded) remember(slot, {rip, wanted, *decoded});
  return decoded;
}

}  // namespace softiommu::launch
