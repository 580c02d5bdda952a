// SPDX-License-Identifier: BSD-3-Clause
#include "launch/trap/instruction.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "launch/trap/native.h"

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
    {ZYDIS_MNEMONIC_CMPSB, Operation::string_compare},
    {ZYDIS_MNEMONIC_CMPSW, Operation::string_compare},
    {ZYDIS_MNEMONIC_CMPSQ, Operation::string_compare},
    {ZYDIS_MNEMONIC_SCASB, Operation::string_scan},
    {ZYDIS_MNEMONIC_SCASW, Operation::string_scan},
    {ZYDIS_MNEMONIC_SCASD, Operation::string_scan},
    {ZYDIS_MNEMONIC_SCASQ, Operation::string_scan},
    {ZYDIS_MNEMONIC_CLFLUSH, Operation::nothing},
    {ZYDIS_MNEMONIC_CLFLUSHOPT, Operation::nothing},
    {ZYDIS_MNEMONIC_CLWB, Operation::nothing},
    {ZYDIS_MNEMONIC_CLDEMOTE, Operation::nothing},
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
  const ZydisDecodedOperand* of_class(ZydisRegisterClass wanted) const {
    for (unsigned i = 0; i < instruction.operand_count_visible; ++i) {
      if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(operands[i].reg.value) == wanted) {
        return &operands[i];
      }
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
  if (d.of_class(ZYDIS_REGCLASS_SEGMENT) != nullptr) return false;
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
  if (d.instruction.mnemonic == ZYDIS_MNEMONIC_CMPSD) {  // a name that a vector instruction has, too
    out.operation = Operation::string_compare;
    return d.instruction.meta.category == ZYDIS_CATEGORY_STRINGOP;
  }
  const auto* row = std::ranges::find(kGeneral, d.instruction.mnemonic, &Row::mnemonic);
  if (row == std::end(kGeneral)) return false;
  out.operation = row->operation;
  return true;
}

// Gathers and scatters: addresses from a vector register, one for each element.
struct VsibRow {
  ZydisMnemonic mnemonic;
  std::uint8_t index_bytes, element_bytes;
};
constexpr VsibRow kVsib[] = {
    {ZYDIS_MNEMONIC_VPGATHERDD, 4, 4},  {ZYDIS_MNEMONIC_VPGATHERDQ, 4, 8},  {ZYDIS_MNEMONIC_VPGATHERQD, 8, 4},
    {ZYDIS_MNEMONIC_VPGATHERQQ, 8, 8},  {ZYDIS_MNEMONIC_VGATHERDPS, 4, 4},  {ZYDIS_MNEMONIC_VGATHERDPD, 4, 8},
    {ZYDIS_MNEMONIC_VGATHERQPS, 8, 4},  {ZYDIS_MNEMONIC_VGATHERQPD, 8, 8},  {ZYDIS_MNEMONIC_VPSCATTERDD, 4, 4},
    {ZYDIS_MNEMONIC_VPSCATTERDQ, 4, 8}, {ZYDIS_MNEMONIC_VPSCATTERQD, 8, 4}, {ZYDIS_MNEMONIC_VPSCATTERQQ, 8, 8},
    {ZYDIS_MNEMONIC_VSCATTERDPS, 4, 4}, {ZYDIS_MNEMONIC_VSCATTERDPD, 4, 8}, {ZYDIS_MNEMONIC_VSCATTERQPS, 8, 4},
    {ZYDIS_MNEMONIC_VSCATTERQPD, 8, 8},
};

bool take_vsib(const Decoded& d, const ZydisDecodedOperand& memory, Instruction& out) {
  const auto* row = std::ranges::find(kVsib, d.instruction.mnemonic, &VsibRow::mnemonic);
  if (row == std::end(kVsib)) return false;
  const auto bytes_of = [](ZydisRegister reg) { return ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, reg) / 8; };
  const bool masked = d.instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
  out.operation = &memory == &d.operands[0] ? Operation::scatter : Operation::gather;
  out.index_bytes = row->index_bytes;
  out.element_bytes = row->element_bytes;
  out.address.index = static_cast<std::uint8_t>(ZydisRegisterGetId(memory.mem.index));
  out.elements = static_cast<std::uint8_t>(std::min(bytes_of(memory.mem.index) / row->index_bytes,
                                                    bytes_of(d.other(&memory)->reg.value) / row->element_bytes));
  out.chosen = masked ? Chosen::by_mask : Chosen::by_sign;
  out.mask =
      static_cast<std::uint8_t>(ZydisRegisterGetId(masked ? d.instruction.avx.mask.reg : d.operands[2].reg.value));
  return true;
}

