// SPDX-License-Identifier: BSD-3-Clause
// A log that the unit fills and software empties: events, and page requests (AMD 48882 2.5, 2.6).
//
// It holds one entry less than it has room for. What finds it full sets the overflow flag and stops the log, until
// software has cleared the flag and enabled the log anew. Locks of its own only: DMA threads write here, and handlers
// read, while a register write elsewhere in the unit waits for DMA.
#pragma once

#include <array>
#include <cstdint>

#include "base/mutex.h"
#include "base/types.h"
#include "hw/amd_iommu.h"

namespace softiommu {
class Memory;
}

namespace softiommu::amd_iommu {

class LogRing {
 public:
  using Words = std::array<std::uint64_t, hw::amd::kQueueEntryWords>;

  explicit LogRing(Memory& memory) : memory_(memory) {}

  void reset();
  void place(PhysAddr base, unsigned entries_lg2);
  void enable(bool on);
  std::uint64_t head() const;
  std::uint64_t tail() const;
  void set_head(std::uint64_t offset);
  void set_tail(std::uint64_t offset);

  struct Flags {
    bool overflow = false, interrupt = false, running = false;
  };
  Flags flags() const;
  // Software has seen these.
  void acknowledge(bool overflow, bool interrupt);

  // True: the interrupt flag was set by this.
  [[nodiscard]] bool append(const Words& words);

 private:
  std::uint64_t bytes() const REQUIRES(mutex_) { return std::uint64_t{hw::amd::kQueueEntryBytes} << entries_lg2_; }

  Memory& memory_;
  mutable Mutex mutex_;
  PhysAddr base_ GUARDED_BY(mutex_);
  unsigned entries_lg2_ GUARDED_BY(mutex_) = hw::amd::kLeastQueueLg2;
  std::uint64_t head_ GUARDED_BY(mutex_) = 0, tail_ GUARDED_BY(mutex_) = 0;  // offsets in bytes
  Flags flags_ GUARDED_BY(mutex_);
};

}  // namespace softiommu::amd_iommu
