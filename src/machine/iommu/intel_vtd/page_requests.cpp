// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/intel_vtd/page_requests.h"

#include "machine/iommu/walk/words.h"

namespace softiommu::vtd {

using namespace hw::vtd;

void PageRequestQueue::reset() {
  const MutexLock lock(mutex_);
  place_ = head_ = tail_ = 0;
  pending_ = overflow_ = waits_ = false;
  masked_ = true;
}

// VT-d 7.4: one entry stays free. The event is for the first request after software has cleared PPR.
PageRequestQueue::Outcome PageRequestQueue::append(const Words& words) {
  const MutexLock lock(mutex_);
  const std::uint64_t next = (tail_ + kPageRequestBytes) % page_queue_bytes(place_);
  const bool first = !pending_ && !overflow_;
  const bool full = next == head_;
  bool queued = !full && !overflow_;
  for (unsigned i = 0; i < words.size() && queued; ++i) {
    const PhysAddr place{kPqa["PQA"].in_place(place_) + tail_ + i * sizeof(std::uint64_t)};
    const walk::TableWord<std::uint64_t> word(memory_, place);
    queued = word.exists();
    if (queued) word.store(words[i]);
  }
  if (queued) {
    tail_ = next;
    pending_ = true;
  } else {
    overflow_ = true;
  }
  if (!first) return {queued, false};
  waits_ = masked_;
  return {queued, !masked_};
}

std::uint64_t PageRequestQueue::head() const {
  const MutexLock lock(mutex_);
  return head_;
}
std::uint64_t PageRequestQueue::tail() const {
  const MutexLock lock(mutex_);
  return tail_;
}
void PageRequestQueue::set_place(std::uint64_t pqa) {
  const MutexLock lock(mutex_);
  place_ = pqa;
}
void PageRequestQueue::set_head(std::uint64_t pqh) {
  const MutexLock lock(mutex_);
  head_ = kPqh["PQH"].in_place(pqh);
}
void PageRequestQueue::set_tail(std::uint64_t pqt) {
  const MutexLock lock(mutex_);
  tail_ = kPqt["PQT"].in_place(pqt);
}

std::uint32_t PageRequestQueue::status() const {
  const MutexLock lock(mutex_);
  return static_cast<std::uint32_t>(kPrs["PPR"].put(pending_) | kPrs["PRO"].put(overflow_));
}

void PageRequestQueue::clear_status(std::uint32_t written) {
  const MutexLock lock(mutex_);
  pending_ = pending_ && !kPrs["PPR"].is_set(written);
  overflow_ = overflow_ && !kPrs["PRO"].is_set(written);
  if (!pending_ && !overflow_) waits_ = false;
}

std::uint32_t PageRequestQueue::control() const {
  const MutexLock lock(mutex_);
  return static_cast<std::uint32_t>(kPectl["IM"].put(masked_) | kPectl["IP"].put(waits_));
}

bool PageRequestQueue::set_control(std::uint32_t written) {
  const MutexLock lock(mutex_);
  masked_ = kPectl["IM"].is_set(written);
  const bool send = waits_ && !masked_;
  if (send) waits_ = false;
  return send;
}

}  // namespace softiommu::vtd
