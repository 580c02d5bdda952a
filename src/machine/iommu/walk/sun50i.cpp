// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/sun50i.h"

#include "hw/sun50i_paging.h"
#include "machine/iommu/walk/entry32.h"

namespace softiommu::walk {

namespace {
constexpr unsigned kInputBits = 32, kDirectoryLg2 = 20, kPageLg2 = 12;
}

Outcome sun50i(Memory& memory, const Sun50iTables& tables, Iova iova, Access access) {
  using namespace hw::sun50i_paging;
  if (iova.value >> kInputBits != 0) return beyond_input();
  const Entry32 directory(memory, tables.root, iova.value >> kDirectoryLg2, 1);
  if (!directory.exists()) return directory.fault(Fault::memory);
  if (kDte["TYPE"].get(directory.word()) != kTypeTable) return directory.fault(Fault::not_present);

  const std::uint64_t index = iova.value >> kPageLg2 & low_bits(kDirectoryLg2 - kPageLg2);
  const Entry32 entry(memory, PhysAddr{kDte["ADDR"].in_place(directory.word())}, index, 0);
  if (!entry.exists()) return entry.fault(Fault::memory);
  if (!kPte["VALID"].is_set(entry.word())) return entry.fault(Fault::not_present);
  const Authority rights = tables.authorities[kPte["ACI"].get(entry.word())];
  return entry.serve({PhysAddr{kPte["ADDR"].in_place(entry.word())}, kPageLg2, rights.read, rights.write, false},
                     access);
}

}  // namespace softiommu::walk
