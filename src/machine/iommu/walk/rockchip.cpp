// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/rockchip.h"

#include "hw/rockchip_paging.h"
#include "machine/iommu/walk/entry32.h"

namespace softiommu::walk {

namespace {

constexpr unsigned kInputBits = 32, kDirectoryLg2 = 22, kPageLg2 = 12;

PhysAddr address_in(const RockchipTables& tables, std::uint32_t word) {
  return tables.wide ? hw::rockchip_v2::get_address(word) : PhysAddr{hw::rockchip_v1::kPte["ADDR"].in_place(word)};
}

}  // namespace

Outcome rockchip(Memory& memory, const RockchipTables& tables, Iova iova, Access access) {
  using hw::rockchip_v1::kDte, hw::rockchip_v1::kPte;  // flags stand at one place in both versions
  if (iova.value >> kInputBits != 0) return beyond_input();
  const Entry32 directory(memory, tables.root, iova.value >> kDirectoryLg2, 1);
  if (!directory.exists()) return directory.fault(Fault::memory);
  if (!kDte["VALID"].is_set(directory.word())) return directory.fault(Fault::not_present);

  const std::uint64_t index = iova.value >> kPageLg2 & low_bits(kDirectoryLg2 - kPageLg2);
  const Entry32 entry(memory, address_in(tables, directory.word()), index, 0);
  if (!entry.exists()) return entry.fault(Fault::memory);
  if (!kPte["VALID"].is_set(entry.word())) return entry.fault(Fault::not_present);
  return entry.serve({address_in(tables, entry.word()), kPageLg2, kPte["READ"].is_set(entry.word()),
                      kPte["WRITE"].is_set(entry.word()), false},
                     access);
}

}  // namespace softiommu::walk
