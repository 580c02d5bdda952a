// SPDX-License-Identifier: BSD-3-Clause
// Addresses that cannot be mixed up, closed ranges of them, and access rights.
#pragma once

#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>

namespace softiommu {

template <class Tag>
struct Address {
  std::uint64_t value = 0;

  constexpr Address() = default;
  explicit constexpr Address(std::uint64_t v) : value(v) {}

  friend constexpr auto operator<=>(Address, Address) = default;
  friend constexpr Address operator+(Address a, std::uint64_t bytes) { return Address{a.value + bytes}; }
  friend constexpr Address operator-(Address a, std::uint64_t bytes) { return Address{a.value - bytes}; }
  friend constexpr std::uint64_t operator-(Address a, Address b) { return a.value - b.value; }
  constexpr Address& operator+=(std::uint64_t bytes) {
    value += bytes;
    return *this;
  }
};

using Iova = Address<struct IovaTag>;      // what a device puts on the bus
using PhysAddr = Address<struct PhysTag>;  // what the IOMMU makes of it: an address in simulated memory

// Closed: first..last, so that the top page of the address space fits without overflow. Never empty.
template <class A>
struct Range {
  A first, last;

  // `bytes` > 0, and first + bytes - 1 must not wrap.
  static constexpr Range of(A first, std::uint64_t bytes) { return {first, first + (bytes - 1)}; }
  friend constexpr bool operator==(Range, Range) = default;
  constexpr bool contains(A a) const { return first <= a && a <= last; }
  constexpr bool contains(Range other) const { return first <= other.first && other.last <= last; }
  constexpr bool overlaps(Range other) const { return first <= other.last && other.first <= last; }
  constexpr std::uint64_t bytes() const { return last - first + 1; }  // 0 for the whole 64-bit space
};

using IovaRange = Range<Iova>;
using PhysRange = Range<PhysAddr>;

// What a device may do with a mapping. A format that cannot express a combination refuses it, never widens it.
struct Prot {
  bool read = false;
  bool write = false;
  bool coherent = false;  // the IOMMU itself forces snooping for this page (VT-d SNP)
  bool execute = false;
  friend constexpr bool operator==(Prot, Prot) = default;
};

inline constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;
inline constexpr unsigned kPageShift = 12;
inline constexpr std::uint64_t kPageSize = std::uint64_t{1} << kPageShift;

constexpr bool is_aligned(std::uint64_t value, std::uint64_t power_of_two) { return (value & (power_of_two - 1)) == 0; }
constexpr std::uint64_t align_down(std::uint64_t value, std::uint64_t power_of_two) {
  return value & ~(power_of_two - 1);
}
constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t power_of_two) {
  return align_down(value + (power_of_two - 1), power_of_two);
}

// The id under which a device's transactions reach its IOMMU: PCI requester id, SMMU stream id.
using StreamId = std::uint32_t;
// Process address space id; 0 is "none" (requests without PASID).
using Pasid = std::uint32_t;

}  // namespace softiommu
