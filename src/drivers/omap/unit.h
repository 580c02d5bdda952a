// SPDX-License-Identifier: BSD-3-Clause
// The MMUs of one OMAP client as its driver sees them: all of them switch, or none.
//
// The hardware cannot refuse by itself; "blocked" is an MMU that is on, walks no tables and has an empty TLB. Entries
// that firmware has loaded and preserved would survive a global flush, so a switch flushes them one by one.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"
#include "core/domain.h"
#include "core/driver.h"
#include "hw/omap_mmu.h"

namespace softiommu::omap {

class Unit {
 public:
  explicit Unit(const UnitHardware& hardware)
      : hardware_(hardware), name_(hardware.name), mmus_(count_mmus(hardware.registers)) {}

  // Resets the MMUs and blocks. ENODEV: they do not answer as they should.
  Result<> start();

  unsigned index() const { return hardware_.index; }
  const std::string& name() const { return name_; }
  TableMemory& tables() { return hardware_.tables; }

  Result<> switch_to(const Domain* to);
  bool is_on(const Domain* domain) const { return now_ == setting_for(domain); }
  bool block();

  // After pages were unmapped.
  void flush(IovaRange range) EXCLUDES(cam_mutex_);
  // The interrupt of one MMU: logs what it says.
  void report_fault(unsigned mmu);

 private:
  // What all MMUs are set to.
  struct Setting {
    std::uint32_t control = 0;  // MMU_CNTL
    std::uint32_t table = 0;    // MMU_TTB
    friend bool operator==(const Setting&, const Setting&) = default;
  };

  static unsigned count_mmus(MmioRegion& registers);
  static Setting setting_for(const Domain* domain);
  std::uint32_t read(unsigned mmu, std::uint32_t offset);
  void write(unsigned mmu, std::uint32_t offset, std::uint64_t value);
  Result<> reset(unsigned mmu);
  unsigned count_entries(unsigned mmu);
  // Is every entry invalid afterwards?
  bool flush_all(unsigned mmu) EXCLUDES(cam_mutex_);
  Result<> set(unsigned mmu, const Setting& wanted);
  bool force(unsigned mmu, const Setting& wanted);

  UnitHardware hardware_;
  std::string name_;
  const unsigned mmus_;
  unsigned entries_ = 0;  // of each TLB
  Setting now_;
  Mutex cam_mutex_;  // CAM and LOCK, which say what the next command is about
  std::atomic<unsigned> faults_logged_{0};
};

}  // namespace softiommu::omap
