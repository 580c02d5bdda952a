// SPDX-License-Identifier: BSD-3-Clause
// Arm 64-bit tables (VMSAv8-64), 4 KiB granule, stage 1 and stage 2 (Arm ARM D8.2, D8.3).
//
// Our level n is Arm's level 3 - n. A stage-2 root whose top level would have 16 entries or fewer is replaced by
// that many tables of the next level, concatenated (D8.2.2), so the root may be 64 KiB.
#pragma once

#include "hw/arm_lpae.h"
#include "pt/format.h"

namespace softiommu::pt {

struct ArmLpaeConfig {
  unsigned stage = 1;
  unsigned input_bits = 48;   // ias: 32..48
  unsigned output_bits = 48;  // oas: 32, 36, 40, 42, 44, 48
  std::uint64_t page_sizes = 4 * kKiB | 2 * kMiB | 1 * kGiB;
  // Hardware keeps dirty state (HD): writable leaves get DBM and are born clean.
  bool dirty_tracking = false;
  // Stage 2 with S2FWB: Prot.coherent is expressed with the forced write-back memory type; else it is refused.
  bool force_write_back = false;
};

struct ArmLpae {
  static constexpr std::string_view kName = "arm_lpae";
  static constexpr unsigned kPageShift = 12;

  // The entry of MAIR that stage-1 leaves name; the driver puts "normal, write-back" (0xff) there.
  static constexpr unsigned kAttrIndexWriteBack = 1;

  using Config = ArmLpaeConfig;

  static constexpr Result<Shape> shape(const Config& config) {
    if (config.stage != 1 && config.stage != 2) return fail(EINVAL, "there are stage 1 and stage 2");
    if (config.input_bits < 32 || config.input_bits > 48) return fail(EINVAL, "4 KiB tables take 32 to 48 input bits");
    if (!is_output_size(config.output_bits)) return fail(EINVAL, "not an output size of the architecture");
    if (config.force_write_back && config.stage != 2) return fail(EINVAL, "only stage 2 has forced write-back");
    constexpr std::uint64_t kSizes = 4 * kKiB | 2 * kMiB | 1 * kGiB;
    if ((config.page_sizes & ~kSizes) != 0 || (config.page_sizes & kPageSize) == 0)
      return fail(EINVAL, "4 KiB granule pages are 4K, and perhaps 2M and 1G");
    const unsigned translated = config.input_bits - kPageShift;
    unsigned levels = (translated + kIndexBits - 1) / kIndexBits, root_tables = 1;
    if (const unsigned top_bits = translated - kIndexBits * (levels - 1);
        config.stage == 2 && top_bits <= kMaxConcatenatedLg2) {
      root_tables = 1u << top_bits;
      --levels;
    }
    return Shape{
        .top_level = levels - 1,
        .input_bits = config.input_bits,
        .output_bits = config.output_bits,
        .root_tables = root_tables,
        .page_sizes = config.page_sizes & (levels < 3 ? ~kGiB : ~std::uint64_t{0}),  // two levels hold no 1G block
        .dirty = config.dirty_tracking ? dirty_rule(config.stage) : DirtyRule{}};
  }

  static constexpr Result<std::uint64_t> attributes(const Config& config, Prot prot) {
    return config.stage == 1 ? stage1(config, prot) : stage2(config, prot);
  }

  static constexpr std::uint64_t leaf(std::uint64_t attributes, PhysAddr pa, unsigned level) {
    return attributes | kAddress.in_place(pa.value) |
           kType.put(level > 0 ? hw::arm_lpae::kTypeBlock : hw::arm_lpae::kTypePage);
  }
  static constexpr std::uint64_t table(PhysAddr pa) {
    return hw::arm_lpae::kTable["ADDR"].in_place(pa.value) | hw::arm_lpae::kTable["TYPE"].put(hw::arm_lpae::kTypeTable);
  }
  static constexpr bool is_table(std::uint64_t entry, unsigned /*level*/) {
    return kType.get(entry) == hw::arm_lpae::kTypeTable;
  }
  static constexpr PhysAddr address(std::uint64_t entry) { return PhysAddr{kAddress.in_place(entry)}; }

