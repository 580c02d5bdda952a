// SPDX-License-Identifier: BSD-3-Clause
// An SMMUv3 driven by registers and memory alone. Offsets and bits are written out from the specification, not taken
// from hw/smmuv3.h, so that a wrong row there cannot hide.
#pragma once

#include <optional>
#include <vector>

#include "machine/unit_fixture.h"

namespace softiommu::test {

namespace smmu {
inline constexpr std::uint64_t kIdr0 = 0x00, kIdr1 = 0x04, kIdr3 = 0x0c, kIdr5 = 0x14, kCr0 = 0x20, kCr0Ack = 0x24,
                               kCr1 = 0x28, kCr2 = 0x2c, kGbpa = 0x44, kIrqCtrl = 0x50, kIrqCtrlAck = 0x54,
                               kGerror = 0x60, kGerrorN = 0x64, kStrtabBase = 0x80, kStrtabCfg = 0x88, kCmdqBase = 0x90,
                               kCmdqProd = 0x98, kCmdqCons = 0x9c, kEventqBase = 0xa0, kEventqProd = 0x100a8,
                               kEventqCons = 0x100ac;
inline constexpr std::uint32_t kTranslate = 1, kEvents = 4, kCommands = 8;  // CR0
// commands
inline constexpr std::uint64_t kCfgiSte = 0x03, kCfgiRange = 0x04, kCfgiCd = 0x05, kCfgiCdAll = 0x06, kResume = 0x44,
                               kStallTerm = 0x45, kNhAll = 0x10, kNhAsid = 0x11, kNhVa = 0x12, kNhVaa = 0x13,
                               kEl2All = 0x20, kVmall = 0x28, kS2Ipa = 0x2a, kNsnhAll = 0x30, kSync = 0x46;
// events
inline constexpr unsigned kBadStream = 0x02, kSteFetch = 0x03, kBadSte = 0x04, kBadSubstream = 0x08, kCdFetch = 0x09,
                          kBadCd = 0x0a, kWalkAbort = 0x0b, kTranslation = 0x10, kAddressSize = 0x11, kAccess = 0x12,
                          kPermission = 0x13, kStreamDisabled = 0x06;
// stage 1 leaves: page, AP[1] (unprivileged), AF; AP[2] forbids writing
inline constexpr std::uint64_t kPage = 3, kBlock = 1, kTable = 3, kUser = 0x40, kReadOnly = 0x80, kAf = 0x400,
                               kDbm = std::uint64_t{1} << 51;
inline constexpr std::uint64_t kLeaf = kPage | kUser | kAf;
// stage 2 leaves
inline constexpr std::uint64_t kS2Read = 0x40, kS2Write = 0x80, kS2Leaf = kPage | kS2Read | kS2Write | kAf;

// STE word 0
inline constexpr std::uint64_t kAbort = 0x1, kBypass = 0x9, kStage1 = 0xb, kStage2 = 0xd, kNested = 0xf;
// CD word 0 but ASID: 48 bits in and out, 4 KiB granule, no TTB1, valid, AArch64, R, A
inline constexpr std::uint64_t kCdValid = 0x8000'0000, kCd = 0x6205'c000'3510;
// STE word 2 but VMID: 40 bits in and out from level 1, AArch64, faults recorded
inline constexpr std::uint64_t kS2Config = 0x040a'3558'0000'0000;

inline constexpr std::uint32_t kDevice = 0x10;
inline constexpr std::uint64_t kNothingThere = 0x70'0000'0000;
}  // namespace smmu

struct SmmuEvent {
  unsigned type;
  std::uint32_t stream;
  std::uint64_t address;
  bool read, stage2;
  unsigned fault_class;
  std::uint64_t last;  // IPA, or the place that could not be fetched
  friend bool operator==(const SmmuEvent&, const SmmuEvent&) = default;
  friend void PrintTo(const SmmuEvent& e, std::ostream* out) {
    *out << std::hex << "event " << e.type << " stream " << e.stream << " address " << e.address << " read " << e.read
         << " s2 " << e.stage2 << " class " << e.fault_class << " last " << e.last;
  }
};

class ArmSmmuV3Test : public UnitTest {
 protected:
  ArmSmmuV3Test() : UnitTest(arm_smmu_v3_unit_model(), "smmu0") {}
  void turn_on(std::uint32_t bits) { w32(smmu::kCr0, control_ |= bits); }
  void turn_off(std::uint32_t bits) { w32(smmu::kCr0, control_ &= ~bits); }

