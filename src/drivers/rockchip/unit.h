// SPDX-License-Identifier: BSD-3-Clause
// One Rockchip IOMMU as its driver sees it: one to four MMUs that are always programmed alike.
//
// The hardware cannot refuse by itself, so "blocked" is an empty page directory. Between two settings that translate
// the MMUs are stalled, never reset: a reset would let DMA pass untranslated until paging is on again.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/types.h"
#include "core/domain.h"
#include "core/driver.h"
#include "hw/rockchip_mmu.h"

namespace softiommu::rockchip {

class Unit {
 public:
  Unit(const UnitHardware& hardware, unsigned mmus) : hardware_(hardware), name_(hardware.name), mmus_(mmus) {}
  ~Unit();
  Unit(const Unit&) = delete;
  Unit& operator=(const Unit&) = delete;

  // How many MMUs answer in the window.
  static unsigned count_mmus(MmioRegion& registers);
  // Resets the MMUs, finds out which format they read, and blocks. ENODEV, ETIMEDOUT, EFAULT: they do not answer as
  // they should; ENOMEM.
  Result<> start();

  const std::string& name() const { return name_; }
  TableMemory& tables() { return hardware_.tables; }
  bool wide() const { return wide_; }  // v2: 40-bit addresses

  // ETIMEDOUT, EFAULT (the words of Linux's driver): a handshake fails, or the directory is not kept.
  Result<> switch_to(const Domain* to);
  bool is_on(const Domain* domain) const { return now_ == setting_for(domain); }
  bool block();
  // All addresses pass, without handshakes.
  bool let_pass();

  // After pages were mapped or unmapped.
  void zap(IovaRange range);
  // The interrupt of one MMU: logs what it says and lets it go on.
  void report_fault(unsigned mmu);

 private:
  using Command = hw::rockchip_mmu::Command;
  // What all MMUs are set to.
  struct Setting {
    bool paging = true;
    std::uint32_t directory = 0;  // as DTE_ADDR has it
    friend bool operator==(const Setting&, const Setting&) = default;
  };

  std::uint32_t read(unsigned mmu, std::uint32_t offset);
  void write(unsigned mmu, std::uint32_t offset, std::uint64_t value);
  void write_all(std::uint32_t offset, std::uint64_t value);
  void command(Command command);
  template <typename Predicate>
  bool all_reach(Predicate&& predicate);
  Result<> reset();
  Result<> stall();
  Result<> resume();
  Result<> set_paging(bool on);
  Result<> set_directory(std::uint32_t directory);
  Result<> move_to(const Setting& wanted);
  bool force(const Setting& wanted);
  Setting setting_for(const Domain* domain) const;

  UnitHardware hardware_;
  std::string name_;
  const unsigned mmus_;
  bool wide_ = false;
  PhysAddr empty_;  // the directory of nothing
  Setting now_{.paging = false};
  std::atomic<unsigned> faults_logged_{0};
};

}  // namespace softiommu::rockchip
