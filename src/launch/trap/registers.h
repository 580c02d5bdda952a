// SPDX-License-Identifier: BSD-3-Clause
// The interrupted thread's registers, as the emulation reads and writes them (x86-64).
//
// General registers lie in the signal frame by name, vector and mask registers in its XSAVE image (Intel SDM 1,
// 13.4: standard format). A component whose bit in XSTATE_BV is clear is in its initial state: all zero.
#pragma once

#include <ucontext.h>

#include <array>
#include <cstdint>

namespace softiommu::launch {

// Of a value that has so many bytes.
constexpr std::uint64_t low_bits(unsigned bytes) { return bytes >= 8 ? ~0ull : (1ull << (bytes * 8)) - 1; }

class Registers {
 public:
  static constexpr unsigned kRsp = 4, kRcx = 1, kRax = 0, kRsi = 6, kRdi = 7;
  static constexpr unsigned kMaxVectorBytes = 64;
  // A signal frame says by this magic at this place that more than SSE follows, and behind it which components (Linux:
  // struct _fpx_sw_bytes).
  static constexpr unsigned kSoftwareBytes = 464, kComponents = 8;
  static constexpr std::uint32_t kExtendedMagic = 0x46505853;
  using Vector = std::array<std::uint8_t, kMaxVectorBytes>;

  explicit Registers(ucontext_t* context) : context_(context) {}
  // Of a thread of another process, whose segment bases are these.
  struct SegmentBases {
    std::uint64_t fs, gs;
  };
  Registers(ucontext_t* context, const SegmentBases& bases) : context_(context), bases_(&bases) {}

  // By hardware number 0..15. `high`: AH, CH, DH or BH, as number 0..3.
  std::uint64_t get(unsigned number, unsigned bytes, bool high = false) const;
  // 4 bytes clear the upper half, 1 and 2 leave the rest as it is.
  void set(unsigned number, unsigned bytes, std::uint64_t value, bool high = false);
  std::uint64_t rip() const { return static_cast<std::uint64_t>(context_->uc_mcontext.gregs[REG_RIP]); }
  void set_rip(std::uint64_t rip) { context_->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(rip); }
  std::uint64_t flags() const { return static_cast<std::uint64_t>(context_->uc_mcontext.gregs[REG_EFL]); }
  void set_flags(std::uint64_t flags) { context_->uc_mcontext.gregs[REG_EFL] = static_cast<greg_t>(flags); }

  Vector vector(unsigned number) const;
  // `bytes` of `value`; the rest of the register stays, or becomes zero (VEX and EVEX forms).
  void set_vector(unsigned number, const Vector& value, unsigned bytes, bool zero_rest);
  // Opmask registers of AVX-512, k0 to k7.
  std::uint64_t mask(unsigned number) const;
  void set_mask(unsigned number, std::uint64_t value);
  // The whole x87 and vector state, for XRSTOR and XSAVE of `components`; none: for FXRSTOR and FXSAVE.
  struct Saved {
    void* image;
    std::uint64_t components;
  };
  Saved saved() const;

  std::uint64_t segment_base(bool gs) const;

 private:
  ucontext_t* context_;
  const SegmentBases* bases_ = nullptr;  // nullptr: this thread's
};

}  // namespace softiommu::launch
