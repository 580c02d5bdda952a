// SPDX-License-Identifier: BSD-3-Clause
// `softiommu run --dma-sanitizer`: accesses of devices that corrupt memory, or fault, on real hardware.
//
//   use after unmap     the IOMMU refuses it: what used to be mapped there
//   never mapped, no right   refused as well
//   use after free      memory that the program gave up (munmap, madvise, free) while it was mapped for DMA
//   freed twice         a block that stays out of the heap because a device reaches it
//   memory is gone      translated, but no page of the program is there or it lacks the right
//   overlap             two devices write the same bytes, the second one since before the first one wrote
// How far a buffer reaches inside of its mapping nobody tells us: an access past a buffer's end is seen only where the
// mapping ends, or where the program's own AddressSanitizer has poisoned what follows.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "launch/dma_history.h"
#include "launch/memory_watch.h"
#include "launch/stack_traces.h"
#include "machine/dma_watch.h"
#include "machine/findings.h"

namespace softiommu {
class Memory;
}

namespace softiommu::launch {

class DmaSanitizer final : public DmaWatch, public MemoryWatch {
 public:
  // Answers the first poisoned byte of memory, nullptr: none (__asan_region_is_poisoned).
  using Poisoned = void* (*)(void* memory, std::size_t bytes);

  DmaSanitizer(Memory& memory, Findings& findings, StackTraces& stacks)
      : memory_(memory), findings_(findings), stacks_(stacks) {}

  void touches(const DmaTouch& touch, const std::byte* host) noexcept override;
  void refused(const DmaTouch& touch) noexcept override;
  void lost(const DmaTouch& touch) noexcept override;
  void mapped(const DmaMapping& mapping) noexcept override;
  void unmapping(std::uint64_t domain, IovaRange range) noexcept override;
  void attached(const AttachRecord& record) noexcept;

  void gave_up(std::uint64_t user, std::uint64_t bytes, const char* how) noexcept override;
  void moved(std::uint64_t from, std::uint64_t to, std::uint64_t bytes) noexcept override;
  bool keep_freed(std::uint64_t block, std::uint64_t bytes) noexcept override;
  std::uint64_t take_freed() noexcept override;

  void use_poison(Poisoned poisoned) { poisoned_ = poisoned; }

 private:
  struct Freed {
    std::uint64_t bytes;
    StackId by;
  };
  // Writes of one device that touch each other, with nothing between them.
  struct Written {
    std::uint64_t first, end;  // addresses in this process
    std::uint64_t until;       // in ticks
    Iova iova;
  };
  // What is known of the memory of one access, looked up in one go: devices wait for each other here.
  struct Seen {
    std::optional<MappingRecord> record;
    std::uint64_t block = 0;
    std::optional<Freed> freed;  // that block
    std::string other;           // the device that wrote there; "": none
    Iova other_iova;
  };
  void look(const DmaTouch& touch, const std::byte* host, Seen& seen) REQUIRES(mutex_);
  void look_for_freed(const DmaTouch& touch, Seen& seen) REQUIRES(mutex_);
  void look_for_overlap(const DmaTouch& touch, const std::byte* host, Seen& seen) REQUIRES(mutex_);
  void judge_memory(const DmaTouch& touch, const Seen& seen);
  void tell_overlap(const DmaTouch& touch, const Seen& seen);
  void judge_poison(const DmaTouch& touch, const std::byte* host);
  std::optional<Freed> freed(std::uint64_t block) const;
  void tell_freed_twice(std::uint64_t block, const Freed& before);
  std::string told_of(const MappingRecord& record) const;
  std::string stack(const char* what, StackId stack) const;

  static constexpr std::size_t kMostWritten = 64;  // of a device
  static constexpr std::uint64_t kMostFreedBytes = std::uint64_t{256} << 20;

  Memory& memory_;
  Findings& findings_;
  StackTraces& stacks_;
  Poisoned poisoned_ = nullptr;
  mutable Mutex mutex_;
  DmaHistory history_ GUARDED_BY(mutex_);
  std::map<std::uint64_t, Freed> freed_ GUARDED_BY(mutex_);  // by address
  std::deque<std::uint64_t> freed_order_ GUARDED_BY(mutex_);
  std::uint64_t freed_bytes_ GUARDED_BY(mutex_) = 0;
  std::map<std::string, std::deque<Written>, std::less<>> written_ GUARDED_BY(mutex_);  // by device, latest last
};

}  // namespace softiommu::launch
