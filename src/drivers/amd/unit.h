// SPDX-License-Identifier: BSD-3-Clause
// One AMD IOMMU as its driver sees it: registers, device table, command buffer, event log, domain ids (AMD 48882).
//
// Every command is followed by a COMPLETION_WAIT that stores: when a call returns, the hardware says that it is
// complete.
#pragma once

#include <array>
#include <atomic>
#include <bitset>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"
#include "core/driver.h"
#include "hw/amd_iommu.h"

namespace softiommu::amd {

class HostDomain;
using DomainId = std::uint16_t;

// Ids that no paging domain gets: 0 of what is blocked, 1 of all that passes.
inline constexpr DomainId kIdentityId = 1, kFirstDomainId = 2;

// What a device table entry says.
struct DeviceEntry {
  std::array<std::uint64_t, hw::amd::kDteWords> words{};
  static DeviceEntry blocked() { return {{hw::amd::kDte0["V"].mask()}}; }
};

// What the unit's caches know a translation by: a host table by its domain id, a guest table by the PASID, too.
struct Tag {
  DomainId id = 0;
  std::optional<Pasid> guest = std::nullopt;
};

class Unit {
 public:
  explicit Unit(const UnitHardware& hardware) : hardware_(hardware), name_(hardware.name) {}
  ~Unit();
  Unit(const Unit&) = delete;
  Unit& operator=(const Unit&) = delete;

  // Reads the features, makes the device table, the command buffer and the event log, turns translation on: every
  // device is blocked. ENODEV: the hardware does not answer, or has not what the driver needs; ENOMEM.
  Result<> start();

  // As Linux: commands that are not completed are logged, and that is all.
  void tolerate_timeouts() { tolerates_timeouts_ = true; }

  const std::string& name() const { return name_; }
  TableMemory& tables() const { return hardware_.tables; }
  std::uint64_t features() const { return features_; }
  std::uint64_t features2() const { return features2_; }

  bool has(hw::Field feature) const { return feature.is_set(features_); }
  unsigned host_levels() const { return hw::amd::most_host_levels(features_); }  // 0: no host tables
  unsigned guest_levels() const { return hw::amd::most_guest_levels(features_); }
  unsigned gcr3_levels() const { return 1 + static_cast<unsigned>(hw::amd::kFeatures["GLXSup"].get(features_)); }
  unsigned pasid_bits() const { return 1 + static_cast<unsigned>(hw::amd::kFeatures["PASmax"].get(features_)); }
  bool tracks_dirty() const { return host_levels() != 0 && has(hw::amd::kFeatures["HDSup"]); }
  bool guest_without_pasid() const { return guest_levels() != 0 && has(hw::amd::kFeatures["GIoSup"]); }
  bool has_hypertransport() const { return !hw::amd::kFeatures2["HTRangeIgnore"].is_set(features2_); }
  // What firmware had excluded from translation: it is mapped 1:1 instead, as Linux does.
  const std::optional<IovaRange>& excluded() const { return excluded_; }

  // Makes the device id translate as `wanted` says; returns when no DMA uses what was there before. Where more than the
  // first word changes, the device is blocked on the way. ENODEV: the hardware did not take the commands.
  Result<> set_entry(StreamId id, const DeviceEntry& wanted) EXCLUDES(table_mutex_);

  // ENOSPC: every id is used.
  Result<DomainId> allocate_id();
  void free_id(DomainId id);
  Result<> flush_id(DomainId id);
  Result<> invalidate_pages(const Tag& tag, IovaRange range, bool leaf_only);

  // For SharedTableDomain.
  Result<> flush_id(const HostDomain& /*domain*/, DomainId id) { return flush_id(id); }

  // The interrupt: reads and logs the events.
  void serve_interrupt();

 private:
  using Command = std::array<std::uint64_t, hw::amd::kQueueEntryWords>;
  MmioRegion& registers() { return hardware_.registers; }
  Result<> read_features();
  Result<> make_device_table();
  Result<> start_commands();
  Result<> start_events();
  void set_control(std::uint64_t bits);
  void clear_control(std::uint64_t bits);
  void write_control();

  Result<> submit(std::span<const Command> commands) EXCLUDES(queue_mutex_);
  Result<> submit(const Command& command) { return submit({&command, 1}); }
  Result<> put_command(const Command& command) REQUIRES(queue_mutex_);
  Result<> wait_for(std::uint64_t ticket) REQUIRES(queue_mutex_);
  void restart_commands() REQUIRES(queue_mutex_);
  void report(const std::uint64_t* event) REQUIRES(events_mutex_);

  UnitHardware hardware_;
  std::string name_;
  std::uint64_t features_ = 0, features2_ = 0, exclusion_base_ = 0;
  std::optional<IovaRange> excluded_;
  std::atomic<std::uint64_t> control_{0};
  bool tolerates_timeouts_ = false;

  Mutex table_mutex_;  // of changes of entries: devices may share an alias
  PhysAddr device_table_;

  Mutex queue_mutex_;
  PhysAddr queue_ GUARDED_BY(queue_mutex_), status_ GUARDED_BY(queue_mutex_);
  std::uint64_t tail_ GUARDED_BY(queue_mutex_) = 0, ticket_ GUARDED_BY(queue_mutex_) = 0;

  Mutex events_mutex_;
  PhysAddr events_ GUARDED_BY(events_mutex_);
  std::uint64_t read_ GUARDED_BY(events_mutex_) = 0, logged_ GUARDED_BY(events_mutex_) = 0;

  Mutex ids_mutex_;
  std::bitset<std::size_t{1} << hw::amd::kDomainIdBits> ids_ GUARDED_BY(ids_mutex_);
};

}  // namespace softiommu::amd
