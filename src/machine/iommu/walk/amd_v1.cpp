// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/amd_v1.h"

#include <bit>

#include "hw/amd_v1.h"
#include "machine/iommu/walk/words.h"

namespace softiommu::walk {

namespace {

using hw::amd_v1::kLeaf;
using hw::amd_v1::kTable;
constexpr unsigned kIndexBits = 9, kMostLevels = 6;

// The manual counts levels from 1; a Failure counts from 0.
constexpr unsigned span_lg2(unsigned level) { return kPageShift + kIndexBits * (level - 1); }
constexpr unsigned reach_lg2(unsigned level) { return level >= kMostLevels ? 64 : span_lg2(level + 1); }

// 0: the entry's size code is not one of this level.
unsigned page_lg2(std::uint64_t entry, unsigned level) {
  if (kLeaf["NEXT"].get(entry) == hw::amd_v1::kNextDefaultSize) return span_lg2(level);
  const unsigned coded = kPageShift + static_cast<unsigned>(std::countr_one(kLeaf["ADDR"].get(entry))) + 1;
  return coded > span_lg2(level) && coded < reach_lg2(level) ? coded : 0;
}

bool is_leaf(std::uint64_t entry) {
  const std::uint64_t next = kLeaf["NEXT"].get(entry);
  return next == hw::amd_v1::kNextDefaultSize || next == hw::amd_v1::kNextCodedSize;
}

// Of an entry that is present: is it one that the manual allows at this level?
bool is_well_formed(std::uint64_t entry, unsigned level) {
  if (is_leaf(entry))
    return level < kMostLevels && page_lg2(entry, level) != 0 && !hw::amd_v1::kLeafReserved.is_set(entry);
  return kTable["NEXT"].get(entry) < level && !hw::amd_v1::kTableReserved.is_set(entry);
}

}  // namespace

Outcome amd_v1(Memory& memory, const AmdV1& tables, Iova iova, Access access) {
  if ((iova.value & bits_from(reach_lg2(tables.mode))) != 0)
    return std::unexpected(Failure{.fault = Fault::input_range, .level = tables.mode - 1});
  Page page{.first = {}, .lg2 = 0, .read = true, .write = true, .execute = false};
  PhysAddr table = tables.root;
  for (unsigned level = tables.mode;;) {
    const std::uint64_t index = iova.value >> span_lg2(level) & low_bits(kIndexBits);
    const TableWord<std::uint64_t> place(memory, table + index * sizeof(std::uint64_t));
    const auto fail = [&](Fault fault, std::uint64_t word) {
      return std::unexpected(Failure{fault, level - 1, place.address(), word});
    };
    if (!place.exists()) return fail(Fault::memory, 0);
    const std::uint64_t entry = place.load();
    if (!kLeaf["PR"].is_set(entry)) return fail(Fault::not_present, entry);
    if (!is_well_formed(entry, level)) return fail(Fault::reserved, entry);
    const bool leaf = is_leaf(entry);
    const unsigned lg2 = leaf ? page_lg2(entry, level) : kPageShift;
    const std::uint64_t address = kLeaf["ADDR"].in_place(entry) & bits_from(lg2);
    if ((address & bits_from(tables.output_bits)) != 0) return fail(Fault::output_range, entry);
    // A table may skip levels if the input has zeros there (2.2.3).
    const auto next = static_cast<unsigned>(kTable["NEXT"].get(entry));
    if (!leaf && (iova.value & low_bits(span_lg2(level)) & bits_from(reach_lg2(next))) != 0)
      return fail(Fault::not_present, entry);

    const bool read = page.read && kLeaf["IR"].is_set(entry), write = page.write && kLeaf["IW"].is_set(entry);
    const bool dirties = leaf && tables.dirty && access == Access::write && write;
    const std::uint64_t marks = (tables.accessed ? kLeaf["A"].mask() : 0) | (dirties ? kLeaf["D"].mask() : 0);
    if (!place.set(entry, marks)) continue;  // changed under us: look again
    page.read = read;
    page.write = write;
    if (!leaf) {
      table = PhysAddr{address};
      level = next;
      continue;
    }
    page.first = PhysAddr{address};
    page.lg2 = lg2;
    page.write = write && (!tables.dirty || dirties || kLeaf["D"].is_set(entry));
    return page;
  }
}

}  // namespace softiommu::walk
