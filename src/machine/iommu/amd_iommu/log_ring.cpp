// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/amd_iommu/log_ring.h"

#include <utility>

#include "machine/iommu/walk/words.h"

namespace softiommu::amd_iommu {

void LogRing::reset() {
  const MutexLock lock(mutex_);
  base_ = {};
  entries_lg2_ = hw::amd::kLeastQueueLg2;
  head_ = tail_ = 0;
  flags_ = {};
}

void LogRing::place(PhysAddr base, unsigned entries_lg2) {
  const MutexLock lock(mutex_);
  base_ = base;
  entries_lg2_ = entries_lg2;
}

void LogRing::enable(bool on) {
  const MutexLock lock(mutex_);
  flags_.running = on && !flags_.overflow;
}

std::uint64_t LogRing::head() const {
  const MutexLock lock(mutex_);
  return head_;
}

std::uint64_t LogRing::tail() const {
  const MutexLock lock(mutex_);
  return tail_;
}

void LogRing::set_head(std::uint64_t offset) {
  const MutexLock lock(mutex_);
  head_ = offset % bytes();
}

void LogRing::set_tail(std::uint64_t offset) {
  const MutexLock lock(mutex_);
  if (!flags_.running) tail_ = offset % bytes();
}

LogRing::Flags LogRing::flags() const {
  const MutexLock lock(mutex_);
  return flags_;
}

void LogRing::acknowledge(bool overflow, bool interrupt) {
  const MutexLock lock(mutex_);
  if (overflow) flags_.overflow = false;
  if (interrupt) flags_.interrupt = false;
}

bool LogRing::append(const Words& words) {
  const MutexLock lock(mutex_);
  if (!flags_.running) return false;
  const std::uint64_t next = (tail_ + hw::amd::kQueueEntryBytes) % bytes();
  if (next == head_) {
    flags_.overflow = true;
    flags_.running = false;
  } else {
    for (std::size_t i = 0; i < words.size(); ++i) {
      const walk::TableWord<std::uint64_t> word(memory_, base_ + tail_ + i * sizeof(std::uint64_t));
      if (word.exists()) word.store(words[i]);
    }
    tail_ = next;
  }
  return !std::exchange(flags_.interrupt, true);
}

}  // namespace softiommu::amd_iommu
