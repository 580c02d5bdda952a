// SPDX-License-Identifier: BSD-3-Clause
// Every vector is masked after reset; a vector that fires while masked is pending until it is unmasked.
#include "machine/msix_table.h"

#include <algorithm>
#include <bit>

#include "hw/pci.h"

namespace softiommu {
namespace {

using namespace hw::pci::msix;

constexpr unsigned kSecondWord = 8;
constexpr std::uint64_t kMask = kEntryDataControl["MASK"].mask();
constexpr std::uint64_t kWritableSecondWord = kEntryDataControl.named();
constexpr std::uint64_t kWritableFirstWord = ~std::uint64_t{3};  // the message address is aligned to 4 bytes

std::uint64_t byte_at(std::uint64_t word, unsigned index) { return (word >> (8 * index)) & 0xff; }

}  // namespace

MsixTable::MsixTable(unsigned vectors) : bytes_(vectors * kEntryBytes), pending_((vectors + kPbaBits - 1) / kPbaBits) {
  reset();
}

std::uint64_t MsixTable::read_table(std::uint64_t offset, unsigned bytes) const {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < bytes; ++i) value |= std::uint64_t{bytes_[offset + i]} << (8 * i);
  return value;
}

void MsixTable::write_table(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  for (unsigned i = 0; i < bytes; ++i) {
    const std::uint64_t in_entry = (offset + i) % kEntryBytes;
    const std::uint64_t writable = in_entry < kSecondWord ? kWritableFirstWord : kWritableSecondWord;
    bytes_[offset + i] =
        static_cast<std::uint8_t>(byte_at(value, i) & byte_at(writable, static_cast<unsigned>(in_entry % kSecondWord)));
  }
}

std::uint64_t MsixTable::read_pba(std::uint64_t offset, unsigned bytes) const {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < bytes; ++i) {
    const std::uint64_t at = offset + i;
    value |= byte_at(pending_[at / sizeof(std::uint64_t)], static_cast<unsigned>(at % sizeof(std::uint64_t)))
             << (8 * i);
  }
  return value;
}

bool MsixTable::masked(unsigned vector) const {
  return (read_table(vector * kEntryBytes + kSecondWord, kSecondWord) & kMask) != 0;
}

void MsixTable::set_pending(unsigned vector) { pending_[vector / kPbaBits] |= std::uint64_t{1} << (vector % kPbaBits); }

std::optional<unsigned> MsixTable::deliverable() const {
  for (unsigned word = 0; word < pending_.size(); ++word)
    for (std::uint64_t bits = pending_[word]; bits != 0; bits &= bits - 1) {
      const unsigned vector = word * kPbaBits + static_cast<unsigned>(std::countr_zero(bits));
      if (!masked(vector)) return vector;
    }
  return std::nullopt;
}

std::optional<unsigned> MsixTable::take_deliverable() {
  const std::optional<unsigned> vector = deliverable();
  if (vector) pending_[*vector / kPbaBits] &= ~(std::uint64_t{1} << (*vector % kPbaBits));
  return vector;
}

void MsixTable::reset() {
  std::ranges::fill(bytes_, std::uint8_t{0});
  std::ranges::fill(pending_, std::uint64_t{0});
  for (std::size_t entry = 0; entry < bytes_.size(); entry += kEntryBytes)
    write_table(entry + kSecondWord, kSecondWord, kMask);
}

}  // namespace softiommu
