// SPDX-License-Identifier: BSD-3-Clause
// The TLB of a device (PCIe 5.0 chapter 10): translations that the device asked its IOMMU for (ATS), which it keeps
// until an invalidation names them, and pages that it asks to be made present (PRI).
//
// A port with one asks it instead of the unit. What it keeps nothing else evicts but its own size, so that a forgotten
// device-TLB invalidation really leaves a stale translation. Requests with a PASID are kept apart by it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/futex_lock.h"
#include "machine/iommu/iotlb.h"
#include "machine/iommu/unit.h"

namespace softiommu {

class DeviceTlb {
 public:
  // Of one function. `woken`: an answer has come, and an access that waited for a page may be tried again. Any thread.
  explicit DeviceTlb(std::function<void()> woken) : woken_(std::move(woken)) {}

  // As the function's ATS and PRI controls say. Off forgets everything.
  void enable(bool translates, bool requests_pages);
  bool is_on() const { return on_.load(std::memory_order_acquire); }
  bool requests_pages() const { return requests_pages_.load(std::memory_order_acquire); }
  // The page request interface has stopped: a request was answered with a failure.
  bool has_failed() const EXCLUDES(mutex_);
  void forget();
  // After fork in the child, whose other threads are gone.
  void forget_thread() { mutex_.reset(); }

  struct Answer {
    std::optional<Translation> translation;  // nullopt: refused, or
    bool page_requested = false;             // asked for
  };
  Answer translate(IommuUnit& unit, const Transaction& transaction);

  // From the unit. False: the function's TLB is off, and it does not answer such messages.
  bool invalidate(const DeviceTlbInvalidation& what);
  bool answer(const PageResponse& response) EXCLUDES(mutex_);

 private:
  // One page request that was sent, until the access that needs it has been tried again.
  struct Request {
    enum class State : std::uint8_t { outstanding, granted, denied };
    Pasid pasid;
    std::uint64_t page;
    bool write;
    std::uint16_t group;
    State state = State::outstanding;
    unsigned tries = 1;
  };
  // An answer of success may be late or wrong; a device does not ask for one page for ever.
  static constexpr unsigned kMostTries = 8;
  static constexpr std::uint16_t kGroups = 512;  // a group index has 9 bits

  bool request(IommuUnit& unit, const Transaction& transaction) EXCLUDES(mutex_);
  std::optional<PageRequestMessage> next_request(const Transaction& transaction, bool& waits) REQUIRES(mutex_);
  void drop_request(const Transaction& transaction) EXCLUDES(mutex_);

  std::function<void()> woken_;
  std::atomic<bool> on_{false}, requests_pages_{false};
  Iotlb kept_;  // spaces are PASIDs
  mutable FutexLock mutex_;
  std::vector<Request> requests_ GUARDED_BY(mutex_);
  std::uint16_t next_group_ GUARDED_BY(mutex_) = 0;
  bool failed_ GUARDED_BY(mutex_) = false;
};

}  // namespace softiommu
