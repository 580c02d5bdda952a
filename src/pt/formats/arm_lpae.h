// SPDX-License-Identifier: BSD-3-Clause
// Arm long-descriptor tables, stage 1 and stage 2: VMSAv8-64 with 4, 16 and 64 KiB granules (Arm ARM D8.2, D8.3), and
// those of ARMv7, which are the same with less reach (ARMv7 ARM B3.6).
//
// Our level n is Arm's level 3 - n. A stage-2 root of 16 entries or fewer may be replaced by that many tables of the
// next level, concatenated (D8.2.2). 52-bit addresses need the 64 KiB granule, or descriptors of their own (LPA2).
//
// Words are those of Linux's io-pgtable-arm for a cacheable request (IOMMU_CACHE), but for these:
// - stage 2, no execution: XN is 2. Linux writes 3, which with FEAT_XNX lets privileged accesses execute.
// - stage 1, dirty state kept by hardware: a fresh writable leaf is clean (AP[2] set). Linux's are born dirty.
// - stage 2 with S2FWB, Prot.coherent clear: the type of stage 1 or the device (MemAttr 7). Linux forces write-back for
//   each cacheable request; that is our Prot.coherent.
// - stage 1 pages that may only be written, and pages without any right, are refused. Linux lets the former be read.
// - `concatenate`: Linux 7.2 concatenates only where the architecture demands it.
#pragma once

#include "hw/arm_lpae.h"
#include "pt/format.h"

namespace softiommu::pt {

struct ArmLpaeConfig {
  unsigned stage = 1;
  unsigned input_bits = 48;   // 25..48; 52 where addresses have that many
  unsigned output_bits = 48;  // 32, 36, 40, 42, 44, 48; 52 likewise
  // Bit n: pages of 2^n bytes. 0: all that the descriptors have.
  std::uint64_t page_sizes = 0;
  bool upper_half = false;  // TTBR1: addresses begin with ones
  // ARMv7: 4 KiB granule, 32 input bits in stage 1 and 40 in stage 2, 40 output bits, no dirty state.
  bool aarch32 = false;
  bool concatenate = true;  // stage 2: wherever it saves a level; false: only where it must be
  // Hardware keeps dirty state (HD): writable leaves get DBM and are born clean.
  bool dirty_tracking = false;
  // Stage 2 with S2FWB: Prot.coherent is expressed with the forced write-back memory type; else it is refused.
  bool force_write_back = false;
};

enum class ArmDescriptors : std::uint8_t {
  plain,
  lpa2,        // 52-bit addresses with the 4 and 16 KiB granules (DS)
  contiguous,  // pages of several neighbouring leaves too, which may take one place in a TLB
  non_secure,  // stage 1 with NS and NSTable set, as some hardware wants them
};

template <unsigned kGranuleLg2, ArmDescriptors kKind>
consteval auto arm_lpae_configurations();

template <unsigned kGranuleLg2, ArmDescriptors kKind = ArmDescriptors::plain>
struct ArmLpaeFormat {
  static_assert(kGranuleLg2 == 12 || kGranuleLg2 == 14 || kGranuleLg2 == 16);
  static_assert(kKind != ArmDescriptors::lpa2 || kGranuleLg2 != 16, "the 64 KiB granule has 52 bits without it");

 private:
  static constexpr bool k4K = kGranuleLg2 == 12, k16K = kGranuleLg2 == 14, k64K = kGranuleLg2 == 16;
  static constexpr bool kLpa2 = kKind == ArmDescriptors::lpa2, kReaches52 = kLpa2 || k64K;
  static constexpr bool kSets = kKind == ArmDescriptors::contiguous;
  static constexpr unsigned kTableBits = kGranuleLg2 - 3, kLevels = k64K ? 3 : k4K && kLpa2 ? 5 : 4;

 public:
  using Entry = std::uint64_t;
  using Config = ArmLpaeConfig;
  static constexpr std::string_view kName = [] {
    constexpr std::string_view kNames[][3] = {
        {"arm_lpae", "arm_lpae_16k", "arm_lpae_64k"},
        {"arm_lpae_lpa2", "arm_lpae_16k_lpa2", ""},
        {"arm_lpae_contiguous", "arm_lpae_16k_contiguous", "arm_lpae_64k_contiguous"},
        {"arm_lpae_ns", "arm_lpae_16k_ns", "arm_lpae_64k_ns"}};
    return kNames[static_cast<unsigned>(kKind)][kGranuleLg2 / 2 - 6];
  }();
  static constexpr unsigned kPageShift = kGranuleLg2;
  static constexpr auto kIndexBits = [] {
    std::array<unsigned, kLevels> bits{};
    bits.fill(kTableBits);
    return bits;
  }();