  static constexpr Prot prot(const Config& config, std::uint64_t entry) {
    using hw::arm_lpae::kStage1, hw::arm_lpae::kStage2;
    if (config.stage == 1) {
      return {.read = true,
              .write = !kStage1["AP2"].is_set(entry) || kStage1["DBM"].is_set(entry),
              .execute = !kStage1["XN"].is_set(entry)};
    }
    return {.read = kStage2["S2AP0"].is_set(entry),
            .write = kStage2["S2AP1"].is_set(entry) || kStage2["DBM"].is_set(entry),
            .coherent = kStage2["MemAttr"].get(entry) == kMemAttrForced,
            .execute = kStage2["XN"].get(entry) == 0};
  }

  static constexpr Config kConfigurations[] = {
      {.stage = 1, .input_bits = 48},
      {.stage = 1, .input_bits = 39, .output_bits = 40, .dirty_tracking = true},
      {.stage = 1, .input_bits = 32, .output_bits = 36},
      {.stage = 2, .input_bits = 48, .dirty_tracking = true},
      {.stage = 2, .input_bits = 40, .output_bits = 40},                            // 2 concatenated tables
      {.stage = 2, .input_bits = 43, .output_bits = 44, .force_write_back = true},  // 16
      {.stage = 2, .input_bits = 44, .output_bits = 44, .page_sizes = 4 * kKiB},
      {.stage = 2, .input_bits = 34, .output_bits = 36},  // 16, two levels
  };

 private:
  static constexpr unsigned kIndexBits = 9, kMaxConcatenatedLg2 = 4;
  static constexpr std::uint64_t kMemAttrWriteBack = 0b1111, kMemAttrForced = 0b0110, kNoExecution = 0b10;
  static constexpr hw::Field kType = hw::arm_lpae::kStage1["TYPE"], kAddress = hw::arm_lpae::kStage1["ADDR"];

  static constexpr bool is_output_size(unsigned bits) {
    return bits == 32 || bits == 36 || bits == 40 || bits == 42 || bits == 44 || bits == 48;
  }

  static constexpr DirtyRule dirty_rule(unsigned stage) {
    using hw::arm_lpae::kStage1, hw::arm_lpae::kStage2;
    if (stage == 1) {
      constexpr std::uint64_t kDbm = kStage1["DBM"].mask(), kReadOnly = kStage1["AP2"].mask();
      return {.mask = kDbm | kReadOnly, .dirty = kDbm, .flip = kReadOnly};
    }
    constexpr std::uint64_t kDbm = kStage2["DBM"].mask(), kWritable = kStage2["S2AP1"].mask();
    return {.mask = kDbm | kWritable, .dirty = kDbm | kWritable, .flip = kWritable};
  }

  static constexpr Result<std::uint64_t> stage1(const Config& config, Prot prot) {
    using hw::arm_lpae::kStage1;
    if (!prot.read) return fail(EINVAL, "stage-1 entries can always be read");
    if (prot.coherent) return fail(EINVAL, "stage-1 entries cannot force snooping");
    const bool tracked = prot.write && config.dirty_tracking;
    return kStage1["AttrIndx"].put(kAttrIndexWriteBack) | kStage1["AP1"].put(1) |
           kStage1["AP2"].put(!prot.write || tracked) | kStage1["SH"].put(hw::arm_lpae::kInnerShareable) |
           kStage1["AF"].put(1) | kStage1["nG"].put(1) | kStage1["DBM"].put(tracked) |
           kStage1["PXN"].put(!prot.execute) | kStage1["XN"].put(!prot.execute);
  }

  static constexpr Result<std::uint64_t> stage2(const Config& config, Prot prot) {
    using hw::arm_lpae::kStage2;
    if (!prot.read && !prot.write) return fail(EINVAL, "a mapping must allow reading or writing");
    if (prot.coherent && !config.force_write_back) return fail(EINVAL, "stage 2 forces write-back with S2FWB only");
    const bool tracked = prot.write && config.dirty_tracking;
    // With S2FWB the plain encoding (bit 5 clear, "as stage 1 says" 7) leaves the type to the device.
    const std::uint64_t plain = config.force_write_back ? kMemAttrAsDevice : kMemAttrWriteBack;
    return kStage2["MemAttr"].put(prot.coherent ? kMemAttrForced : plain) | kStage2["S2AP0"].put(prot.read) |
           kStage2["S2AP1"].put(prot.write && !tracked) | kStage2["SH"].put(hw::arm_lpae::kInnerShareable) |
           kStage2["AF"].put(1) | kStage2["DBM"].put(tracked) | kStage2["XN"].put(prot.execute ? 0 : kNoExecution);
  }
  static constexpr std::uint64_t kMemAttrAsDevice = 0b0111;
};

static_assert(PageTableFormat<ArmLpae>);

}  // namespace softiommu::pt
