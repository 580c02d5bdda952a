// SPDX-License-Identifier: BSD-3-Clause
// RISC-V tables Sv39, Sv48 and Sv57 (privileged architecture 12.4 to 12.6) as the RISC-V IOMMU's first stage walks
// them, with 64 KiB pages (Svnapot) and memory types (Svpbmt).
//
// Addresses are sign-extended; the engine serves the lower half only (38, 47 or 56 bits). Writing without reading is
// reserved and refused. There is no snooping control in an entry, so Prot.coherent is refused.
//
// Words against Linux's (generic_pt riscv64): equal for the same rights, where Linux clears X only if asked to
// (NOEXEC), and with IOMMU_CACHE as the platform's memory type. Linux widens write-only to read-write, and accepts
// execute-only for a device; both are refused here.
#pragma once

#include "hw/riscv_paging.h"
#include "pt/format.h"

namespace softiommu::pt {

namespace riscv {
inline constexpr std::uint64_t kLarge = 2 * kMiB | 1 * kGiB | 512 * kGiB | 256 * 1024 * kGiB;
inline constexpr std::uint64_t kNapot = 64 * kKiB;
}  // namespace riscv

enum class RiscvMemoryType : std::uint8_t { platform = 0, non_cacheable = 1, io = 2 };  // Svpbmt

struct RiscvConfig {
  unsigned top_level = 3;  // 2, 3, 4: Sv39, Sv48, Sv57
  // What the levels reach is used; kNapot only if the hardware has Svnapot.
  std::uint64_t page_sizes = 4 * kKiB | riscv::kLarge;
  // Leave D to the hardware (AMO updates). Otherwise writable leaves are born dirty.
  bool dirty_tracking = false;
  RiscvMemoryType memory_type = RiscvMemoryType::platform;  // others only with Svpbmt
  unsigned input_bits = 0;                                  // 0: the whole lower half
  unsigned output_bits = 56;
};

struct Riscv {
  static constexpr std::string_view kName = "riscv";
  static constexpr unsigned kPageShift = 12;
  static constexpr std::array kIndexBits{9u, 9u, 9u, 9u, 9u};
  static constexpr bool kRepeats = true;

  using Entry = std::uint64_t;
  using Config = RiscvConfig;

  static constexpr Result<Shape> shape(const Config& config) {
    if (config.top_level < 2 || config.top_level > 4) return fail(EINVAL, "the tables are Sv39, Sv48 or Sv57");
    const unsigned reach = span_lg2<Riscv>(config.top_level) + kIndexBits[config.top_level] - 1;
    if (config.input_bits > reach) return fail(EINVAL, "the lower half does not reach that many input bits");
    constexpr std::uint64_t kSizes = 4 * kKiB | riscv::kNapot | riscv::kLarge;
    if ((config.page_sizes & ~kSizes) != 0 || (config.page_sizes & kPageSize) == 0)
      return fail(EINVAL, "RISC-V pages are 4K, and perhaps 64K, 2M, 1G, 512G, 256T");
    if (config.output_bits > kMostOutput) return fail(EINVAL, "RISC-V entries hold 56 address bits");
    const unsigned largest = reach < config.output_bits ? reach : config.output_bits;
    const DirtyRule dirty{kDirty.mask(), kDirty.mask(), kDirty.mask()};
    return Shape{.top_level = config.top_level,
                 .input_bits = config.input_bits == 0 ? reach : config.input_bits,
                 .output_bits = config.output_bits,
                 .table_bits = kMostOutput,
                 .page_sizes = config.page_sizes & ((std::uint64_t{1} << largest) - 1),
                 .dirty = config.dirty_tracking ? dirty : DirtyRule{}};
  }

  static constexpr Result<std::uint64_t> attributes(const Config& config, Prot prot) {
    if (!prot.read) return fail(EINVAL, "a mapping must allow reading: write-only entries are reserved");
    if (prot.coherent) return fail(EINVAL, "RISC-V entries cannot force snooping");
    return kValid.put(1) | kRead.put(1) | kWrite.put(prot.write) | kExecute.put(prot.execute) | kUser.put(1) |
           kAccessed.put(1) | kDirty.put(prot.write && !config.dirty_tracking) |
           kMemoryType.put(static_cast<std::uint64_t>(config.memory_type));
  }

  static constexpr Entry leaf(std::uint64_t attributes, PhysAddr pa, unsigned level, unsigned lg2) {
    const Entry entry = attributes | kPage.put((pa.value >> lg2) << (lg2 - kPageShift));
    return lg2 == span_lg2<Riscv>(level) ? entry : entry | kNapot.put(1) | kPage.put(hw::riscv_paging::kNapot64K);
  }
  static constexpr Entry table(PhysAddr pa, unsigned /*level*/) {
    return kValid.put(1) | kPage.put(pa.value >> kPageShift);
  }
  static constexpr bool is_table(Entry entry, unsigned level) {
    return level > 0 && !kRead.is_set(entry) && !kWrite.is_set(entry) && !kExecute.is_set(entry);
  }
  static constexpr PhysAddr table_address(Entry entry, unsigned /*level*/) {
    return PhysAddr{kPage.get(entry) << kPageShift};
  }
  static constexpr PhysAddr page_address(Entry entry, unsigned level) {
    const unsigned lg2 = page_lg2(entry, level);
    return PhysAddr{kPage.get(entry) << kPageShift >> lg2 << lg2};
  }
  static constexpr unsigned page_lg2(Entry entry, unsigned level) {
    return kNapot.is_set(entry) ? kNapotLg2 : span_lg2<Riscv>(level);
  }
  static constexpr Prot prot(const Config& /*config*/, Entry entry, unsigned /*level*/) {
    return {.read = kRead.is_set(entry), .write = kWrite.is_set(entry), .execute = kExecute.is_set(entry)};
  }

  static constexpr Config kConfigurations[] = {
      {.top_level = 2, .page_sizes = 4 * kKiB | riscv::kNapot | riscv::kLarge},
      {.top_level = 3},
      {.top_level = 4, .page_sizes = 4 * kKiB | riscv::kNapot | riscv::kLarge},
      {.top_level = 3, .page_sizes = 4 * kKiB | riscv::kNapot, .dirty_tracking = true},
      {.top_level = 2, .page_sizes = 4 * kKiB | 2 * kMiB, .dirty_tracking = true, .input_bits = 32, .output_bits = 44},
      {.top_level = 3, .memory_type = RiscvMemoryType::non_cacheable},
      {.top_level = 2, .memory_type = RiscvMemoryType::io, .output_bits = 40},
  };

 private:
  static constexpr unsigned kMostOutput = 56, kNapotLg2 = 16;
  static constexpr hw::Field kValid = hw::riscv_paging::kEntry["V"], kRead = hw::riscv_paging::kEntry["R"],
                             kWrite = hw::riscv_paging::kEntry["W"], kExecute = hw::riscv_paging::kEntry["X"],
                             kUser = hw::riscv_paging::kEntry["U"], kAccessed = hw::riscv_paging::kEntry["A"],
                             kDirty = hw::riscv_paging::kEntry["D"], kPage = hw::riscv_paging::kEntry["PPN"],
                             kMemoryType = hw::riscv_paging::kEntry["PBMT"], kNapot = hw::riscv_paging::kEntry["N"];
};

static_assert(PageTableFormat<Riscv>);

}  // namespace softiommu::pt
