// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/vtd_second_stage.h"

#include "hw/vtd_second_stage.h"
#include "machine/iommu/walk/words.h"

namespace softiommu::walk {

namespace {

using hw::vtd_second_stage::kEntry;
constexpr unsigned kIndexBits = 9, kHighestLeaf = 2;

// A hint for device TLBs (VT-d 9.8): reserved in a unit without them.
constexpr hw::Field kTransientMapping{"TM", 62, 62, "device TLBs should not keep the translation"};

constexpr unsigned span_lg2(unsigned level) { return kPageShift + kIndexBits * level; }

bool is_leaf(std::uint64_t entry, unsigned level) {
  return level == 0 || (kEntry["PS"].is_set(entry) && level <= kHighestLeaf);
}

std::uint64_t reserved_bits(const VtdSecondStage& tables, unsigned level, bool leaf) {
  std::uint64_t reserved = bits_from(tables.host_address_width) & kEntry["ADDR"].mask();
  const bool large_allowed = level <= kHighestLeaf && level > 0 && (tables.large_pages >> (level - 1) & 1) != 0;
  if (level > 0 && !large_allowed) reserved |= kEntry["PS"].mask();
  if (leaf) reserved |= kEntry["ADDR"].mask() & low_bits(span_lg2(level));  // below a large page
  if (!leaf || !tables.snoop_control) reserved |= kEntry["SNP"].mask();
  if (!leaf || !tables.device_tlbs) reserved |= kTransientMapping.mask();
  return reserved;
}

}  // namespace

Outcome vtd_second_stage(Memory& memory, const VtdSecondStage& tables, Iova iova, Access access) {
  Page page{.first = {}, .lg2 = 0, .read = true, .write = true, .execute = false};
  PhysAddr table = tables.root;
  for (unsigned level = tables.levels - 1;;) {
    const std::uint64_t index = iova.value >> span_lg2(level) & low_bits(kIndexBits);
    const TableWord<std::uint64_t> place(memory, table + index * sizeof(std::uint64_t));
    const auto fail = [&](Fault fault, std::uint64_t word) {
      return std::unexpected(Failure{fault, level, place.address(), word});
    };
    if (!place.exists()) return fail(Fault::memory, 0);
    const std::uint64_t entry = place.load();
    const bool readable = kEntry["R"].is_set(entry), writable = kEntry["W"].is_set(entry);
    if (!readable && !writable) return fail(Fault::not_present, entry);
    const bool leaf = is_leaf(entry, level);
    if ((entry & reserved_bits(tables, level, leaf)) != 0) return fail(Fault::reserved, entry);

    const bool read = page.read && readable, write = page.write && writable;
    const bool dirties = leaf && access == Access::write && write;
    if (tables.accessed_dirty) {
      const std::uint64_t marks = kEntry["A"].mask() | (dirties ? kEntry["D"].mask() : 0);
      if (!place.set(entry, marks)) continue;  // changed under us: look again
    }
    page.read = read;
    page.write = write;
    table = PhysAddr{kEntry["ADDR"].in_place(entry)};
    if (!leaf) {
      --level;
      continue;
    }
    page.first = table;
    page.lg2 = span_lg2(level);
    page.write = write && (!tables.accessed_dirty || dirties || kEntry["D"].is_set(entry));
    return page;
  }
}

}  // namespace softiommu::walk
