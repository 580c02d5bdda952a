// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/walk/apple_dart.h"

#include "hw/apple_dart.h"
#include "machine/iommu/walk/words.h"

namespace softiommu::walk {

namespace {

namespace dart = hw::apple_dart;

// What a leaf of either version says.
struct Leaf {
  PhysAddr first;
  bool read = false, write = false;
  std::uint64_t start = 0, end = dart::kSubPageLast;  // units that may be accessed
};

PhysAddr table_address(unsigned version, std::uint64_t entry) {
  if (version == 1) return PhysAddr{dart::kTable1["ADDR"].in_place(entry)};
  return PhysAddr{dart::kTable2["ADDR"].in_place(entry) << dart::kAddressShift2};
}

Leaf leaf_of(unsigned version, std::uint64_t entry) {
  if (version == 1) {
    using dart::kLeaf1;
    Leaf leaf{PhysAddr{kLeaf1["ADDR"].in_place(entry)}, !kLeaf1["NO_READ"].is_set(entry),
              !kLeaf1["NO_WRITE"].is_set(entry)};
    if (!kLeaf1["SP_DIS"].is_set(entry)) {
      leaf.start = kLeaf1["SP_START"].get(entry);
      leaf.end = kLeaf1["SP_END"].get(entry);
    }
    return leaf;
  }
  using dart::kLeaf2;
  return {PhysAddr{kLeaf2["ADDR"].in_place(entry) << dart::kAddressShift2}, !kLeaf2["NO_READ"].is_set(entry),
          !kLeaf2["NO_WRITE"].is_set(entry), kLeaf2["SP_START"].get(entry), kLeaf2["SP_END"].get(entry)};
}

// The largest aligned piece around `offset` that lies in [first, last]; all are bytes of the page, `offset` is inside.
unsigned piece_lg2(std::uint64_t offset, std::uint64_t first, std::uint64_t last, unsigned page_lg2) {
  unsigned lg2 = 0;
  while (lg2 < page_lg2 && (offset & bits_from(lg2 + 1)) >= first && (offset | low_bits(lg2 + 1)) <= last) ++lg2;
  return lg2;
}

}  // namespace

Outcome apple_dart(Memory& memory, const AppleDart& tables, Iova iova, Access /*access*/) {
  const unsigned index_bits = tables.page_lg2 - 3;  // a table fills a page
  const auto span_lg2 = [&](unsigned level) { return tables.page_lg2 + index_bits * level; };
  const std::uint64_t root = iova.value >> span_lg2(tables.levels);
  if (root >= tables.roots.size()) return std::unexpected(Failure{.fault = Fault::input_range, .level = tables.levels});
  if (!tables.roots[root]) return std::unexpected(Failure{.fault = Fault::not_present, .level = tables.levels});

  PhysAddr table = *tables.roots[root];
  for (unsigned level = tables.levels - 1;; --level) {
    const std::uint64_t index = iova.value >> span_lg2(level) & low_bits(index_bits);
    const TableWord<std::uint64_t> place(memory, table + index * sizeof(std::uint64_t));
    const auto fail = [&](Fault fault, std::uint64_t word) {
      return std::unexpected(Failure{fault, level, place.address(), word});
    };
    if (!place.exists()) return fail(Fault::memory, 0);
    const std::uint64_t entry = place.load();
    if (!dart::kTable1["VALID"].is_set(entry)) return fail(Fault::not_present, entry);
    if (level > 0) {
      table = table_address(tables.version, entry);
      continue;
    }
    const Leaf leaf = leaf_of(tables.version, entry);
    const unsigned unit_lg2 = tables.page_lg2 - dart::kSubPageLg2;
    const std::uint64_t offset = iova.value & low_bits(tables.page_lg2), first = leaf.start << unit_lg2,
                        last = leaf.end << unit_lg2 | low_bits(unit_lg2);
    if (offset < first || offset > last) return fail(Fault::permission, entry);
    const unsigned lg2 = piece_lg2(offset, first, last, tables.page_lg2);
    return Page{.first = leaf.first + (offset & bits_from(lg2)),
                .lg2 = lg2,
                .read = leaf.read,
                .write = leaf.write,
                .execute = false};
  }
}

}  // namespace softiommu::walk
