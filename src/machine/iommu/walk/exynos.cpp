// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/exynos.h"

#include "hw/exynos_paging.h"
#include "machine/iommu/walk/entry32.h"

namespace softiommu::walk {

namespace {

using namespace hw::exynos_paging;

constexpr unsigned kInputBits = 32, kSectionLg2 = 20, kLargePageLg2 = 16, kSmallPageLg2 = 12;
constexpr unsigned kPagesLg2 = kSectionLg2 - kSmallPageLg2;  // of a second-level table

// v1: AP and APX, both or none of which may be said of a page that is present.
struct V1 {
  static std::uint64_t type(std::uint32_t word) { return hw::exynos_v1::kTable["TYPE"].get(word); }
  static PhysAddr table(std::uint32_t word) { return PhysAddr{hw::exynos_v1::kTable["ADDR"].in_place(word)}; }
  static Page section(std::uint32_t word) {
    using hw::exynos_v1::kSection;
    const bool access = kSection["AP"].is_set(word);
    return {PhysAddr{kSection["ADDR"].in_place(word)}, kSectionLg2, access, access && !kSection["APX"].is_set(word),
            false};
  }
  static Page large(std::uint32_t word) {
    using hw::exynos_v1::kLargePage;
    const bool access = kLargePage["AP"].is_set(word);
    return {PhysAddr{kLargePage["ADDR"].in_place(word)}, kLargePageLg2, access,
            access && !kLargePage["APX"].is_set(word), false};
  }
  static Page small(std::uint32_t word) {
    using hw::exynos_v1::kSmallPage;
    const bool access = kSmallPage["AP"].is_set(word);
    return {PhysAddr{kSmallPage["ADDR"].in_place(word)}, kSmallPageLg2, access,
            access && !kSmallPage["APX"].is_set(word), false};
  }
  static bool is_small(std::uint64_t type) { return (type & kTypeSmall) != 0; }
};

// v5 on: addresses shifted, a bit for each right.
struct V5 {
  static constexpr unsigned kShift = hw::exynos_v5::kAddressShift;
  static std::uint64_t type(std::uint32_t word) { return hw::exynos_v5::kTable["TYPE"].get(word); }
  static PhysAddr table(std::uint32_t word) { return PhysAddr{hw::exynos_v5::kTable["ADDR"].in_place(word) << kShift}; }
  static Page section(std::uint32_t word) {
    using hw::exynos_v5::kSection;
    return {PhysAddr{kSection["ADDR"].in_place(word) << kShift}, kSectionLg2, kSection["READ"].is_set(word),
            kSection["WRITE"].is_set(word), false};
  }
  static Page large(std::uint32_t word) {
    using hw::exynos_v5::kLargePage;
    return {PhysAddr{kLargePage["ADDR"].in_place(word) << kShift}, kLargePageLg2, kLargePage["READ"].is_set(word),
            kLargePage["WRITE"].is_set(word), false};
  }
  static Page small(std::uint32_t word) {
    using hw::exynos_v5::kSmallPage;
    return {PhysAddr{kSmallPage["ADDR"].in_place(word) << kShift}, kSmallPageLg2, kSmallPage["READ"].is_set(word),
            kSmallPage["WRITE"].is_set(word), false};
  }
  static bool is_small(std::uint64_t type) { return type == kTypeSmall; }
};

template <class Words>
Outcome second_level(Memory& memory, PhysAddr table, Iova iova, Access access) {
  const Entry32 entry(memory, table, iova.value >> kSmallPageLg2 & low_bits(kPagesLg2), 0);
  if (!entry.exists()) return entry.fault(Fault::memory);
  const std::uint64_t type = Words::type(entry.word());
  if (type == kTypeLarge) return entry.serve(Words::large(entry.word()), access);
  if (Words::is_small(type)) return entry.serve(Words::small(entry.word()), access);
  return entry.fault(type == 0 ? Fault::not_present : Fault::reserved);
}

template <class Words>
Outcome first_level(Memory& memory, PhysAddr root, Iova iova, Access access) {
  const Entry32 entry(memory, root, iova.value >> kSectionLg2, 1);
  if (!entry.exists()) return entry.fault(Fault::memory);
  switch (Words::type(entry.word())) {
    case kTypeTable:
      return second_level<Words>(memory, Words::table(entry.word()), iova, access);
    case kTypeSection:
      return entry.serve(Words::section(entry.word()), access);
    default:
      return entry.fault(Fault::not_present);
  }
}

}  // namespace

Outcome exynos(Memory& memory, const ExynosTables& tables, Iova iova, Access access) {
  if (iova.value >> kInputBits != 0) return beyond_input();
  return tables.wide ? first_level<V5>(memory, tables.root, iova, access)
                     : first_level<V1>(memory, tables.root, iova, access);
}

}  // namespace softiommu::walk
