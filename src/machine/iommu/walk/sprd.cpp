// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/sprd.h"

#include "hw/sprd_paging.h"
#include "machine/iommu/walk/entry32.h"

namespace softiommu::walk {

namespace {
constexpr unsigned kPageLg2 = 12;
}

Outcome sprd(Memory& memory, const SprdTable& table, Iova iova, Access access) {
  using hw::sprd_paging::kEntry;
  const std::uint64_t index = (iova.value - table.window.value) >> kPageLg2;  // wraps far out below the window
  if (index >= table.pages) return beyond_input();
  const Entry32 entry(memory, table.first, index, 0);
  if (!entry.exists()) return entry.fault(Fault::memory);
  const std::uint64_t number = kEntry["PPN"].get(entry.word());
  if (number == 0) return entry.fault(Fault::not_present);
  return entry.serve({PhysAddr{number << kPageLg2}, kPageLg2, true, true, false}, access);
}

}  // namespace softiommu::walk