  // Queues of 16 entries, a linear stream table for 256 ids, all streams invalid; interrupts on.
  void start() {
    commands_ = new_table();
    events_ = new_table();
    streams_ = new_table(4);
    w64(smmu::kCmdqBase, commands_ | 4);
    w64(smmu::kEventqBase, events_ | 4);
    w64(smmu::kStrtabBase, streams_);
    w32(smmu::kStrtabCfg, 8);
    w32(smmu::kCr2, 2);
    w32(smmu::kIrqCtrl, 5);
    turn_on(smmu::kEvents | smmu::kCommands);
    turn_on(smmu::kTranslate);
  }
  void set_ste(std::uint64_t word0, std::uint64_t word1 = 0, std::uint64_t word2 = 0, std::uint64_t word3 = 0,
               std::uint32_t stream = smmu::kDevice) {
    const std::uint64_t words[] = {word0, word1, word2, word3};
    for (unsigned i = 4; i-- > 0;) word(streams_, 8 * stream + i) = words[i];
  }
  // Stage 1 for `stream`: a descriptor with an empty table.
  void attach_stage1(std::uint64_t asid = 5, std::uint32_t stream = smmu::kDevice) {
    descriptor_ = new_table();
    top_ = new_table();
    word(descriptor_, 0) = smmu::kCd | asid << 48;
    word(descriptor_, 1) = top_;
    set_ste(smmu::kStage1 | descriptor_, 0, 0, 0, stream);
  }
  void attach_stage2(std::uint64_t vmid = 7) {
    top2_ = new_table(2);  // 40 bits from level 1: two concatenated tables
    set_ste(smmu::kStage2, 0, smmu::kS2Config | vmid, top2_);
  }
  std::uint64_t& entry(std::uint64_t table, unsigned from_level, std::uint64_t iova, unsigned level = 3) {
    return arm_entry(table, from_level, iova, level);
  }
  void map(std::uint64_t iova, std::uint64_t pa, std::uint64_t flags = smmu::kLeaf) {
    entry(top_, 0, iova) = pa | flags;
  }
  void map2(std::uint64_t ipa, std::uint64_t pa, std::uint64_t flags = smmu::kS2Leaf) {
    entry(top2_, 1, ipa) = pa | flags;
  }

  void submit(std::uint64_t word0, std::uint64_t word1 = 0) {
    const std::uint32_t prod = r32(smmu::kCmdqProd);
    word(commands_, 2 * (prod & 15)) = word0;
    word(commands_, 2 * (prod & 15) + 1) = word1;
    w32(smmu::kCmdqProd, (prod + 1) & 31);
  }
  unsigned command_error() { return r32(smmu::kCmdqCons) >> 24 & 0x7f; }
  bool queue_stopped() { return ((r32(smmu::kGerror) ^ r32(smmu::kGerrorN)) & 1) != 0; }

  std::optional<Translation> dma(std::uint64_t iova, Access access = Access::read,
                                 std::uint32_t stream = smmu::kDevice) {
    return unit_->translate({.stream = stream, .iova = Iova{iova}, .access = access});
  }
  std::optional<std::uint64_t> where(std::uint64_t iova, Access access = Access::read,
                                     std::uint32_t stream = smmu::kDevice) {
    return end_of(dma(iova, access, stream), iova);
  }
  // With a substream.
  std::optional<std::uint64_t> where_in(Pasid substream, std::uint64_t iova, Access access = Access::read) {
    return end_of(unit_->translate({.stream = smmu::kDevice, .pasid = substream, .iova = Iova{iova}, .access = access}),
                  iova);
  }
  bool writes(std::uint64_t iova) { return dma(iova, Access::write).has_value(); }

  // The oldest event, taken from the queue; type 0: none.
  SmmuEvent event() {
    const std::uint32_t cons = r32(smmu::kEventqCons) & 31;
    if (cons == (r32(smmu::kEventqProd) & 31)) return {};
    const std::uint64_t* const words = &word(events_, 4 * (cons & 15));
    const SmmuEvent taken{static_cast<unsigned>(words[0] & 0xff),
                          static_cast<std::uint32_t>(words[0] >> 32),
                          words[2],
                          (words[1] >> 35 & 1) != 0,
                          (words[1] >> 39 & 1) != 0,
                          static_cast<unsigned>(words[1] >> 40 & 3),
                          words[3]};
    w32(smmu::kEventqCons, (cons + 1) & 31);
    return taken;
  }
  unsigned event_of_read(std::uint64_t iova) {
    EXPECT_FALSE(where(iova));
    return event().type;
  }

  std::uint64_t commands_ = 0, events_ = 0, streams_ = 0, descriptor_ = 0, top_ = 0, top2_ = 0;
};

}  // namespace softiommu::test