// ---- instructions that run on the processor

constexpr ZydisMnemonic kSignMasked[] = {ZYDIS_MNEMONIC_VMASKMOVPS, ZYDIS_MNEMONIC_VMASKMOVPD,
                                         ZYDIS_MNEMONIC_VPMASKMOVD, ZYDIS_MNEMONIC_VPMASKMOVQ,
                                         ZYDIS_MNEMONIC_MASKMOVDQU, ZYDIS_MNEMONIC_VMASKMOVDQU};
constexpr ZydisMnemonic kPacked[] = {ZYDIS_MNEMONIC_VPCOMPRESSB, ZYDIS_MNEMONIC_VPCOMPRESSW, ZYDIS_MNEMONIC_VPCOMPRESSD,
                                     ZYDIS_MNEMONIC_VPCOMPRESSQ, ZYDIS_MNEMONIC_VCOMPRESSPS, ZYDIS_MNEMONIC_VCOMPRESSPD,
                                     ZYDIS_MNEMONIC_VPEXPANDB,   ZYDIS_MNEMONIC_VPEXPANDW,   ZYDIS_MNEMONIC_VPEXPANDD,
                                     ZYDIS_MNEMONIC_VPEXPANDQ,   ZYDIS_MNEMONIC_VEXPANDPS,   ZYDIS_MNEMONIC_VEXPANDPD};

// General registers that the instruction names or implies, as a set; nullopt: one that a copy must not touch.
std::optional<std::uint32_t> registers_beside(const Decoded& d, const ZydisDecodedOperand& memory) {
  std::uint32_t set = 0;
  for (unsigned i = 0; i < d.instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = d.operands[i];
    if (&operand == &memory || operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) continue;
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) return std::nullopt;
    const ZydisRegister reg = operand.reg.value;
    const bool writes = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    switch (ZydisRegisterGetClass(reg)) {
      case ZYDIS_REGCLASS_GPR8:
      case ZYDIS_REGCLASS_GPR16:
      case ZYDIS_REGCLASS_GPR32:
      case ZYDIS_REGCLASS_GPR64:
        set |= 1u << general_number(reg);
        break;
      case ZYDIS_REGCLASS_SEGMENT:
        // FS and GS are the thread's own, SS comes back from the signal frame.
        if (writes && reg != ZYDIS_REGISTER_DS && reg != ZYDIS_REGISTER_ES) return std::nullopt;
        break;
      case ZYDIS_REGCLASS_IP:
      case ZYDIS_REGCLASS_CONTROL:
      case ZYDIS_REGCLASS_TMM:
        return std::nullopt;
      default:
        break;
    }
  }
  constexpr std::uint32_t kStackPointer = 1u << 4;
  return (set & kStackPointer) != 0 ? std::nullopt : std::optional(set);
}

bool addresses_memory(std::uint8_t prefix) {  // segments and the address size
  constexpr std::uint8_t kPrefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67};
  return std::ranges::find(kPrefixes, prefix) != std::end(kPrefixes);
}

// The instruction with (pointer) as its memory operand: no displacement, no index, no segment. Its extension bits for
// base and index become those of a low register (Intel SDM 2, 2.2.1.2, 2.3.5, 2.7.1).
std::uint16_t keep_copy(const Decoded& d, std::span<const std::uint8_t> code, unsigned pointer) {
  constexpr std::uint8_t kRexBaseIndex = 0x3, kVexBaseIndex = 0x60, kModRmReg = 0x38;
  const auto& raw = d.instruction.raw;
  std::array<std::uint8_t, ZYDIS_MAX_INSTRUCTION_LENGTH> copy;
  std::size_t size = 0;
  const std::size_t operand_end = raw.disp.size != 0 ? raw.disp.offset + raw.disp.size / 8u
                                                     : (raw.sib.offset != 0 ? raw.sib.offset : raw.modrm.offset) + 1u;
  for (std::size_t at = 0; at < d.instruction.length; ++at) {
    std::uint8_t byte = code[at];
    if (at < raw.prefix_count && addresses_memory(byte)) continue;
    if (at > raw.modrm.offset && at < operand_end) continue;
    if (at == raw.modrm.offset) byte = static_cast<std::uint8_t>((byte & kModRmReg) | pointer);
    switch (d.instruction.encoding) {
      case ZYDIS_INSTRUCTION_ENCODING_LEGACY:
        if (raw.rex.offset == at && (d.instruction.attributes & ZYDIS_ATTRIB_HAS_REX) != 0)
          byte &= static_cast<std::uint8_t>(~kRexBaseIndex);
        break;
      case ZYDIS_INSTRUCTION_ENCODING_VEX:
        if (raw.vex.size == 3 && at == raw.vex.offset + 1u) byte |= kVexBaseIndex;
        break;
      case ZYDIS_INSTRUCTION_ENCODING_EVEX:
        if (at == raw.evex.offset + 1u) byte |= kVexBaseIndex;
        break;
      default:
        return 0;
    }
    copy[size++] = byte;
  }
  return keep_code(std::span(copy).first(size));
}

