// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/intel_vtd/event_registers.h"

namespace softiommu::vtd {
namespace {

using namespace hw::vtd;

constexpr std::uint32_t kStickyBits =
    static_cast<std::uint32_t>(kFsts["PFO"].mask() | kFsts["IQE"].mask() | kFsts["ICE"].mask() | kFsts["ITE"].mask());
constexpr std::uint32_t kStatusBits = kStickyBits | static_cast<std::uint32_t>(kFsts["PPF"].mask());

std::uint64_t describe_request(const Transaction& transaction, FaultReason reason) {
  const bool pasid = transaction.pasid != 0;
  return kFrcdHigh["SID"].put(transaction.stream & kFrcdHigh["SID"].max()) |
         kFrcdHigh["T1"].put(transaction.access == Access::read) | kFrcdHigh["PP"].put(pasid) |
         kFrcdHigh["PV"].put(transaction.pasid & kFrcdHigh["PV"].max()) |
         kFrcdHigh["FR"].put(static_cast<std::uint64_t>(reason)) | kFrcdHigh["F"].put(1);
}

}  // namespace

bool EventRegisters::Event::raise() {
  pending = masked;
  return !masked;
}

bool EventRegisters::Event::set_masked(bool now_masked) {
  masked = now_masked;
  const bool send = pending && !masked;
  if (send) pending = false;
  return send;
}

std::uint32_t EventRegisters::Event::control() const {
  static_assert(kFectl["IM"].mask() == kIectl["IM"].mask() && kFectl["IP"].mask() == kIectl["IP"].mask());
  return static_cast<std::uint32_t>(kFectl["IM"].put(masked) | kFectl["IP"].put(pending));
}

void EventRegisters::reset() {
  const MutexLock lock(mutex_);
  records_.fill({});
  next_ = first_pending_ = 0;
  set_sticky_locked(0);
  queue_error_ = QueueError::none;
  completed_ = false;
  fault_ = completion_ = {};
}

bool EventRegisters::any_record_locked() const {
  for (const Record& record : records_)
    if (kFrcdHigh["F"].is_set(record.high)) return true;
  return false;
}

std::uint32_t EventRegisters::fault_status_locked() const {
  std::uint32_t status = sticky_;
  if (any_record_locked()) status |= static_cast<std::uint32_t>(kFsts["PPF"].put(1) | kFsts["FRI"].put(first_pending_));
  return status;
}

void EventRegisters::set_sticky_locked(std::uint32_t bits) {
  sticky_ = bits;
  queue_stopped_.store(kFsts["IQE"].is_set(bits), std::memory_order_release);
}

void EventRegisters::settle_locked() {
  if ((fault_status_locked() & kStatusBits) == 0) fault_.pending = false;
}

bool EventRegisters::record(const Transaction& transaction, FaultReason reason) {
  const MutexLock lock(mutex_);
  // VT-d 7.2.1: while PFO is set nothing is recorded; an occupied register sets PFO.
  if (kFsts["PFO"].is_set(sticky_)) return false;
  const bool first_condition = (fault_status_locked() & kStatusBits) == 0;
  Record& record = records_[next_];
  if (kFrcdHigh["F"].is_set(record.high)) {
    sticky_ |= static_cast<std::uint32_t>(kFsts["PFO"].mask());
    return false;  // the occupied register is a pending condition already
  }
  if (!any_record_locked()) first_pending_ = next_;
  record.low = kFrcdLow["FI"].in_place(transaction.iova.value);
  record.high = describe_request(transaction, reason);
  next_ = (next_ + 1) % records_in_use_;
  // VT-d 7.3: a condition is new only if no other was pending.
  return first_condition && fault_.raise();
}

bool EventRegisters::queue_error(QueueError error) {
  const MutexLock lock(mutex_);
  const bool first_condition = (fault_status_locked() & kStatusBits) == 0;
  set_sticky_locked(sticky_ | static_cast<std::uint32_t>(kFsts["IQE"].mask()));
  queue_error_ = error;
  return first_condition && fault_.raise();
}

bool EventRegisters::wait_completed() {
  const MutexLock lock(mutex_);
  if (completed_) return false;  // software has not seen the last one yet
  completed_ = true;
  return completion_.raise();
}

std::uint32_t EventRegisters::fault_status() const {
  const MutexLock lock(mutex_);
  return fault_status_locked();
}

void EventRegisters::clear_fault_status(std::uint32_t written) {
  const MutexLock lock(mutex_);
  set_sticky_locked(sticky_ & ~(written & kStickyBits));
  if (!kFsts["IQE"].is_set(sticky_)) queue_error_ = QueueError::none;
  settle_locked();
}

std::uint32_t EventRegisters::fault_control() const {
  const MutexLock lock(mutex_);
  return fault_.control();
}

bool EventRegisters::set_fault_control(std::uint32_t written) {
  const MutexLock lock(mutex_);
  return fault_.set_masked(kFectl["IM"].is_set(written));
}

std::uint32_t EventRegisters::completion_status() const {
  const MutexLock lock(mutex_);
  return static_cast<std::uint32_t>(kIcs["IWC"].put(completed_));
}

void EventRegisters::clear_completion_status(std::uint32_t written) {
  const MutexLock lock(mutex_);
  if (!kIcs["IWC"].is_set(written)) return;
  completed_ = false;
  completion_.pending = false;
}

std::uint32_t EventRegisters::completion_control() const {
  const MutexLock lock(mutex_);
  return completion_.control();
}

bool EventRegisters::set_completion_control(std::uint32_t written) {
  const MutexLock lock(mutex_);
  return completion_.set_masked(kIectl["IM"].is_set(written));
}

std::uint64_t EventRegisters::queue_error_record() const {
  const MutexLock lock(mutex_);
  return kIqercd["IQEI"].put(static_cast<std::uint64_t>(queue_error_));
}

std::uint64_t EventRegisters::record_low(unsigned index) const {
  const MutexLock lock(mutex_);
  return records_[index].low;
}

std::uint64_t EventRegisters::record_high(unsigned index) const {
  const MutexLock lock(mutex_);
  return records_[index].high;
}

void EventRegisters::clear_record(unsigned index, std::uint64_t written) {
  const MutexLock lock(mutex_);
  if (!kFrcdHigh["F"].is_set(written)) return;
  records_[index].high &= ~kFrcdHigh["F"].mask();
  settle_locked();
}

}  // namespace softiommu::vtd
