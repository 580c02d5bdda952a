// SPDX-License-Identifier: BSD-3-Clause
// An SMMUv1/v2 driven by registers and memory alone. Offsets and bits are written out from the specification, not taken
// from hw/arm_smmu.h, so that a wrong row there cannot hide.
#pragma once

#include <optional>
#include <vector>

#include "machine/unit_fixture.h"

namespace softiommu::test {

namespace smmu2 {
inline constexpr std::uint64_t kCr0 = 0x00, kIdr0 = 0x20, kIdr1 = 0x24, kIdr2 = 0x28, kGfar = 0x40, kGfsr = 0x48,
                               kGfsynr0 = 0x50, kGfsynr1 = 0x54, kTlbiVmid = 0x64, kTlbiAllNsnh = 0x68,
                               kTlbiAllH = 0x6c, kGsync = 0x70, kGstatus = 0x74, kSmr = 0x800, kS2cr = 0xc00;
inline constexpr std::uint64_t kCbar = 0x1000, kCbfrsynra = 0x1400, kCba2r = 0x1800;
// Of a context bank: 64 banks of 4 KiB behind 64 pages.
inline constexpr std::uint64_t kBanks = 0x4'0000;
inline constexpr std::uint64_t kSctlr = 0x00, kResume = 0x08, kTcr2 = 0x10, kTtbr0 = 0x20, kTtbr1 = 0x28, kTcr = 0x30,
                               kContextIdr = 0x34, kPar = 0x50, kFsr = 0x58, kFar = 0x60, kFsynr0 = 0x68,
                               kIpaFar = 0x70;
inline constexpr std::uint64_t kTlbiVa = 0x600, kTlbiVaa = 0x608, kTlbiAsid = 0x610, kTlbiAll = 0x618, kTlbiVal = 0x620,
                               kTlbiVaal = 0x628, kTlbiIpas2 = 0x630, kTlbiIpas2l = 0x638, kSync = 0x7f0,
                               kAts1Pr = 0x800, kAts1Uw = 0x818;
// sCR0 but EXIDENABLE and VMID16EN: faults are reported, unmatched and ambiguous streams fault.
inline constexpr std::uint64_t kFaulting = 0x20'0436;
inline constexpr std::uint64_t kBypass = 0x1'0000, kFault = 0x2'0000;  // S2CR.TYPE
inline constexpr std::uint64_t kStage2 = 0, kStage1 = 0x1'0000, kStage1ThenFault = 0x2'0000,
                               kNested = 0x3'0000;                             // CBAR
inline constexpr std::uint64_t kOn = 0x61, kStalls = 0x80, kHitUnder = 0x100;  // SCTLR: M, CFRE, CFIE
inline constexpr std::uint64_t kIcf = 1, kUsf = 2, kSmcf = 4, kUcbf = 8, kUcif = 0x10, kUut = 0x100;  // sGFSR
inline constexpr std::uint64_t kTf = 2, kAff = 4, kPf = 8, kEf = 0x10, kAsf = 0x80, kSs = 0x4000'0000,
                               kMulti = 0x8000'0000;  // FSR
// leaves: page, unprivileged, access flag
inline constexpr std::uint64_t kLeaf = 0x443, kReadOnly = 0x80, kTable = 3, kS2Leaf = 0x4c3;
inline constexpr std::uint32_t kDevice = 0x10;
inline constexpr std::uint64_t kNothingThere = 0x70'0000'0000;
}  // namespace smmu2

class ArmSmmuTest : public UnitTest {
 protected:
  ArmSmmuTest() : UnitTest(arm_smmu_unit_model(), "smmu0", {.table_arena = kGiB}) {}
  static std::uint64_t bank(unsigned n, std::uint64_t at) { return smmu2::kBanks + 0x1000 * std::uint64_t{n} + at; }

  // Faults on, and entry 0 sends the device to bank 0.
  void start(std::uint64_t cr0 = smmu2::kFaulting) {
    w32(smmu2::kCr0, cr0);
    route(0, smmu2::kDevice, 0);
  }
  void route(unsigned entry, std::uint32_t stream, std::uint64_t s2cr, std::uint32_t mask = 0) {
    w32(smmu2::kS2cr + 4 * entry, s2cr);
    w32(smmu2::kSmr + 4 * entry, 0x8000'0000 | mask << 16 | stream);
  }
  // Stage 1 in AArch64 tables of 4 KiB, 48 bits.
  void stage1(unsigned n = 0, std::uint64_t asid = 5, std::uint64_t sctlr = smmu2::kOn) {
    top_ = new_table();
    w32(smmu2::kCbar + 4 * n, smmu2::kStage1);
    w32(smmu2::kCba2r + 4 * n, 1);
    w32(bank(n, smmu2::kTcr2), 0x3'8015);
    w32(bank(n, smmu2::kTcr), 0x80'3510);
    w64(bank(n, smmu2::kTtbr0), asid << 48 | top_);
    w32(bank(n, smmu2::kSctlr), sctlr);
  }
  // Stage 2 in AArch64 tables of 4 KiB, 40 bits from level 1: two concatenated tables.
  void stage2(unsigned n = 0, std::uint64_t vmid = 7) {
    top2_ = new_table(2);
    w32(smmu2::kCbar + 4 * n, smmu2::kStage2 | vmid);
    w32(smmu2::kCba2r + 4 * n, 1);
    w32(bank(n, smmu2::kTcr), 0x8002'3558);
    w64(bank(n, smmu2::kTtbr0), top2_);
    w32(bank(n, smmu2::kSctlr), smmu2::kOn);
  }
  // The entry of `iova` at `level` in 4 KiB tables that begin at `from_level`.
  std::uint64_t& entry(std::uint64_t table, unsigned from_level, std::uint64_t iova, unsigned level = 3) {
    return arm_entry(table, from_level, iova, level);
  }
  void map(std::uint64_t iova, std::uint64_t pa, std::uint64_t flags = smmu2::kLeaf) {
    entry(top_, 0, iova) = pa | flags;
  }
  void map2(std::uint64_t ipa, std::uint64_t pa, std::uint64_t flags = smmu2::kS2Leaf) {
    entry(top2_, 1, ipa) = pa | flags;
  }

  std::optional<Translation> dma(std::uint64_t iova, Access access = Access::read,
                                 std::uint32_t stream = smmu2::kDevice) {
    return unit_->translate({.stream = stream, .iova = Iova{iova}, .access = access});
  }
  std::optional<std::uint64_t> where(std::uint64_t iova, Access access = Access::read,
                                     std::uint32_t stream = smmu2::kDevice) {
    return end_of(dma(iova, access, stream), iova);
  }
  bool passes(std::uint32_t stream) { return where(0x1234, Access::read, stream) == 0x1234u; }
  // What an access leaves in the fault register, which is cleared.
  std::uint32_t take(std::uint64_t offset) {
    const std::uint32_t value = r32(offset);
    w32(offset, value);
    return value;
  }
  std::uint32_t global_fault_of(std::uint64_t iova, std::uint32_t stream = smmu2::kDevice) {
    EXPECT_FALSE(where(iova, Access::read, stream));
    return take(smmu2::kGfsr);
  }
  // Without FORMAT.
  std::uint32_t fault_of(std::uint64_t iova, Access access = Access::read, unsigned n = 0) {
    EXPECT_FALSE(where(iova, access));
    return take(bank(n, smmu2::kFsr)) & ~0x600u;
  }

  std::uint64_t top_ = 0, top2_ = 0;
};

}  // namespace softiommu::test
