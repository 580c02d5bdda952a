// SPDX-License-Identifier: BSD-3-Clause
// The GART of a Tegra20 memory controller as its driver sees it: one window, which holds one domain's pages or none,
// and a switch for each memory client.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"
#include "core/driver.h"
#include "drivers/shared_table.h"
#include "hw/tegra_gart.h"

namespace softiommu::tegra_gart {

class PagingDomain;

class Unit {
 public:
  explicit Unit(const UnitHardware& hardware) : hardware_(hardware), name_(hardware.name) {}

  // Empties the window and turns it on. ENODEV: it does not answer as it should.
  Result<> start();

  const std::string& name() const { return name_; }
  TableMemory& tables() { return hardware_.tables; }

  // The window is the only id there is. ENOSPC: another domain has it.
  Result<UnitId> allocate_id(const PagingDomain& domain) EXCLUDES(window_mutex_);
  void free_id(const PagingDomain& domain, UnitId id) EXCLUDES(window_mutex_);
  Result<> flush_id(const PagingDomain& domain, UnitId id) EXCLUDES(window_mutex_);
  static bool same_ids(const PagingDomain& /*a*/, const PagingDomain& /*b*/) { return true; }

  // The window shows `domain`. ENODEV: the registers do not keep it.
  Result<> load(const PagingDomain& domain) EXCLUDES(window_mutex_);
  // Pages of `domain` have changed; nothing happens if the window shows another.
  void refresh(const PagingDomain& domain, IovaRange range) EXCLUDES(window_mutex_);
  // Do requests of this client pass? ENODEV: the register does not keep it.
  Result<> let_pass(StreamId client, bool pass) EXCLUDES(clients_mutex_);

  // Logs what the memory controller says of a request to a page that is not there.
  void report_fault();

 private:
  MmioRegion& registers() { return hardware_.registers; }
  void write(std::uint32_t offset, std::uint64_t value) {
    registers().write32(offset, static_cast<std::uint32_t>(value));
  }
  void write_entry(Iova iova, std::uint32_t word) REQUIRES(window_mutex_);
  // Posted writes have arrived when a register has been read.
  void read_back() { registers().read32(hw::tegra_gart::kConfig.offset); }
  std::uint32_t fill(const PagingDomain* domain) REQUIRES(window_mutex_);

  UnitHardware hardware_;
  std::string name_;
  Mutex window_mutex_;
  bool taken_ GUARDED_BY(window_mutex_) = false;
  const PagingDomain* shown_ GUARDED_BY(window_mutex_) = nullptr;
  const PagingDomain* before_ GUARDED_BY(window_mutex_) = nullptr;  // comes back if the change is given up
  Mutex clients_mutex_;
  std::atomic<unsigned> faults_logged_{0};
};

}  // namespace softiommu::tegra_gart
