// SPDX-License-Identifier: BSD-3-Clause
// The page request queue of a VT-d unit with its registers (VT-d 7.4, 11.4.12-19). One leaf lock of its own: DMA
// threads write here, and handlers read, while a register write elsewhere in the unit waits for DMA.
#pragma once

#include <array>
#include <cstdint>

#include "base/mutex.h"
#include "base/types.h"
#include "hw/vtd_scalable.h"

namespace softiommu {
class Memory;
}

namespace softiommu::vtd {

class PageRequestQueue {
 public:
  using Words = std::array<std::uint64_t, hw::vtd::kPageRequestWords>;

  explicit PageRequestQueue(Memory& memory) : memory_(memory) {}
  void reset();

  struct Outcome {
    bool queued = false;  // false: the queue is full, or was and software has not acknowledged it
    bool event = false;   // send the message
  };
  [[nodiscard]] Outcome append(const Words& words);

  std::uint64_t head() const;
  std::uint64_t tail() const;
  void set_place(std::uint64_t pqa);
  void set_head(std::uint64_t pqh);
  void set_tail(std::uint64_t pqt);
  std::uint32_t status() const;
  void clear_status(std::uint32_t written);
  std::uint32_t control() const;
  [[nodiscard]] bool set_control(std::uint32_t written);  // true: send the message that waited

 private:
  Memory& memory_;
  mutable Mutex mutex_;
  std::uint64_t place_ GUARDED_BY(mutex_) = 0, head_ GUARDED_BY(mutex_) = 0, tail_ GUARDED_BY(mutex_) = 0;
  bool pending_ GUARDED_BY(mutex_) = false, overflow_ GUARDED_BY(mutex_) = false;  // PRS
  bool masked_ GUARDED_BY(mutex_) = true, waits_ GUARDED_BY(mutex_) = false;       // PECTL
};

}  // namespace softiommu::vtd
