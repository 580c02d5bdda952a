// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/omap.h"

#include "hw/omap_paging.h"
#include "machine/iommu/walk/entry32.h"

namespace softiommu::walk {

namespace {

using namespace hw::omap_paging;

constexpr unsigned kInputBits = 32, kSectionLg2 = 20, kSupersectionLg2 = 24, kLargePageLg2 = 16, kSmallPageLg2 = 12;
constexpr unsigned kPagesLg2 = kSectionLg2 - kSmallPageLg2;  // of a second-level table

// Nothing in an entry forbids anything.
Page page_at(std::uint64_t address, unsigned lg2) { return {PhysAddr{address}, lg2, true, true, false}; }

Outcome second_level(Memory& memory, PhysAddr table, Iova iova, Access access) {
  const Entry32 entry(memory, table, iova.value >> kSmallPageLg2 & low_bits(kPagesLg2), 0);
  if (!entry.exists()) return entry.fault(Fault::memory);
  const std::uint64_t type = kLargePage["TYPE"].get(entry.word());
  if (type == kTypeLarge) return entry.serve(page_at(kLargePage["ADDR"].in_place(entry.word()), kLargePageLg2), access);
  if ((type & kTypeSmall) != 0)
    return entry.serve(page_at(kSmallPage["ADDR"].in_place(entry.word()), kSmallPageLg2), access);
  return entry.fault(Fault::not_present);
}

}  // namespace

Outcome omap(Memory& memory, const OmapTables& tables, Iova iova, Access access) {
  if (iova.value >> kInputBits != 0) return beyond_input();
  const Entry32 entry(memory, tables.root, iova.value >> kSectionLg2, 1);
  if (!entry.exists()) return entry.fault(Fault::memory);
  switch (kTable["TYPE"].get(entry.word())) {
    case kTypeTable:
      return second_level(memory, PhysAddr{kTable["ADDR"].in_place(entry.word())}, iova, access);
    case kTypeSection:
      if (kSection["SUPER"].is_set(entry.word()))
        return entry.serve(page_at(kSupersection["ADDR"].in_place(entry.word()), kSupersectionLg2), access);
      return entry.serve(page_at(kSection["ADDR"].in_place(entry.word()), kSectionLg2), access);
    default:
      return entry.fault(Fault::not_present);
  }
}

}  // namespace softiommu::walk