void take_chosen(const Decoded& d, Instruction& out) {
  const bool masked =
      d.instruction.avx.mask.mode != ZYDIS_MASK_MODE_INVALID && d.instruction.avx.mask.mode != ZYDIS_MASK_MODE_DISABLED;
  if (among(d.instruction.mnemonic, kSignMasked)) {
    out.chosen = Chosen::by_sign;
    out.mask = static_cast<std::uint8_t>(ZydisRegisterGetId(d.operands[1].reg.value));
  } else if (masked) {
    out.mask = static_cast<std::uint8_t>(ZydisRegisterGetId(d.instruction.avx.mask.reg));
    // What is read by a mask of the result's elements is not read element by element, but for the packed ones.
    if (among(d.instruction.mnemonic, kPacked)) {
      out.chosen = Chosen::packed;
    } else if (out.writes) {
      out.chosen = Chosen::by_mask;
    }
  }
}

bool take_native(const Decoded& d, const ZydisDecodedOperand& memory, std::span<const std::uint8_t> code,
                 Instruction& out) {
  constexpr unsigned kCandidates[] = {0, 1, 2, 3, 6, 7};  // they need no displacement and no extension bit
  constexpr unsigned kDataIndex = 7;
  if (memory.mem.type != ZYDIS_MEMOP_TYPE_MEM || memory.size == 0 || memory.size > kOperandBytes * 8) return false;
  const auto used = registers_beside(d, memory);
  if (!used) return false;
  out.operation = Operation::native;
  out.reads = (memory.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
  out.writes = (memory.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
  out.element_bytes = static_cast<std::uint8_t>(memory.element_size / 8);
  take_chosen(d, out);
  if (memory.visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT) {
    const auto* pointer = std::ranges::find_if(kCandidates, [&](unsigned n) { return (*used >> n & 1) == 0; });
    if (pointer == std::end(kCandidates)) return false;
    out.pointer = static_cast<std::uint8_t>(*pointer);
    out.code = keep_copy(d, code, out.pointer);
  } else if (among(d.instruction.mnemonic, kSignMasked)) {  // MASKMOVDQU: always to (rdi)
    out.element_bytes = 1;
    out.pointer = kDataIndex;
    out.code = keep_code(code.first(d.instruction.length));
  }
  return out.code != 0;
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
  constexpr auto kRepeats = ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE;
  out.repeat = (d.instruction.attributes & kRepeats) != 0;
  out.repeat_unequal = (d.instruction.attributes & ZYDIS_ATTRIB_HAS_REPNE) != 0;
  out.may_be_missing =
      d.instruction.mnemonic == ZYDIS_MNEMONIC_MOVDIRI || d.instruction.mnemonic == ZYDIS_MNEMONIC_MOVDIR64B;
  take_address(d, *memory, out);
  if (const ZydisDecodedOperand* other = d.other(memory)) {
    if (other->type == ZYDIS_OPERAND_TYPE_REGISTER) take_register(*other, out);
    if (other->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) out.immediate = other->imm.value.s;
  }
  if (take_move(d, out) || take_vector(d, *memory, out) || take_general(d, out) || take_condition(d, out) ||
      take_vsib(d, *memory, out) || take_native(d, *memory, code, out)) {
    return out;
  }
  return std::nullopt;
}

const char* mnemonic(std::span<const std::uint8_t> code) {
  ZydisDecodedInstruction instruction;
  const bool known =
      ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder(), nullptr, code.data(), code.size(), &instruction));
  const char* name = known ? ZydisMnemonicGetString(instruction.mnemonic) : nullptr;
  return name != nullptr ? name : "?";
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
