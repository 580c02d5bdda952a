// SPDX-License-Identifier: BSD-3-Clause
// A VT-d unit driven by registers and memory alone. Offsets and bits are written out from the specification, not
// taken from hw/vtd.h, so that a wrong row there cannot hide.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "machine/unit_fixture.h"

namespace softiommu::test {

namespace reg {
inline constexpr std::uint64_t kVer = 0x00, kCap = 0x08, kEcap = 0x10, kGcmd = 0x18, kGsts = 0x1c, kRtaddr = 0x20,
                               kCcmd = 0x28, kFsts = 0x34, kFectl = 0x38, kFedata = 0x3c, kPmen = 0x64, kIqh = 0x80,
                               kIqt = 0x88, kIqa = 0x90, kIcs = 0x9c, kIectl = 0xa0, kIqercd = 0xb0, kIrta = 0xb8,
                               kFrcd = 0x400, kIva = 0x500, kIotlb = 0x508;
}  // namespace reg

namespace gcmd {
inline constexpr std::uint32_t kTranslate = 0x8000'0000, kSetRoot = 0x4000'0000, kFlushWrites = 0x0800'0000,
                               kQueue = 0x0400'0000;
}

// fault reasons
inline constexpr unsigned kRootAbsent = 1, kContextAbsent = 2, kContextInvalid = 3, kBeyondWidth = 4, kNoWrite = 5,
                          kNoRead = 6, kTableAccess = 7, kRootAccess = 8, kContextAccess = 9, kRootReserved = 0xa,
                          kContextReserved = 0xb, kTableReserved = 0xc, kBlocked = 0xd, kInterruptRange = 0xe,
                          kModeInvalid = 0x30;

inline constexpr std::uint64_t kReadable = 1, kWritable = 2, kBoth = 3, kLarge = 0x80, kSnoop = 0x800;
inline constexpr std::uint16_t kDevice = 0x0010;  // 00:02.0
inline constexpr std::uint64_t kNothingThere = 0x10'0000;

struct Fault {
  unsigned reason;
  std::uint16_t source;
  std::uint64_t page;
  bool read;
  friend bool operator==(const Fault&, const Fault&) = default;
  friend void PrintTo(const Fault& fault, std::ostream* out) {
    *out << "reason " << fault.reason << " source " << fault.source << " page " << fault.page << " read " << fault.read;
  }
};

class IntelVtdTest : public UnitTest {
 protected:
  IntelVtdTest() : UnitTest(intel_vtd_unit_model(), "dmar0") {}

  // ---- global commands
  void turn_on(std::uint32_t bit) { w32(reg::kGcmd, control_ |= bit); }
  void turn_off(std::uint32_t bit) { w32(reg::kGcmd, control_ &= ~bit); }

  // Root table with a context table for bus 0; translation on.
  void translate_on() {
    root_ = new_table();
    contexts_ = new_table();
    word(root_, 0) = contexts_ | 1;
    w64(reg::kRtaddr, root_);
    w32(reg::kGcmd, control_ | gcmd::kSetRoot);
    turn_on(gcmd::kTranslate);
  }

  // ---- tables
  void set_context(std::uint64_t low, std::uint64_t high, std::uint16_t source = kDevice) {
    word(contexts_, 2u * (source & 0xff) + 1) = high;
    word(contexts_, 2u * (source & 0xff)) = low;
  }
  void attach(std::uint64_t table, std::uint64_t domain, unsigned levels = 4, std::uint16_t source = kDevice) {
    set_context(table | 1, domain << 8 | (levels - 2), source);
  }
  // The entry for `iova` at `level`; tables above are made as needed.
  std::uint64_t& entry(std::uint64_t top, unsigned levels, std::uint64_t iova, unsigned level = 1) {
    return x86_entry(top, levels, iova, level, [](unsigned) { return kBoth; });
  }
  void map(std::uint64_t iova, std::uint64_t pa, std::uint64_t flags = kBoth) { entry(top_, 4, iova) = pa | flags; }
  void unmap(std::uint64_t iova) { entry(top_, 4, iova) = 0; }
  // The usual start: translation on, the device in domain 5 with an empty four-level table.
  void attach_empty_domain() {
    translate_on();
    top_ = new_table();
    attach(top_, 5);
  }

  // ---- DMA
  std::optional<Translation> dma(std::uint64_t iova, Access access = Access::read, std::uint16_t source = kDevice) {
    return unit_->translate({.stream = source, .iova = Iova{iova}, .access = access});
  }
  // Where a read of `iova` ends; nullopt: refused.
  std::optional<std::uint64_t> where(std::uint64_t iova, std::uint16_t source = kDevice) {
    return end_of(dma(iova, Access::read, source), iova);
  }

  // ---- faults
  bool recorded(unsigned index) { return (r64(reg::kFrcd + 16 * index + 8) >> 63) != 0; }
  Fault fault(unsigned index = 0) {
    const std::uint64_t low = r64(reg::kFrcd + 16 * index), high = r64(reg::kFrcd + 16 * index + 8);
    return {static_cast<unsigned>(high >> 32 & 0xff), static_cast<std::uint16_t>(high), low & ~std::uint64_t{0xfff},
            (high >> 62 & 1) != 0};
  }
  void clear_fault(unsigned index) { w32(reg::kFrcd + 16 * index + 12, 0x8000'0000); }
  unsigned reason_of_read(std::uint64_t iova, std::uint16_t source = kDevice) {
    EXPECT_FALSE(where(iova, source));
    for (unsigned index = 0; index < 8; ++index) {
      if (!recorded(index)) continue;
      clear_fault(index);
      return fault(index).reason;
    }
    return 0;
  }

  // ---- invalidation by registers
  std::uint64_t context_command(std::uint64_t granularity, std::uint64_t domain = 0, std::uint64_t source = 0,
                                std::uint64_t mask = 0) {
    w64(reg::kCcmd, std::uint64_t{1} << 63 | granularity << 61 | mask << 32 | source << 16 | domain);
    return r64(reg::kCcmd) >> 59 & 3;  // what was done
  }
  std::uint64_t iotlb_command(std::uint64_t granularity, std::uint64_t domain = 0, std::uint64_t address = 0) {
    w64(reg::kIva, address);
    w64(reg::kIotlb, std::uint64_t{1} << 63 | granularity << 60 | domain << 32);
    return r64(reg::kIotlb) >> 57 & 3;
  }

  // ---- invalidation by queue
  void queue_on(unsigned size_lg2 = 0) {
    queue_ = memory_->tables().allocate(1u << size_lg2)->value;
    w64(reg::kIqt, 0);
    w64(reg::kIqa, queue_ | size_lg2);
    turn_on(gcmd::kQueue);
  }
  void place(std::uint64_t index, std::uint64_t low, std::uint64_t high) {
    word(queue_, 2 * index) = low;
    word(queue_, 2 * index + 1) = high;
  }
  // Puts one descriptor at the tail and moves the tail over it.
  void submit(std::uint64_t low, std::uint64_t high = 0) {
    const std::uint64_t tail = r32(reg::kIqt);
    place(tail / 16, low, high);
    w32(reg::kIqt, static_cast<std::uint32_t>((tail + 16) % 4096));
  }
  std::uint64_t queue_error() { return r32(reg::kFsts) & 0x10 ? r64(reg::kIqercd) & 0xf : 0; }

  std::uint64_t root_ = 0, contexts_ = 0, top_ = 0, queue_ = 0;
};

}  // namespace softiommu::test