  // The entry of MAIR that stage-1 leaves name; the driver puts "normal, write-back" (0xff) there.
  static constexpr unsigned kAttrIndexWriteBack = 1;

  static constexpr Result<Shape> shape(const Config& config) {
    TRY(check(config));
    const unsigned translated = config.input_bits - kGranuleLg2;
    unsigned levels = (translated + kTableBits - 1) / kTableBits, root_bits = translated - kTableBits * (levels - 1);
    if (const bool must = must_concatenate(config, levels);
        config.stage == 2 && levels > 2 && (must || (config.concatenate && root_bits <= kMaxConcatenatedLg2))) {
      if (root_bits > kMaxConcatenatedLg2) return fail(EINVAL, "more than 16 tables cannot be concatenated");
      root_bits += kTableBits;
      --levels;
    }
    return Shape{.top_level = levels - 1,
                 .input_bits = config.input_bits,
                 .upper_half = config.upper_half,
                 .output_bits = config.output_bits,
                 .table_bits = config.output_bits,
                 .root_entries = 1u << root_bits,
                 .page_sizes = usable_sizes_of(config, levels),
                 .dirty = config.dirty_tracking ? dirty_rule(config.stage) : DirtyRule{}};
  }

  static constexpr Result<std::uint64_t> attributes(const Config& config, Prot prot) {
    return config.stage == 1 ? stage1(config, prot) : stage2(config, prot);
  }

  static constexpr Entry leaf(std::uint64_t attributes, PhysAddr pa, unsigned level, unsigned lg2) {
    return attributes | address_bits(pa) | (kSets ? kContiguous.put(lg2 > span(level)) : 0) |
           kType.put(level > 0 ? hw::arm_lpae::kTypeBlock : hw::arm_lpae::kTypePage);
  }
  static constexpr Entry table(PhysAddr pa, unsigned /*level*/) {
    return address_bits(pa) | kType.put(hw::arm_lpae::kTypeTable) |
           hw::arm_lpae::kTable["NSTable"].put(kKind == ArmDescriptors::non_secure);
  }
  static constexpr bool is_table(Entry entry, unsigned /*level*/) {
    return kType.get(entry) == hw::arm_lpae::kTypeTable;
  }
  static constexpr PhysAddr table_address(Entry entry, unsigned /*level*/) { return address_of(entry); }
  static constexpr PhysAddr page_address(Entry entry, unsigned /*level*/) { return address_of(entry); }
  static constexpr unsigned page_lg2(Entry entry, unsigned level) {
    return span(level) + (kSets && kContiguous.is_set(entry) ? set_lg2(level) : 0);
  }

