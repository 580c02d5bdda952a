// SPDX-License-Identifier: BSD-3-Clause
// Arithmetic of a mapping before anything is touched: which page sizes it uses where, and how many tables it needs.
//
// Pages are chosen greedily: at each address the largest usable size that is aligned there and still fits. A size
// is usable when IOVA and physical address agree modulo it. So sizes rise towards the middle and fall again.
#pragma once

#include <bit>
#include <cstdint>

namespace softiommu::pt {

// Bits below n.
constexpr std::uint64_t below(unsigned n) { return n < 64 ? (std::uint64_t{1} << n) - 1 : ~std::uint64_t{0}; }
// The number of the block of 2^n bytes that holds `at`.
constexpr std::uint64_t block(std::uint64_t at, unsigned n) { return n < 64 ? at >> n : 0; }
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

// Tables of 2^table_lg2 bytes that [first, last] touches, and those that it covers.
constexpr TableCount count_tables(std::uint64_t first, std::uint64_t last, unsigned table_lg2, bool leaves) {
  const std::uint64_t all = block(last, table_lg2) - block(first, table_lg2) + 1;
  const bool cut_left = (first & below(table_lg2)) != 0, cut_right = (last & below(table_lg2)) != below(table_lg2);
  const std::uint64_t cut = all == 1 ? cut_left || cut_right : std::uint64_t{cut_left} + cut_right;
  return {all, leaves ? all - cut : 0};
}

// Tables whose entries span 2^entry_lg2 bytes and which map [first, last] needs, if none of them exists. They hold the
// pages that are smaller than themselves (2^table_lg2) and are in nobody's table below.
constexpr TableCount tables_needed(std::uint64_t first, std::uint64_t last, std::uint64_t usable, unsigned entry_lg2,
                                   unsigned table_lg2) {
  const std::uint64_t larger = usable & ~below(table_lg2);
  const bool leaves = (usable & below(table_lg2) & ~below(entry_lg2)) != 0;
  if (larger == 0) return count_tables(first, last, table_lg2, leaves);
  // The middle uses larger pages and needs no tables of this level: only what is left and right of it does.
  const auto larger_lg2 = static_cast<unsigned>(std::countr_zero(larger));
  const std::uint64_t from = block(first, larger_lg2) + ((first & below(larger_lg2)) != 0),
                      to = block(last, larger_lg2) + ((last & below(larger_lg2)) == below(larger_lg2));
  if (from >= to) return count_tables(first, last, table_lg2, leaves);
  TableCount both;
  if (const std::uint64_t middle = from << larger_lg2; first < middle)
    both.add(count_tables(first, middle - 1, table_lg2, leaves));
  if (block(last, larger_lg2) >= to) both.add(count_tables(to << larger_lg2, last, table_lg2, leaves));
  return both;
}

}  // namespace softiommu::pt
