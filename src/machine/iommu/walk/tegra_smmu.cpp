// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/tegra_smmu.h"

#include "hw/tegra_smmu_paging.h"
#include "machine/iommu/walk/entry32.h"

namespace softiommu::walk {

namespace {

using namespace hw::tegra_smmu_paging;

constexpr unsigned kInputBits = 32, kDirectoryLg2 = 22, kPageLg2 = 12;

// What the levels passed so far allow.
struct Rights {
  bool read = false, write = false, nonsecure = false;
  // The same bits in directory and page entries.
  void limit(std::uint32_t word) {
    read = read && kPte["READ"].is_set(word);
    write = write && kPte["WRITE"].is_set(word);
    nonsecure = nonsecure && kPte["NONSECURE"].is_set(word);
  }
  Page page(PhysAddr first, unsigned lg2) const { return {first, lg2, read && nonsecure, write && nonsecure, false}; }
};

bool maps_something(std::uint32_t word) { return kPte["READ"].is_set(word) || kPte["WRITE"].is_set(word); }
PhysAddr address_in(std::uint32_t word) { return PhysAddr{kPte["PFN"].get(word) << kPageLg2}; }

}  // namespace

Outcome tegra_smmu(Memory& memory, const TegraSmmuTables& tables, Iova iova, Access access) {
  if (iova.value >> kInputBits != 0) return beyond_input();
  Rights rights{tables.read, tables.write, tables.nonsecure};
  const Entry32 directory(memory, tables.root, iova.value >> kDirectoryLg2, 1);
  if (!directory.exists()) return directory.fault(Fault::memory);
  if (!maps_something(directory.word())) return directory.fault(Fault::not_present);
  rights.limit(directory.word());
  const PhysAddr below = address_in(directory.word());
  if (below.value >> tables.output_bits != 0) return directory.fault(Fault::output_range);
  if (!kPde["NEXT"].is_set(directory.word()))
    return directory.serve(rights.page(align_down(below, kDirectoryLg2), kDirectoryLg2), access);

  const std::uint64_t index = iova.value >> kPageLg2 & low_bits(kDirectoryLg2 - kPageLg2);
  const Entry32 entry(memory, below, index, 0);
  if (!entry.exists()) return entry.fault(Fault::memory);
  if (!maps_something(entry.word())) return entry.fault(Fault::not_present);
  rights.limit(entry.word());
  const PhysAddr page = address_in(entry.word());
  if (page.value >> tables.output_bits != 0) return entry.fault(Fault::output_range);
  return entry.serve(rights.page(page, kPageLg2), access);
}

}  // namespace softiommu::walk
