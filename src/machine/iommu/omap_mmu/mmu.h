// SPDX-License-Identifier: BSD-3-Clause
// One OMAP MMU: registers, the TLB that software can load, table walks, faults.
//
// A request that faults is refused whatever BUS_ERR_BACK_EN says, since nothing here may wait for software. One leaf
// lock guards registers and TLB; a walk takes none.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "hw/omap_mmu.h"
#include "machine/iommu/unit.h"
#include "machine/iommu/walk/omap.h"

namespace softiommu::omap_mmu {

class Mmu {
 public:
  Mmu(Memory& memory, unsigned entries) : memory_(memory), entries_(entries) {}

  void reset();
  std::uint32_t read(std::uint32_t offset) const;
  // True: requests that are under way may still use what has changed; the caller waits for them.
  bool write(std::uint32_t offset, std::uint32_t value);

  struct Answer {
    std::optional<Translation> translation = std::nullopt;
    bool interrupt = false;  // a fault was recorded that is let through
    bool walked = false;     // it came from an entry that a walk has filled earlier
  };
  Answer translate(const Transaction& transaction);
  // Paranoid mode: the sentence that says how an entry that a walk has filled is wrong.
  std::optional<std::string> doubt(const Transaction& transaction, const Translation& cached) const;

 private:
  struct Entry {
    std::uint32_t cam = 0, ram = 0;
    bool walked = false;  // else software has loaded it, and may mean what it likes
  };
  struct Registers {
    std::uint32_t sysconfig = 0, irqstatus = 0, irqenable = 0, cntl = 0, fault_ad = 0, ttb = 0, cam = 0, ram = 0;
    std::uint32_t base = 0, victim = 0, gp = 0;
  };

  static bool translates(const Entry& entry, Iova iova);
  static Translation translation_of(const Entry& entry);
  void reset_locked() REQUIRES(mutex_);
  void write_lock(std::uint32_t value) REQUIRES(mutex_);
  template <typename Predicate>
  void flush(Predicate&& chosen) REQUIRES(mutex_);
  void fill(std::uint64_t epoch, Iova iova, const walk::Page& page) EXCLUDES(mutex_);
  bool record(Iova iova, hw::Field cause) EXCLUDES(mutex_);
  bool record_locked(Iova iova, hw::Field cause) REQUIRES(mutex_);

  Memory& memory_;
  const unsigned entries_;
  mutable Mutex mutex_;
  Registers registers_ GUARDED_BY(mutex_);
  std::array<Entry, hw::omap_mmu::kMostEntries> tlb_ GUARDED_BY(mutex_){};
  std::uint64_t epoch_ GUARDED_BY(mutex_) = 0;  // a walk that began before a flush fills nothing
};

}  // namespace softiommu::omap_mmu
