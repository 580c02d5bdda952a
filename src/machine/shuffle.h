// SPDX-License-Identifier: BSD-3-Clause
// A fixed shuffle of a chunk's pages, for MemorySpec::fragmented: runs of 1, 2 or 4 pages that are not congruent to
// their virtual addresses. Groups of four pages, shifted by one page, trade places; some also turn inside. `pages` is
// how many the chunk has: a power of two, 2^8 to 2^18.
#pragma once

#include <cstdint>

namespace softiommu::shuffle {

inline constexpr std::uint32_t kGroupPages = 4;
inline constexpr std::uint32_t kFirstFactor = 0x9E37 | 1, kSecondFactor = 0x6D2B;  // the seed: any odd numbers

constexpr std::uint32_t inverse(std::uint32_t odd) {  // modulo 2^32, by Newton's iteration
  std::uint32_t x = odd;
  for (int i = 0; i < 5; ++i) x *= 2 - odd * x;
  return x;
}
constexpr std::uint32_t mix(std::uint32_t x) { return x ^ x >> 8; }  // its own inverse on 16 bits
constexpr std::uint32_t forth(std::uint32_t group, std::uint32_t groups) {
  return mix(group * kFirstFactor % groups) * kSecondFactor % groups;
}
constexpr std::uint32_t back(std::uint32_t group, std::uint32_t groups) {
  return mix(group * inverse(kSecondFactor) % groups) * inverse(kFirstFactor) % groups;
}
constexpr std::uint32_t turn(std::uint32_t shuffled_group) { return mix(shuffled_group) % kGroupPages; }

constexpr std::uint32_t to_physical(std::uint32_t page, std::uint32_t pages) {
  const std::uint32_t shifted = (page + 1) % pages;
  const std::uint32_t group = forth(shifted / kGroupPages, pages / kGroupPages);
  return group * kGroupPages + (shifted % kGroupPages ^ turn(group));
}
constexpr std::uint32_t to_virtual(std::uint32_t page, std::uint32_t pages) {
  const std::uint32_t group = page / kGroupPages;
  const std::uint32_t shifted = back(group, pages / kGroupPages) * kGroupPages + (page % kGroupPages ^ turn(group));
  return (shifted + pages - 1) % pages;
}

constexpr bool comes_back(std::uint32_t pages) {
  for (std::uint32_t page = 0; page < pages; page += 97)
    if (to_virtual(to_physical(page, pages), pages) != page) return false;
  return true;
}
static_assert(comes_back(1u << 13) && comes_back(1u << 18));

}  // namespace softiommu::shuffle
