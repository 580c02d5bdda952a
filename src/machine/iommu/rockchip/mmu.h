// SPDX-License-Identifier: BSD-3-Clause
// One Rockchip MMU: registers, commands, translation cache, faults.
//
// The cache holds lines of 16 page-table words, valid or not, as they were when a translation needed one of them. So a
// page that is mapped beside one in use is not seen before its line is zapped. A request that faults ends refused,
// since nothing here may hang; what follows is refused too until software says PAGE_FAULT_DONE.
//
// Locks: mutex_ is a leaf of register writes and faults. Translations that hit or walk take none.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "hw/rockchip_mmu.h"
#include "machine/iommu/iotlb.h"
#include "machine/iommu/unit.h"
#include "machine/iommu/walk/rockchip.h"

namespace softiommu::rockchip {

class Mmu {
 public:
  Mmu(Memory& memory, bool wide) : memory_(memory), wide_(wide) { reset(); }

  void reset();
  std::uint32_t read(std::uint32_t offset) const;
  // True: requests that are under way may still use what has changed; the caller waits for them.
  bool write(std::uint32_t offset, std::uint32_t value);

  struct Answer {
    std::optional<Translation> translation = std::nullopt;
    bool interrupt = false;                            // a fault was recorded that is let through
    std::optional<Translation> cached = std::nullopt;  // what the cache said, if it said anything
  };
  Answer translate(const Transaction& transaction);
  // What the tables say now.
  walk::Outcome walk(Iova iova, Access access) const;
  // Paranoid mode: the sentence that says how a cached answer is wrong.
  std::optional<std::string> doubt(const Transaction& transaction, const Translation& cached) const;

 private:
  static constexpr std::uint64_t kSpace = 0;
  bool is_set(hw::Field status) const { return status.is_set(status_.load(std::memory_order_acquire)); }
  void set(hw::Field status, bool on) REQUIRES(mutex_);
  bool run(hw::rockchip_mmu::Command command) REQUIRES(mutex_);
  void reset_locked() REQUIRES(mutex_);
  bool wait_for_stall_to_end() const;
  void load_line(Iotlb::Ticket ticket, Iova iova);
  bool record(const Transaction& transaction, walk::Fault fault) EXCLUDES(mutex_);

  Memory& memory_;
  const bool wide_;  // v2
  std::atomic<std::uint32_t> status_{0}, dte_addr_{0};
  mutable Mutex mutex_;
  std::uint32_t fault_address_ GUARDED_BY(mutex_) = 0;
  std::uint32_t raw_ GUARDED_BY(mutex_) = 0, mask_ GUARDED_BY(mutex_) = 0, gating_ GUARDED_BY(mutex_) = 0;
  Iotlb cache_;
};

}  // namespace softiommu::rockchip
