// SPDX-License-Identifier: BSD-3-Clause
// A split virtqueue as the device sees it (virtio 2.7).
#include <atomic>

#include "machine/iommu/virtio_iommu/model.h"

namespace softiommu::virtio_iommu {

using namespace hw::virtio_iommu;

namespace {

// nullptr: no memory is there.
template <class Word>
Word* place(Memory& memory, std::uint64_t address) {
  if (address % sizeof(Word) != 0) return nullptr;
  TableMemory& tables = memory.tables();
  if (tables.contains(PhysAddr{address})) return tables.as<Word>(PhysAddr{address});
  return reinterpret_cast<Word*>(memory.host(PhysAddr{address}));
}

template <class Word>
std::optional<Word> load(Memory& memory, std::uint64_t address) {
  Word* const word = place<Word>(memory, address);
  if (word == nullptr) return std::nullopt;
  return std::atomic_ref<Word>(*word).load(std::memory_order_acquire);
}

template <class Word>
void store(Memory& memory, std::uint64_t address, Word value) {
  if (Word* const word = place<Word>(memory, address); word != nullptr)
    std::atomic_ref<Word>(*word).store(value, std::memory_order_release);
}

constexpr unsigned kIndexOffset = 2;  // of a ring's 16-bit index, behind its flags

}  // namespace

std::optional<Queue::Chain> Queue::take(Memory& memory, bool& sound) {
  sound = true;
  if (!ready || size == 0) return std::nullopt;
  const auto index = load<std::uint16_t>(memory, available + kIndexOffset);
  sound = index.has_value();
  if (!sound || *index == seen_) return std::nullopt;
  const auto head = load<std::uint16_t>(memory, available + kRingHeaderBytes + 2 * (seen_ % size));
  sound = head.has_value() && *head < size;
  if (!sound) return std::nullopt;
  ++seen_;
  Chain chain;
  chain.head = *head;
  std::uint32_t next = *head;
  for (std::uint32_t length = 0; length < size; ++length) {  // no longer than the table: it would be a circle
    const std::uint64_t at = descriptors + std::uint64_t{next} * kDescriptorBytes;
    const auto address = load<std::uint64_t>(memory, at), rest = load<std::uint64_t>(memory, at + 8);
    if (!address || !rest) break;
    const Piece piece{PhysAddr{*address}, static_cast<std::uint32_t>(kDescriptor1["LEN"].get(*rest))};
    if (!(kDescriptor1["WRITE"].is_set(*rest) ? chain.writable : chain.readable).add(piece)) break;
    if (!kDescriptor1["NEXT"].is_set(*rest)) return chain;
    next = static_cast<std::uint32_t>(kDescriptor1["INDEX"].get(*rest));
    if (next >= size) break;
  }
  sound = false;
  return std::nullopt;
}

void Queue::give_back(Memory& memory, const Chain& chain, std::uint32_t written) {
  const std::uint64_t entry = used + kRingHeaderBytes + std::uint64_t{kUsedEntryBytes} * (given_ % size);
  store<std::uint32_t>(memory, entry, chain.head);
  store<std::uint32_t>(memory, entry + 4, written);
  ++given_;
  store<std::uint16_t>(memory, used + kIndexOffset, given_);
}

// The driver may say that it looks for itself.
bool Queue::wants_interrupt(Memory& memory) const {
  constexpr std::uint16_t kNoInterrupt = 1;
  return (load<std::uint16_t>(memory, available).value_or(0) & kNoInterrupt) == 0;
}

}  // namespace softiommu::virtio_iommu
