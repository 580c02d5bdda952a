// SPDX-License-Identifier: BSD-3-Clause
// Arithmetic of a mapping before anything is touched: which page sizes it uses where, and how many tables it needs.
//
// Pages are chosen greedily: at each address the largest usable size that is aligned there and still fits. A size
// is usable when IOVA and physical address agree modulo it. So sizes rise towards the middle and fall again.
#pragma once

#include <bit>
#include <cstdint>

namespace softiommu::pt {

// Bits below n, for n < 64.
constexpr std::uint64_t below(unsigned n) { return (std::uint64_t{1} << n) - 1; }
// 2^0..2^n as a set of sizes.
constexpr std::uint64_t sizes_up_to(unsigned n) { return (std::uint64_t{2} << n) - 1; }

// The sizes that a mapping can use at all.
constexpr std::uint64_t usable_sizes(std::uint64_t page_sizes, std::uint64_t iova, std::uint64_t pa) {
  const std::uint64_t differ = iova ^ pa;
  return differ == 0 ? page_sizes : page_sizes & sizes_up_to(static_cast<unsigned>(std::countr_zero(differ)));
}

// log2 of the page at `iova` when `bytes` are left; the smallest size always fits.
constexpr unsigned page_lg2(std::uint64_t usable, std::uint64_t iova, std::uint64_t bytes) {
  std::uint64_t fits = usable & sizes_up_to(static_cast<unsigned>(std::bit_width(bytes)) - 1);
  if (iova != 0) fits &= sizes_up_to(static_cast<unsigned>(std::countr_zero(iova)));
  return static_cast<unsigned>(std::bit_width(fits)) - 1;
}

struct TableCount {
  std::uint64_t all = 0;
  std::uint64_t whole = 0;  // of those: all their entries become leaves of this mapping
  constexpr void add(TableCount other) {
    all += other.all;
    whole += other.whole;
  }
};

// Tables of 2^table_lg2 bytes that [first, end) touches, and those that it covers.
constexpr TableCount count_tables(std::uint64_t first, std::uint64_t end, unsigned table_lg2, bool leaves) {
  if (first >= end) return {};
  const std::uint64_t all = ((end - 1) >> table_lg2) - (first >> table_lg2) + 1;
  const std::uint64_t from = (first + below(table_lg2)) >> table_lg2, to = end >> table_lg2;
  return {all, leaves && to > from ? to - from : 0};
}

// Tables whose entries span 2^entry_lg2 bytes and which map [first, end) needs, if none of them exists.
constexpr TableCount tables_needed(std::uint64_t first, std::uint64_t end, std::uint64_t usable, unsigned entry_lg2,
                                   unsigned table_lg2) {
  const bool leaves = (usable >> entry_lg2 & 1) != 0;
  const std::uint64_t larger = usable & ~sizes_up_to(entry_lg2);
  if (larger != 0) {
    // The middle uses larger pages and needs no tables of this level: only what is left and right of it does.
    const auto larger_lg2 = static_cast<unsigned>(std::countr_zero(larger));
    const std::uint64_t middle = (first + below(larger_lg2)) & ~below(larger_lg2),
                        middle_end = end & ~below(larger_lg2);
    if (middle < middle_end) {
      TableCount both = count_tables(first, middle, table_lg2, leaves);
      both.add(count_tables(middle_end, end, table_lg2, leaves));
      return both;
    }
  }
  return count_tables(first, end, table_lg2, leaves);
}

}  // namespace softiommu::pt
