// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/mtk_v1.h"

#include "hw/mtk_v1_paging.h"
#include "machine/iommu/walk/entry32.h"

namespace softiommu::walk {

namespace {
constexpr unsigned kInputBits = 32, kPageLg2 = 12;
}

Outcome mtk_v1(Memory& memory, const MtkV1Table& table, Iova iova, Access access) {
  using hw::mtk_v1_paging::kEntry;
  if (iova.value >> kInputBits != 0) return beyond_input();
  const Entry32 entry(memory, table.first, iova.value >> kPageLg2, 0);
  if (!entry.exists()) return entry.fault(Fault::memory);
  if (!kEntry["VALID"].is_set(entry.word())) return entry.fault(Fault::not_present);
  return entry.serve({PhysAddr{kEntry["ADDR"].in_place(entry.word())}, kPageLg2, true, true, false}, access);
}

}  // namespace softiommu::walk
