// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/s390.h"

#include "hw/s390_paging.h"
#include "machine/iommu/walk/words.h"

namespace softiommu::walk {

namespace {

using namespace hw::s390_paging;
constexpr unsigned kPageIndexBits = 8, kIndexBits = 11, kQuarterShift = kIndexBits - 2;
constexpr hw::Field kMustBeZero{"0", 11, 11, "of page-table entries"};

// Level 0 is the page table, level 1 the segment table.
constexpr unsigned span_lg2(unsigned level) {
  return level == 0 ? kPageShift : kPageShift + kPageIndexBits + kIndexBits * (level - 1);
}
std::uint64_t index_of(Iova iova, unsigned level) {
  return iova.value >> span_lg2(level) & low_bits(level == 0 ? kPageIndexBits : kIndexBits);
}

// A table of region or segment entries: may the quarter with this index be looked at?
bool has_quarter(std::uint64_t upper_entry, std::uint64_t index) {
  const std::uint64_t quarter = index >> kQuarterShift;
  return quarter >= kRegionEntry["TF"].get(upper_entry) && quarter <= kRegionEntry["TL"].get(upper_entry);
}

}  // namespace

Outcome s390(Memory& memory, const S390& tables, Iova iova, Access /*access*/) {
  const unsigned top = tables.root_type + 1;
  if (top < kTypeRegionFirst + 1 && iova.value >> span_lg2(top + 1) != 0)
    return std::unexpected(Failure{.fault = Fault::input_range, .level = top});
  bool writable = true;
  PhysAddr table = tables.root;
  for (unsigned level = top;; --level) {
    const TableWord<std::uint64_t, std::endian::big> place(memory,
                                                           table + index_of(iova, level) * sizeof(std::uint64_t));
    const auto fail = [&](Fault fault, std::uint64_t word) {
      return std::unexpected(Failure{fault, level, place.address(), word});
    };
    if (!place.exists()) return fail(Fault::memory, 0);
    const std::uint64_t entry = place.load();
    writable = writable && !kPageEntry["P"].is_set(entry);  // the same bit in all tables
    if (level == 0) {
      if (kPageEntry["I"].is_set(entry)) return fail(Fault::not_present, entry);
      if (kMustBeZero.is_set(entry)) return fail(Fault::reserved, entry);
      return Page{.first = PhysAddr{kPageEntry["ADDR"].in_place(entry)},
                  .lg2 = kPageShift,
                  .read = true,
                  .write = writable,
                  .execute = false};
    }
    if (kRegionEntry["I"].is_set(entry)) return fail(Fault::not_present, entry);
    if (kRegionEntry["TT"].get(entry) != level - 1) return fail(Fault::reserved, entry);
    if (level == 1) {
      if (kSegmentEntry["FC"].is_set(entry)) return fail(Fault::reserved, entry);
      table = PhysAddr{kSegmentEntry["ADDR"].in_place(entry)};
      continue;
    }
    if (!has_quarter(entry, index_of(iova, level - 1))) return fail(Fault::not_present, entry);
    table = PhysAddr{kRegionEntry["ADDR"].in_place(entry)};
  }
}

}  // namespace softiommu::walk
