// SPDX-License-Identifier: BSD-3-Clause
// How a hardware walker reads and updates table words in memory: each one whole, in the table's byte order.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "machine/iommu/walk/walk.h"
#include "machine/memory.h"

namespace softiommu::walk {

// Where a word of a table is; there may be no memory.
template <class Word, std::endian kOrder = std::endian::little>
class TableWord {
 public:
  TableWord(Memory& memory, PhysAddr address) : address_(address) {
    const TableMemory& tables = memory.tables();
    place_ = tables.contains(address) ? tables.as<Word>(address) : reinterpret_cast<Word*>(memory.host(address));
  }

  bool exists() const { return place_ != nullptr; }
  PhysAddr address() const { return address_; }
  Word load() const { return ordered(std::atomic_ref(*place_).load(std::memory_order_acquire)); }
  // For what only hardware writes.
  void store(Word value) const { std::atomic_ref(*place_).store(ordered(value), std::memory_order_release); }
  // Hardware's update must not undo what software has changed meanwhile. On failure `expected` is what is there now.
  bool replace(Word& expected, Word wanted) const {
    Word found = ordered(expected);
    const bool done =
        std::atomic_ref(*place_).compare_exchange_strong(found, ordered(wanted), std::memory_order_acq_rel);
    expected = ordered(found);
    return done;
  }
  // Sets bits that hardware keeps, unless software has changed the word since it was `seen`: then false, and the walk
  // must look at it again. A word that has the bits is not written.
  bool set(Word seen, Word bits) const { return (seen & bits) == bits || replace(seen, seen | bits); }

 private:
  static Word ordered(Word word) { return kOrder == std::endian::native ? word : std::byteswap(word); }

  PhysAddr address_;
  Word* place_ = nullptr;
};

constexpr std::uint64_t low_bits(unsigned count) {
  return count >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}
constexpr std::uint64_t bits_from(unsigned lowest) { return ~low_bits(lowest); }
constexpr PhysAddr align_down(PhysAddr address, unsigned lg2) { return PhysAddr{address.value & ~low_bits(lg2)}; }

}  // namespace softiommu::walk