  static constexpr Prot prot(const Config& config, Entry entry, unsigned /*level*/) {
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

  static constexpr auto kConfigurations = arm_lpae_configurations<kGranuleLg2, kKind>();

 private:
  static constexpr unsigned kMaxConcatenatedLg2 = 4;
  static constexpr std::uint64_t kMemAttrWriteBack = 0b1111, kMemAttrForced = 0b0110, kMemAttrAsDevice = 0b0111;
  static constexpr std::uint64_t kNoExecution = 0b10;
  static constexpr hw::Field kType = hw::arm_lpae::kStage1["TYPE"], kContiguous = hw::arm_lpae::kStage1["Contig"];

  static constexpr unsigned span(unsigned level) { return kGranuleLg2 + kTableBits * level; }

  // ---- addresses: with 52 bits the highest stand apart ----

  static constexpr unsigned kHighShift = k64K ? 48 : 50;
  static constexpr hw::Field kHigh = k64K ? hw::arm_lpae::kAddress64K["HIGH"] : hw::arm_lpae::kAddressLpa2["HIGH"];
  static constexpr hw::Field kLow = k64K    ? hw::arm_lpae::kAddress64K["ADDR"]
                                    : kLpa2 ? hw::arm_lpae::kAddressLpa2["ADDR"]
                                            : hw::arm_lpae::kTable["ADDR"];
  static constexpr std::uint64_t address_bits(PhysAddr pa) {
    const std::uint64_t low = kLow.in_place(pa.value);
    return kReaches52 ? low | kHigh.put(pa.value >> kHighShift & kHigh.max()) : low;
  }
  static constexpr PhysAddr address_of(Entry entry) {
    const std::uint64_t low = kLow.in_place(entry);
    return PhysAddr{kReaches52 ? low | kHigh.get(entry) << kHighShift : low};
  }

  // ---- what there is ----

  static constexpr bool is_output_size(unsigned bits) {
    return bits == 32 || bits == 36 || bits == 40 || bits == 42 || bits == 44 || bits == 48 ||
           (bits == 52 && kReaches52);
  }

  static constexpr Result<> check(const Config& config) {
    constexpr unsigned kLeastInputBits = 25, kMostInputBits = kReaches52 ? 52 : 48;
    if (config.stage != 1 && config.stage != 2) return fail(EINVAL, "there are stage 1 and stage 2");
    if (config.input_bits < kLeastInputBits || config.input_bits > kMostInputBits)
      return fail(EINVAL, "the granule does not take that many input bits");
    if (!is_output_size(config.output_bits)) return fail(EINVAL, "not an output size of the architecture");
    if (config.upper_half && config.stage != 1) return fail(EINVAL, "only stage 1 has an upper half");
    if (config.force_write_back && config.stage != 2) return fail(EINVAL, "only stage 2 has forced write-back");
    if (kKind == ArmDescriptors::non_secure && config.stage != 1) return fail(EINVAL, "only stage 1 has NS bits");
    if (config.aarch32) TRY(check_aarch32(config));
    if ((config.page_sizes & ~sizes_up_to_level(config, kLevels - 1)) != 0 ||
        (config.page_sizes != 0 && (config.page_sizes >> kGranuleLg2 & 1) == 0))
      return fail(EINVAL, "pages are the granule, and perhaps its blocks and contiguous sets");
    return {};
  }

  static constexpr Result<> check_aarch32(const Config& config) {
    if (!k4K || kLpa2) return fail(EINVAL, "ARMv7 tables have 4 KiB granules and 40-bit addresses");
    if (config.input_bits > (config.stage == 1 ? 32u : 40u) || config.output_bits > 40)
      return fail(EINVAL, "ARMv7 tables take 32 (stage 2: 40) input bits and put out 40");
    if (config.upper_half || config.dirty_tracking || config.force_write_back)
      return fail(EINVAL, "ARMv7 tables have no upper half, no dirty state and no forced write-back");
    return {};
  }

  // D8.2.2: input or output sizes for which the walk must begin one level later. ARMv7 has no level 0 at all.
  static constexpr bool must_concatenate(const Config& config, unsigned levels) {
    if (levels == 4 && config.aarch32) return true;
    if (levels == 4 && k16K) return config.output_bits == 48 || config.input_bits == 48;
    if (levels == 4 && k4K) return config.output_bits == 40 || config.output_bits == 42;
    return levels == 3 && k16K && config.output_bits == 40;
  }

  static constexpr bool has_blocks(const Config& config, unsigned level) {
    if (level <= 1) return true;  // pages, and the smallest blocks
    if (level == 2) return k4K || kLpa2 || config.output_bits == 52;
    return level == 3 && k4K && kLpa2;
  }
  // log2 of the leaves that a contiguous set has; 0: there are none.
  static constexpr unsigned set_lg2(unsigned level) {
    if (k4K) return level <= 2 ? hw::arm_lpae::kContiguous4KLg2 : 0;
    if (level > 1) return 0;
    if (k64K) return hw::arm_lpae::kContiguous64KLg2;
    return level == 0 ? hw::arm_lpae::kContiguous16KPagesLg2 : hw::arm_lpae::kContiguous16KBlocksLg2;
  }
  static constexpr std::uint64_t sizes_up_to_level(const Config& config, unsigned top_level) {
    std::uint64_t sizes = 0;
    for (unsigned level = 0; level <= top_level; ++level) {
      if (!has_blocks(config, level)) continue;
      sizes |= std::uint64_t{1} << span(level);
      if (kSets) sizes |= std::uint64_t{1} << (span(level) + set_lg2(level));
    }
    return sizes;
  }
  // Those that the configuration names, as far as it has the levels and the reach for them.
  static constexpr std::uint64_t usable_sizes_of(const Config& config, unsigned levels) {
    const std::uint64_t wanted = config.page_sizes == 0 ? ~std::uint64_t{0} : config.page_sizes;
    const std::uint64_t reach = (std::uint64_t{2} << config.input_bits) - 1;
    return wanted & sizes_up_to_level(config, levels - 1) & reach;
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

  // ---- rights ----

  // With LPA2 the register says what is shareable, and its place holds address bits.
  static constexpr std::uint64_t kShareable =
      kLpa2 ? 0 : hw::arm_lpae::kStage1["SH"].put(hw::arm_lpae::kInnerShareable);

  static constexpr Result<std::uint64_t> stage1(const Config& config, Prot prot) {
    using hw::arm_lpae::kStage1;
    if (!prot.read) return fail(EINVAL, "stage-1 entries can always be read");
    if (prot.coherent) return fail(EINVAL, "stage-1 entries cannot force snooping");
    const bool tracked = prot.write && config.dirty_tracking;
    return kStage1["AttrIndx"].put(kAttrIndexWriteBack) | kStage1["NS"].put(kKind == ArmDescriptors::non_secure) |
           kStage1["AP1"].put(1) | kStage1["AP2"].put(!prot.write || tracked) | kShareable | kStage1["AF"].put(1) |
           kStage1["nG"].put(1) | kStage1["DBM"].put(tracked) | kStage1["PXN"].put(!prot.execute) |
           kStage1["XN"].put(!prot.execute);
  }

  static constexpr Result<std::uint64_t> stage2(const Config& config, Prot prot) {
    using hw::arm_lpae::kStage2;
    if (!prot.read && !prot.write) return fail(EINVAL, "a mapping must allow reading or writing");
    if (!prot.read && prot.execute) return fail(EINVAL, "what is executed is read");
    if (prot.coherent && !config.force_write_back) return fail(EINVAL, "stage 2 forces write-back with S2FWB only");
    const bool tracked = prot.write && config.dirty_tracking;
    const std::uint64_t plain = config.force_write_back ? kMemAttrAsDevice : kMemAttrWriteBack;
    return kStage2["MemAttr"].put(prot.coherent ? kMemAttrForced : plain) | kStage2["S2AP0"].put(prot.read) |
           kStage2["S2AP1"].put(prot.write && !tracked) | kShareable | kStage2["AF"].put(1) |
           kStage2["DBM"].put(tracked) | kStage2["XN"].put(prot.execute ? 0 : kNoExecution);
  }
};

// What the tests run on: both stages, the ends of the sizes, each option.
template <unsigned kGranuleLg2, ArmDescriptors kKind>
consteval auto arm_lpae_configurations() {
  using Config = ArmLpaeConfig;
  constexpr std::uint64_t kTiB = 1024 * kGiB;
  if constexpr (kKind == ArmDescriptors::contiguous) {
    if constexpr (kGranuleLg2 == 12) {
      return std::array{Config{.dirty_tracking = true}, Config{.input_bits = 25, .output_bits = 32},
                        Config{.input_bits = 39, .page_sizes = 4 * kKiB | 64 * kKiB | 2 * kMiB, .upper_half = true},
                        Config{.stage = 2, .input_bits = 34, .output_bits = 36}};
    } else {
      return std::array{Config{.dirty_tracking = true}, Config{.stage = 2, .input_bits = 40, .output_bits = 40}};
    }
  } else if constexpr (kKind == ArmDescriptors::non_secure) {
    return std::array{Config{.input_bits = 32, .output_bits = 40, .aarch32 = true}, Config{.input_bits = 39}};
  } else if constexpr (kGranuleLg2 == 12 && kKind == ArmDescriptors::lpa2) {
    return std::array{
        Config{.input_bits = 52, .output_bits = 52},
        Config{.input_bits = 49, .output_bits = 52, .dirty_tracking = true},
        Config{.stage = 2, .input_bits = 52, .output_bits = 52},  // 16 concatenated tables
        Config{.stage = 2, .input_bits = 52, .output_bits = 52, .concatenate = false},
    };
  } else if constexpr (kGranuleLg2 == 12) {
    return std::array{
        Config{},
        Config{.input_bits = 39, .output_bits = 40, .dirty_tracking = true},
        Config{.input_bits = 32, .output_bits = 36},
        Config{.input_bits = 25, .output_bits = 32},
        Config{.input_bits = 48, .upper_half = true},
        Config{.input_bits = 39, .upper_half = true, .dirty_tracking = true},
        Config{.stage = 2, .dirty_tracking = true},
        Config{.stage = 2, .input_bits = 40, .output_bits = 40},                            // 2 concatenated tables
        Config{.stage = 2, .input_bits = 43, .output_bits = 44, .force_write_back = true},  // 16
        Config{.stage = 2, .input_bits = 43, .output_bits = 44, .concatenate = false},
        Config{.stage = 2, .input_bits = 44, .output_bits = 44, .page_sizes = 4 * kKiB},
        Config{.stage = 2, .input_bits = 34, .output_bits = 36, .page_sizes = 4 * kKiB},  // 16, two levels
        Config{.input_bits = 32, .output_bits = 40, .aarch32 = true},
        Config{.stage = 2, .input_bits = 40, .output_bits = 40, .aarch32 = true},
        Config{.stage = 2, .input_bits = 32, .output_bits = 40, .aarch32 = true},
    };
  } else if constexpr (kGranuleLg2 == 14 && kKind == ArmDescriptors::lpa2) {
    return std::array{
        Config{.input_bits = 52, .output_bits = 52},
        Config{.stage = 2, .input_bits = 52, .output_bits = 52, .dirty_tracking = true},
        Config{.stage = 2, .input_bits = 50, .output_bits = 52},  // 8 concatenated tables
    };
  } else if constexpr (kGranuleLg2 == 14) {
    return std::array{
        Config{},
        Config{.input_bits = 47, .upper_half = true},
        Config{.input_bits = 36, .output_bits = 40, .dirty_tracking = true},
        Config{.stage = 2},  // 2 concatenated tables
        Config{.stage = 2, .input_bits = 40, .output_bits = 40, .concatenate = false},
        Config{.stage = 2, .input_bits = 42, .output_bits = 42, .concatenate = false},
    };
  } else {
    return std::array{
        Config{},
        Config{.input_bits = 52, .output_bits = 52},
        Config{.input_bits = 52, .output_bits = 52, .upper_half = true, .dirty_tracking = true},
        Config{.input_bits = 42, .output_bits = 44},
        Config{.stage = 2, .input_bits = 46, .output_bits = 48, .dirty_tracking = true},  // 16 concatenated tables
        Config{.stage = 2, .input_bits = 52, .output_bits = 52, .page_sizes = 64 * kKiB | 512 * kMiB | 4 * kTiB},
    };
  }
}

using ArmLpae = ArmLpaeFormat<12>;
using ArmLpae16K = ArmLpaeFormat<14>;
using ArmLpae64K = ArmLpaeFormat<16>;
using ArmLpaeLpa2 = ArmLpaeFormat<12, ArmDescriptors::lpa2>;
using ArmLpae16KLpa2 = ArmLpaeFormat<14, ArmDescriptors::lpa2>;
using ArmLpaeContiguous = ArmLpaeFormat<12, ArmDescriptors::contiguous>;
using ArmLpae16KContiguous = ArmLpaeFormat<14, ArmDescriptors::contiguous>;
using ArmLpae64KContiguous = ArmLpaeFormat<16, ArmDescriptors::contiguous>;
using ArmLpaeNs = ArmLpaeFormat<12, ArmDescriptors::non_secure>;

static_assert(PageTableFormat<ArmLpae> && PageTableFormat<ArmLpae16K> && PageTableFormat<ArmLpae64K>);
static_assert(PageTableFormat<ArmLpaeLpa2> && PageTableFormat<ArmLpae16KLpa2> && PageTableFormat<ArmLpaeNs>);
static_assert(PageTableFormat<ArmLpaeContiguous> && PageTableFormat<ArmLpae16KContiguous> &&
              PageTableFormat<ArmLpae64KContiguous>);

}  // namespace softiommu::pt
