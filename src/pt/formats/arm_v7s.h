// SPDX-License-Identifier: BSD-3-Clause
// Arm short-descriptor tables (ARMv7 ARM B3.5), and MediaTek's with longer addresses: two levels of 32-bit words.
//
// Our level 1 is Arm's first level. Supersections and large pages are one word 16 times. MediaTek's entries hold
// address bits 34:32 where Arm has rights, so a page there can be read and written or it is refused, and nothing
// executes; the larger input space means a larger root, and non-secure bits are always set.
//
// Words are those of Linux's io-pgtable-arm-v7s for a cacheable request (IOMMU_CACHE; MediaTek: with its NS quirk).
// What may only be written is refused: Linux lets it be read, and MediaTek's devices write what was mapped for reading.
#pragma once

#include "hw/arm_v7s.h"
#include "pt/format.h"

namespace softiommu::pt {

struct ArmV7sConfig {
  unsigned input_bits = 32;   // Arm: 25..32 (32 - TTBCR.N); MediaTek: 32..34
  unsigned output_bits = 32;  // MediaTek: 32..35
  unsigned table_bits = 32;   // MediaTek: as output_bits, where table entries have the additional bits too
  std::uint64_t page_sizes = 4 * kKiB | 64 * kKiB | 1 * kMiB | 16 * kMiB;
};

enum class ShortDescriptors : std::uint8_t { arm, mediatek };

template <ShortDescriptors kKind>
struct ArmV7sFormat {
 private:
  static constexpr bool kMediaTek = kKind == ShortDescriptors::mediatek;
  static constexpr unsigned kMostInputBits = kMediaTek ? 34 : 32;

 public:
  using Entry = std::uint32_t;
  using Config = ArmV7sConfig;
  static constexpr std::string_view kName = kMediaTek ? "mtk_v7s" : "arm_v7s";
  static constexpr unsigned kPageShift = hw::arm_v7s::kSmallLg2;
  static constexpr unsigned kIndexBits[] = {hw::arm_v7s::kSectionLg2 - kPageShift,
                                            kMostInputBits - hw::arm_v7s::kSectionLg2};
  static constexpr bool kRepeats = true;

  static constexpr Result<Shape> shape(const Config& config) {
    constexpr unsigned kLeastInputBits = kMediaTek ? 32 : 25, kMostOutputBits = kMediaTek ? 35 : 32;
    if (config.input_bits < kLeastInputBits || config.input_bits > kMostInputBits)
      return fail(EINVAL, "short descriptors do not take that many input bits");
    if (config.output_bits < 32 || config.output_bits > kMostOutputBits)
      return fail(EINVAL, "short descriptors do not put out that many bits");
    if (config.table_bits != 32 && config.table_bits != config.output_bits)
      return fail(EINVAL, "tables lie below 4 GiB or wherever pages do");
    constexpr std::uint64_t kSizes = 4 * kKiB | 64 * kKiB | 1 * kMiB | 16 * kMiB;
    if ((config.page_sizes & ~kSizes) != 0 || (config.page_sizes & kPageSize) == 0)
      return fail(EINVAL, "short descriptors map 4K, and perhaps 64K, 1M and 16M");
    return Shape{.top_level = 1,
                 .input_bits = config.input_bits,
                 .output_bits = config.output_bits,
                 .table_bits = config.table_bits,
                 .root_entries = 1u << (config.input_bits - hw::arm_v7s::kSectionLg2),
                 .page_sizes = config.page_sizes};
  }

  // The words of a small page, a large page and a section, without their addresses: leaf() takes one of them.
  static constexpr Result<std::uint64_t> attributes(const Config& /*config*/, Prot prot) {
    if (prot.coherent) return fail(EINVAL, "short descriptors cannot force snooping");
    if (!prot.read) return fail(EINVAL, "short descriptors can always be read");
    if (kMediaTek && (!prot.write || prot.execute)) return fail(EINVAL, "all that is mapped is read and written");
    using namespace hw::arm_v7s;
    return kSmallWord.put(common<kSmall>(prot) | kSmall["TYPE"].put(1)) |
           kLargeWord.put(common<kLarge>(prot) | kLarge["TYPE"].put(kTypeLarge)) |
           kSectionWord.put(common<kSection>(prot) | kSection["TYPE"].put(kTypeSection) |
                            kSection["NS"].put(kMediaTek));
  }

