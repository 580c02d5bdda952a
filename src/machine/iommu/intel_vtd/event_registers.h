// SPDX-License-Identifier: BSD-3-Clause
// What a VT-d unit tells software: fault recording registers, fault status and the two events with their masks
// (VT-d 7.2, 7.3, 6.5.2.8). One leaf lock of its own, so that DMA threads can record faults and handlers can
// read them while a register write elsewhere in the unit waits for DMA.
//
// A function that answers `true` asks its caller to send the event's message, after all locks are dropped.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/mutex.h"
#include "base/types.h"
#include "hw/vtd.h"
#include "machine/iommu/unit.h"

namespace softiommu::vtd {

class EventRegisters {
 public:
  static constexpr unsigned kMostRecords = 16;

  explicit EventRegisters(unsigned records) : records_in_use_(records) {}
  void reset();

  // The ring of recorded faults; a fault that finds its register occupied sets PFO and is lost.
  [[nodiscard]] bool record(const Transaction& transaction, hw::vtd::FaultReason reason);
  [[nodiscard]] bool queue_error(hw::vtd::QueueError error);
  [[nodiscard]] bool wait_completed();  // of a wait descriptor with IF

  bool queue_stopped() const { return queue_stopped_.load(std::memory_order_acquire); }  // FSTS.IQE
  std::uint32_t fault_status() const;
  void clear_fault_status(std::uint32_t written);
  std::uint32_t fault_control() const;
  [[nodiscard]] bool set_fault_control(std::uint32_t written);
  std::uint32_t completion_status() const;
  void clear_completion_status(std::uint32_t written);
  std::uint32_t completion_control() const;
  [[nodiscard]] bool set_completion_control(std::uint32_t written);
  std::uint64_t queue_error_record() const;

  // The two words of a record.
  std::uint64_t record_low(unsigned index) const;
  std::uint64_t record_high(unsigned index) const;
  void clear_record(unsigned index, std::uint64_t written);

 private:
  struct Record {
    std::uint64_t low = 0, high = 0;
  };
  // One event: masked messages wait in `pending`.
  struct Event {
    bool masked = true, pending = false;
    bool raise();                      // true: send now
    bool set_masked(bool now_masked);  // true: send what waited
    std::uint32_t control() const;
  };

  std::uint32_t fault_status_locked() const REQUIRES(mutex_);
  bool any_record_locked() const REQUIRES(mutex_);
  void set_sticky_locked(std::uint32_t bits) REQUIRES(mutex_);
  // Software has dealt with everything: a message that still waits is void.
  void settle_locked() REQUIRES(mutex_);

  const unsigned records_in_use_;
  mutable Mutex mutex_;
  std::array<Record, kMostRecords> records_ GUARDED_BY(mutex_){};
  unsigned next_ GUARDED_BY(mutex_) = 0;           // register that takes the next fault
  unsigned first_pending_ GUARDED_BY(mutex_) = 0;  // FRI
  std::uint32_t sticky_ GUARDED_BY(mutex_) = 0;    // PFO, IQE, ICE, ITE
  hw::vtd::QueueError queue_error_ GUARDED_BY(mutex_) = hw::vtd::QueueError::none;
  std::atomic<bool> queue_stopped_{false};     // IQE of sticky_, for the queue, which asks at each descriptor
  bool completed_ GUARDED_BY(mutex_) = false;  // ICS.IWC
  Event fault_ GUARDED_BY(mutex_), completion_ GUARDED_BY(mutex_);
};

}  // namespace softiommu::vtd
