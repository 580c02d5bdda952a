// SPDX-License-Identifier: BSD-3-Clause
// Work on runs of table entries: fill, clear, look for something. AVX2 where the processor has it, chosen once.
//
// Hardware walkers and lock-free readers may look at the same entries meanwhile, so each entry changes with one
// aligned 64-bit store; the vector paths rely on x86 storing each aligned lane of a vector at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace softiommu::pt {

inline std::uint64_t load_entry(const std::uint64_t& entry) {
  return std::atomic_ref(const_cast<std::uint64_t&>(entry)).load(std::memory_order_acquire);
}
inline void store_entry(std::uint64_t& entry, std::uint64_t value) {
  std::atomic_ref(entry).store(value, std::memory_order_release);
}

namespace entries {

// Writes first, first + step, ... to `count` entries.
void fill(std::uint64_t* entries, std::size_t count, std::uint64_t first, std::uint64_t step);
// Is one of them in use?
bool any_in_use(const std::uint64_t* entries, std::size_t count);
// Zeroes them and says how many were in use.
std::size_t clear(std::uint64_t* entries, std::size_t count);
// Bit n: entries[n] & mask == value. For 64 entries.
std::uint64_t match64(const std::uint64_t* entries, std::uint64_t mask, std::uint64_t value);

// Both ways, for the tests that compare them.
namespace scalar {
void fill(std::uint64_t* entries, std::size_t count, std::uint64_t first, std::uint64_t step);
bool any_in_use(const std::uint64_t* entries, std::size_t count);
std::size_t clear(std::uint64_t* entries, std::size_t count);
std::uint64_t match64(const std::uint64_t* entries, std::uint64_t mask, std::uint64_t value);
}  // namespace scalar
namespace avx2 {
bool supported();
void fill(std::uint64_t* entries, std::size_t count, std::uint64_t first, std::uint64_t step);
bool any_in_use(const std::uint64_t* entries, std::size_t count);
std::size_t clear(std::uint64_t* entries, std::size_t count);
std::uint64_t match64(const std::uint64_t* entries, std::uint64_t mask, std::uint64_t value);
}  // namespace avx2

}  // namespace entries
}  // namespace softiommu::pt
