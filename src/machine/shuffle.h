// SPDX-License-Identifier: BSD-3-Clause
// A fixed shuffle of a chunk's pages, for MemorySpec::fragmented: runs of 1, 2 or 4 pages that are not congruent to
// their virtual addresses. Groups of four pages, shifted by one page, trade places; some also turn inside.
#pragma once

#include <cstdint>

namespace softiommu::shuffle {

inline constexpr std::uint32_t kChunkPages = std::uint32_t{1} << 18;  // of 1 GiB
inline constexpr std::uint32_t kGroupPages = 4, kGroups = kChunkPages / kGroupPages;
inline constexpr std::uint32_t kFirstFactor = 0x9E37 | 1, kSecondFactor = 0x6D2B;  // the seed: any odd numbers

constexpr std::uint32_t inverse(std::uint32_t odd) {  // modulo 2^16, by Newton's iteration
  std::uint32_t x = odd;
  for (int i = 0; i < 4; ++i) x *= 2 - odd * x;
  return x % kGroups;
}
constexpr std::uint32_t mix(std::uint32_t x) { return x ^ x >> 8; }  // its own inverse on 16 bits
constexpr std::uint32_t forth(std::uint32_t group) {
  return mix(group * kFirstFactor % kGroups) * kSecondFactor % kGroups;
}
constexpr std::uint32_t back(std::uint32_t group) {
  return mix(group * inverse(kSecondFactor) % kGroups) * inverse(kFirstFactor) % kGroups;
}
constexpr std::uint32_t turn(std::uint32_t shuffled_group) { return mix(shuffled_group) % kGroupPages; }

constexpr std::uint32_t to_physical(std::uint32_t page) {
  const std::uint32_t shifted = (page + 1) % kChunkPages;
  const std::uint32_t group = forth(shifted / kGroupPages);
  return group * kGroupPages + (shifted % kGroupPages ^ turn(group));
}
constexpr std::uint32_t to_virtual(std::uint32_t page) {
  const std::uint32_t group = page / kGroupPages;
  const std::uint32_t shifted = back(group) * kGroupPages + (page % kGroupPages ^ turn(group));
  return (shifted + kChunkPages - 1) % kChunkPages;
}

static_assert(kGroups == 1u << 16);
static_assert([] {
  for (std::uint32_t page = 0; page < kChunkPages; page += 997)
    if (to_virtual(to_physical(page)) != page) return false;
  return true;
}());

}  // namespace softiommu::shuffle
