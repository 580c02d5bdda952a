// SPDX-License-Identifier: BSD-3-Clause
#include "launch/trap/registers.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace softiommu::launch {
namespace {

constexpr int kGregs[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                            REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
constexpr unsigned kHighByteShift = 8;

// XSAVE state components (Intel SDM 1, 13.1) and the image's layout.
enum Component : unsigned { kX87 = 0, kSse = 1, kAvx = 2, kOpmask = 5, kZmmHigh256 = 6, kHigh16Zmm = 7 };
constexpr unsigned kLegacyXmm = 160, kHeader = 512;

struct Offsets {
  unsigned avx = 0, opmask = 0, zmm_high = 0, high16 = 0;
  unsigned size_avx = 0, size_zmm_high = 0, size_high16 = 0;
};

struct Slice {
  Component component;
  unsigned offset, component_offset, component_bytes, bytes;
};

const Offsets& offsets() {
  static const Offsets found = [] {
    Offsets o;
    unsigned a = 0, b = 0, c = 0, d = 0;
    const auto leaf = [&](unsigned component, unsigned& offset, unsigned& size) {
      if (__get_cpuid_count(0xd, component, &a, &b, &c, &d) != 0 && a != 0) offset = b, size = a;
    };
    unsigned unused = 0;
    leaf(kAvx, o.avx, o.size_avx);
    leaf(kOpmask, o.opmask, unused);
    leaf(kZmmHigh256, o.zmm_high, o.size_zmm_high);
    leaf(kHigh16Zmm, o.high16, o.size_high16);
    return o;
  }();
  return found;
}
// Found before the first fault, so that no handler runs the initialisation.
[[maybe_unused]] const Offsets& early = offsets();

std::uint8_t* image(const ucontext_t* context) { return reinterpret_cast<std::uint8_t*>(context->uc_mcontext.fpregs); }

bool extended(const std::uint8_t* area) {
  std::uint32_t magic;
  std::memcpy(&magic, area + Registers::kSoftwareBytes, sizeof magic);
  return magic == Registers::kExtendedMagic;
}

std::uint64_t in_use(const std::uint8_t* area) {
  std::uint64_t bits;
  std::memcpy(&bits, area + kHeader, sizeof bits);
  return bits;
}

// Where the parts of vector register `number` lie, lowest bytes first.
unsigned slices(unsigned number, Slice (&out)[3]) {
  const Offsets& o = offsets();
  if (number >= 16) {
    out[0] = {kHigh16Zmm, o.high16 + (number - 16) * 64, o.high16, o.size_high16, 64};
    return 1;
  }
  out[0] = {kSse, kLegacyXmm + number * 16, kLegacyXmm, 256, 16};
  out[1] = {kAvx, o.avx + number * 16, o.avx, o.size_avx, 16};
  out[2] = {kZmmHigh256, o.zmm_high + number * 32, o.zmm_high, o.size_zmm_high, 32};
  return o.zmm_high != 0 ? 3 : o.avx != 0 ? 2 : 1;
}

}  // namespace

std::uint64_t Registers::get(unsigned number, unsigned bytes, bool high) const {
  const auto whole = static_cast<std::uint64_t>(context_->uc_mcontext.gregs[kGregs[number]]);
  return (high ? whole >> kHighByteShift : whole) & low_bits(bytes);
}

void Registers::set(unsigned number, unsigned bytes, std::uint64_t value, bool high) {
  greg_t& place = context_->uc_mcontext.gregs[kGregs[number]];
  const auto whole = static_cast<std::uint64_t>(place);
  const std::uint64_t field = (bytes == 4 ? ~0ull : low_bits(bytes)) << (high ? kHighByteShift : 0);
  const std::uint64_t shifted = (value & low_bits(bytes)) << (high ? kHighByteShift : 0);
  place = static_cast<greg_t>((whole & ~field) | shifted);
}

Registers::Vector Registers::vector(unsigned number) const {
  Vector value{};
  const std::uint8_t* area = image(context_);
  Slice parts[3];
  const unsigned count = extended(area) ? slices(number, parts) : slices(number & 15, parts) > 0 ? 1 : 0;
  unsigned at = 0;
  for (unsigned i = 0; i < count; at += parts[i].bytes, ++i) {
    const bool live = !extended(area) || (in_use(area) >> parts[i].component & 1) != 0;
    if (live) std::memcpy(value.data() + at, area + parts[i].offset, parts[i].bytes);
  }
  return value;
}

void Registers::set_vector(unsigned number, const Vector& value, unsigned bytes, bool zero_rest) {
  Vector whole = zero_rest ? Vector{} : vector(number);
  std::copy_n(value.begin(), bytes, whole.begin());
  std::uint8_t* area = image(context_);
  Slice parts[3];
  const unsigned count = extended(area) ? slices(number, parts) : slices(number & 15, parts) > 0 ? 1 : 0;
  unsigned at = 0;
  for (unsigned i = 0; i < count; at += parts[i].bytes, ++i) {
    const auto* from = whole.data() + at;
    if (extended(area)) {
      const bool live = (in_use(area) >> parts[i].component & 1) != 0;
      if (!live && std::all_of(from, from + parts[i].bytes, [](std::uint8_t b) { return b == 0; })) continue;
      if (!live) std::memset(area + parts[i].component_offset, 0, parts[i].component_bytes);
      const std::uint64_t bits = in_use(area) | 1ull << parts[i].component;
      std::memcpy(area + kHeader, &bits, sizeof bits);
    }
    std::memcpy(area + parts[i].offset, from, parts[i].bytes);
  }
}

std::uint64_t Registers::mask(unsigned number) const {
  const std::uint8_t* area = image(context_);
  if (number == 0) return ~0ull;  // k0 as a write mask means no mask
  if (!extended(area) || offsets().opmask == 0 || (in_use(area) >> kOpmask & 1) == 0) return 0;
  std::uint64_t value;
  std::memcpy(&value, area + offsets().opmask + number * 8, sizeof value);
  return value;
}

void Registers::set_mask(unsigned number, std::uint64_t value) {
  std::uint8_t* area = image(context_);
  if (!extended(area) || offsets().opmask == 0) return;
  constexpr unsigned kMasks = 8;
  if ((in_use(area) >> kOpmask & 1) == 0) std::memset(area + offsets().opmask, 0, kMasks * sizeof value);
  const std::uint64_t bits = in_use(area) | 1ull << kOpmask;
  std::memcpy(area + kHeader, &bits, sizeof bits);
  std::memcpy(area + offsets().opmask + number * 8, &value, sizeof value);
}

Registers::Saved Registers::saved() const {
  std::uint8_t* area = image(context_);
  if (!extended(area)) return {area, 0};
  constexpr std::uint64_t kOurs =
      1ull << kX87 | 1ull << kSse | 1ull << kAvx | 1ull << kOpmask | 1ull << kZmmHigh256 | 1ull << kHigh16Zmm;
  std::uint64_t components;
  std::memcpy(&components, area + kSoftwareBytes + kComponents, sizeof components);
  return {area, components & kOurs};
}

std::uint64_t Registers::segment_base(bool gs) const {
  if (bases_ != nullptr) return gs ? bases_->gs : bases_->fs;
  std::uint64_t base = 0;
  ::syscall(SYS_arch_prctl, gs ? ARCH_GET_GS : ARCH_GET_FS, &base);
  return base;
}

}  // namespace softiommu::launch
