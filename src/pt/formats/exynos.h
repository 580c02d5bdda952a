// SPDX-License-Identifier: BSD-3-Clause
// Exynos System MMU tables: 4096 sections of 1 MiB, tables of 256 pages of 4 KiB, and 16 neighbours that are one page
// of 64 KiB. Two formats: v1 to v3, and v5 on (36-bit physical addresses).
//
// v1 cannot express pages that are only written, so it refuses them (Linux maps them readable).
#pragma once

#include "hw/exynos_paging.h"
#include "pt/format.h"

namespace softiommu::pt {

struct ExynosConfig {
  std::uint64_t page_sizes = 4 * kKiB | 64 * kKiB | 1 * kMiB;
};

// Where addresses stand and how rights are written.
struct ExynosV1Words {
  static constexpr std::string_view kName = "exynos_v1";
  static constexpr unsigned kAddressShift = 0, kOutputBits = 32;
  static constexpr hw::Field kTable = hw::exynos_v1::kTable["ADDR"], kSection = hw::exynos_v1::kSection["ADDR"],
                             kLarge = hw::exynos_v1::kLargePage["ADDR"], kSmall = hw::exynos_v1::kSmallPage["ADDR"];
  static constexpr bool kWriteOnly = false;

  static constexpr std::uint64_t section_rights(Prot prot) {
    using hw::exynos_v1::kSection;
    return kSection["AP"].put(1) | kSection["APX"].put(!prot.write);
  }
  static constexpr std::uint64_t page_rights(Prot prot) {
    using hw::exynos_v1::kSmallPage;
    return kSmallPage["AP"].put(1) | kSmallPage["APX"].put(!prot.write);
  }
  static constexpr Prot section_prot(std::uint64_t word) {
    return {.read = true, .write = !hw::exynos_v1::kSection["APX"].is_set(word)};
  }
  static constexpr Prot page_prot(std::uint64_t word) {
    return {.read = true, .write = !hw::exynos_v1::kSmallPage["APX"].is_set(word)};
  }
};

struct ExynosV5Words {
  static constexpr std::string_view kName = "exynos_v5";
  static constexpr unsigned kAddressShift = hw::exynos_v5::kAddressShift, kOutputBits = 36;
  static constexpr hw::Field kTable = hw::exynos_v5::kTable["ADDR"], kSection = hw::exynos_v5::kSection["ADDR"],
                             kLarge = hw::exynos_v5::kLargePage["ADDR"], kSmall = hw::exynos_v5::kSmallPage["ADDR"];
  static constexpr bool kWriteOnly = true;

  static constexpr std::uint64_t section_rights(Prot prot) {
    using hw::exynos_v5::kSection;
    return kSection["READ"].put(prot.read) | kSection["WRITE"].put(prot.write);
  }
  static constexpr std::uint64_t page_rights(Prot prot) {
    using hw::exynos_v5::kSmallPage;
    return kSmallPage["READ"].put(prot.read) | kSmallPage["WRITE"].put(prot.write);
  }
  static constexpr Prot section_prot(std::uint64_t word) {
    using hw::exynos_v5::kSection;
    return {.read = kSection["READ"].is_set(word), .write = kSection["WRITE"].is_set(word)};
  }
  static constexpr Prot page_prot(std::uint64_t word) {
    using hw::exynos_v5::kSmallPage;
    return {.read = kSmallPage["READ"].is_set(word), .write = kSmallPage["WRITE"].is_set(word)};
  }
};

template <class Words>
struct Exynos {
  using Entry = std::uint32_t;
  static constexpr std::string_view kName = Words::kName;
  static constexpr unsigned kPageShift = 12;
  static constexpr std::array kIndexBits{8u, 12u};
  static constexpr bool kRepeats = true;

  using Config = ExynosConfig;

  static constexpr Result<Shape> shape(const Config& config) {
    constexpr std::uint64_t kSizes = 4 * kKiB | 64 * kKiB | 1 * kMiB;
    if ((config.page_sizes & ~kSizes) != 0 || (config.page_sizes & kPageSize) == 0)
      return fail(EINVAL, "Exynos pages are 4K, and perhaps 64K and 1M");
    return Shape{.top_level = 1,
                 .input_bits = 32,
                 .output_bits = Words::kOutputBits,
                 .table_bits = Words::kOutputBits,
                 .page_sizes = config.page_sizes};
  }

  // The rights of a page below, a section word above.
  static constexpr Result<std::uint64_t> attributes(const Config& /*config*/, Prot prot) {
    if (!prot.read && !(prot.write && Words::kWriteOnly)) return fail(EINVAL, "the entries cannot forbid reading");
    if (prot.coherent || prot.execute) return fail(EINVAL, "Exynos entries know neither snooping nor execution");
    const std::uint64_t section = kType.put(hw::exynos_paging::kTypeSection) | Words::section_rights(prot);
    return section << 32 | Words::page_rights(prot);
  }

  static constexpr Entry leaf(std::uint64_t attributes, PhysAddr pa, unsigned level, unsigned lg2) {
    const std::uint64_t address = pa.value >> Words::kAddressShift;
    if (level > 0) return static_cast<Entry>(attributes >> 32 | Words::kSection.in_place(address));
    const auto page = static_cast<Entry>(attributes);
    if (lg2 == kPageShift)
      return page | static_cast<Entry>(kType.put(hw::exynos_paging::kTypeSmall) | Words::kSmall.in_place(address));
    return page | static_cast<Entry>(kType.put(hw::exynos_paging::kTypeLarge) | Words::kLarge.in_place(address));
  }
  static constexpr Entry table(PhysAddr pa, unsigned /*level*/) {
    return static_cast<Entry>(kType.put(hw::exynos_paging::kTypeTable) |
                              Words::kTable.in_place(pa.value >> Words::kAddressShift));
  }
  static constexpr bool is_table(Entry entry, unsigned /*level*/) {
    return kType.get(entry) == hw::exynos_paging::kTypeTable;
  }
  static constexpr PhysAddr table_address(Entry entry, unsigned /*level*/) {
    return PhysAddr{Words::kTable.in_place(entry) << Words::kAddressShift};
  }
  static constexpr PhysAddr page_address(Entry entry, unsigned level) {
    return PhysAddr{(level > 0 ? Words::kSection : Words::kSmall).in_place(entry) << Words::kAddressShift};
  }
  static constexpr unsigned page_lg2(Entry entry, unsigned level) {
    if (level > 0) return kSectionLg2;
    return kType.get(entry) == hw::exynos_paging::kTypeLarge ? kLargePageLg2 : kPageShift;
  }
  static constexpr Prot prot(const Config& /*config*/, Entry entry, unsigned level) {
    return level > 0 ? Words::section_prot(entry) : Words::page_prot(entry);
  }

  static constexpr Config kConfigurations[] = {{}, {.page_sizes = 4 * kKiB}, {.page_sizes = 4 * kKiB | 1 * kMiB}};

 private:
  static constexpr unsigned kLargePageLg2 = 16, kSectionLg2 = 20;
  static constexpr hw::Field kType = hw::exynos_v1::kTable["TYPE"];  // at one place in all words of both versions
};

using ExynosV1 = Exynos<ExynosV1Words>;
using ExynosV5 = Exynos<ExynosV5Words>;

static_assert(PageTableFormat<ExynosV1>);
static_assert(PageTableFormat<ExynosV5>);

}  // namespace softiommu::pt