  static constexpr Entry leaf(std::uint64_t attributes, PhysAddr pa, unsigned level, unsigned lg2) {
    using namespace hw::arm_v7s;
    const std::uint64_t first = pa.value & ~((std::uint64_t{1} << lg2) - 1);
    std::uint64_t word = extension_bits(first);
    if (level > 0) {
      word |= kSectionWord.get(attributes) | kSection["ADDR"].in_place(first) |
              kSection["SUPER"].put(lg2 == kSupersectionLg2);
    } else {
      word |= (lg2 == kLargeLg2 ? kLargeWord : kSmallWord).get(attributes) | kSmall["ADDR"].in_place(first);
    }
    return static_cast<Entry>(word);
  }
  static constexpr Entry table(PhysAddr pa, unsigned /*level*/) {
    using namespace hw::arm_v7s;
    return static_cast<Entry>(kTable["ADDR"].in_place(pa.value) | kTable["TYPE"].put(kTypeTable) |
                              kTable["NS"].put(kMediaTek) | extension_bits(pa.value));
  }
  static constexpr bool is_table(Entry entry, unsigned /*level*/) {
    return hw::arm_v7s::kTable["TYPE"].get(entry) == hw::arm_v7s::kTypeTable;
  }
  static constexpr PhysAddr table_address(Entry entry, unsigned /*level*/) {
    return PhysAddr{hw::arm_v7s::kTable["ADDR"].in_place(entry) | extension(entry)};
  }
  static constexpr PhysAddr page_address(Entry entry, unsigned level) {
    const hw::Field address = level > 0 ? hw::arm_v7s::kSection["ADDR"] : hw::arm_v7s::kSmall["ADDR"];
    return PhysAddr{address.in_place(entry) | extension(entry)};
  }
  static constexpr unsigned page_lg2(Entry entry, unsigned level) {
    using namespace hw::arm_v7s;
    if (level > 0) return kSection["SUPER"].is_set(entry) ? kSupersectionLg2 : kSectionLg2;
    return kSmall["TYPE"].is_set(entry) ? kSmallLg2 : kLargeLg2;
  }

  static constexpr Prot prot(const Config& /*config*/, Entry entry, unsigned level) {
    using namespace hw::arm_v7s;
    if (kMediaTek) return {.read = true, .write = true};
    if (level > 0) return rights<kSection>(entry);
    return kSmall["TYPE"].is_set(entry) ? rights<kSmall>(entry) : rights<kLarge>(entry);
  }

  static constexpr auto kConfigurations = [] {
    if constexpr (kMediaTek) {
      return std::array{Config{.input_bits = 34, .output_bits = 35, .table_bits = 35},
                        Config{.input_bits = 32, .output_bits = 33}, Config{.input_bits = 34, .output_bits = 34},
                        Config{.page_sizes = 4 * kKiB | 1 * kMiB}};
    } else {
      return std::array{Config{}, Config{.input_bits = 30}, Config{.input_bits = 25},
                        Config{.page_sizes = 4 * kKiB | 64 * kKiB | 1 * kMiB}, Config{.page_sizes = 4 * kKiB}};
    }
  }();

 private:
  static constexpr hw::Layout kWords{"attributes",
                                     "three words without addresses",
                                     {
                                         {"SMALL", 15, 0, ""},
                                         {"LARGE", 31, 16, ""},
                                         {"SECTION", 51, 32, ""},
                                     }};
  static constexpr hw::Field kSmallWord = kWords["SMALL"], kLargeWord = kWords["LARGE"],
                             kSectionWord = kWords["SECTION"];
  // TEX 1 with C and B: normal memory, write-back and write-allocate; an index of its own where TEX is remapped.
  static constexpr std::uint64_t kTexWriteBack = 1;

  // What all leaves have, each in its own place.
  template <const auto& kLayout>
  static constexpr std::uint64_t common(Prot prot) {
    const std::uint64_t type = kLayout["B"].put(1) | kLayout["C"].put(1) | kLayout["TEX"].put(kTexWriteBack) |
                               kLayout["S"].put(1) | kLayout["nG"].put(1);
    if (kMediaTek) return type;
    return type | kLayout["AP0"].put(1) | kLayout["AP1"].put(1) | kLayout["AP2"].put(!prot.write) |
           kLayout["XN"].put(!prot.execute);
  }
  template <const auto& kLayout>
  static constexpr Prot rights(Entry entry) {
    return {.read = true, .write = !kLayout["AP2"].is_set(entry), .execute = !kLayout["XN"].is_set(entry)};
  }

  // ---- MediaTek's address bits 34:32 ----

  static constexpr std::uint64_t extension_bits(std::uint64_t address) {
    using hw::arm_v7s::kMediaTek;
    if constexpr (kKind == ShortDescriptors::arm) return 0;
    const auto bit = [address](unsigned n) { return address >> n & 1; };
    return kMediaTek["PA32"].put(bit(32)) | kMediaTek["PA33"].put(bit(33)) | kMediaTek["PA34"].put(bit(34));
  }
  static constexpr std::uint64_t extension(Entry entry) {
    using hw::arm_v7s::kMediaTek;
    if constexpr (kKind == ShortDescriptors::arm) return 0;
    return kMediaTek["PA32"].get(entry) << 32 | kMediaTek["PA33"].get(entry) << 33 | kMediaTek["PA34"].get(entry) << 34;
  }
};

using ArmV7s = ArmV7sFormat<ShortDescriptors::arm>;
using MtkV7s = ArmV7sFormat<ShortDescriptors::mediatek>;

static_assert(PageTableFormat<ArmV7s> && PageTableFormat<MtkV7s>);

}  // namespace softiommu::pt
