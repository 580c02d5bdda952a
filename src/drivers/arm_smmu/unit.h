// SPDX-License-Identifier: BSD-3-Clause
// One SMMUv1 or v2 as its driver sees it: what it can do, stream mapping entries, context banks, TLB maintenance
// (IHI 0062).
//
// A domain on a unit is a context bank; its number is the ASID (stage 1) or, plus one, the VMID (stage 2). A stream
// mapping entry belongs to a stream id, and devices that send under one id share it.
#pragma once

#include <atomic>
#include <bitset>
#include <cstdint>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"
#include "core/driver.h"
#include "drivers/arm_smmu/table.h"
#include "hw/arm_smmu.h"

namespace softiommu::arm_smmu {

class PagingDomain;
using UnitId = std::uint16_t;  // a context bank

// What the identification registers say, as far as it decides anything here.
struct Features {
  unsigned version = 0;
  TableShape table;  // what its paging domains are made of, at most
  unsigned stream_bits = 0, entries = 0;
  unsigned banks = 0, stage2_banks = 0, interrupts = 0;
  bool matching = false, extended_ids = false, wide_vmids = false, coherent = false;
};

// The registers of a context bank that translates; a bank that is off has none.
struct ContextBank {
  std::uint64_t cbar = 0, cba2r = 0, tcr = 0, tcr2 = 0, ttbr0 = 0, contextidr = 0, mair0 = 0, mair1 = 0, sctlr = 0;
  friend bool operator==(const ContextBank&, const ContextBank&) = default;
};

// Where a stream goes.
struct Target {
  hw::smmu::StreamType type = hw::smmu::StreamType::fault;
  UnitId bank = 0;
  friend bool operator==(const Target&, const Target&) = default;
};

class Unit {
 public:
  explicit Unit(const UnitHardware& hardware) : hardware_(hardware), name_(hardware.name) {}
  // Leaves the unit refusing every stream.
  ~Unit();
  Unit(const Unit&) = delete;
  Unit& operator=(const Unit&) = delete;

  // Reads the features, clears banks and entries, turns the unit on: every stream is refused.
  // ENODEV: the hardware does not answer, or has no tables that the driver makes; ENOMEM.
  Result<> start();

  // As Linux: a synchronisation that does not end is logged, and that is all.
  void tolerate_timeouts() { tolerates_timeouts_ = true; }

  const std::string& name() const { return name_; }
  TableMemory& tables() { return hardware_.tables; }
  const Features& features() const { return features_; }

  // The entry of a stream id; it refuses the stream if it is new. ENODEV: no such id, or no entry is free.
  Result<unsigned> take_entry(StreamId stream) EXCLUDES(mutex_);
  void give_entry(unsigned entry) EXCLUDES(mutex_);
  // Sends the entries there; returns when no DMA uses what was there before. ENODEV: the hardware does not answer.
  Result<> route(const std::vector<unsigned>& entries, const Target& target) EXCLUDES(mutex_);
  // Makes the bank of `domain` say what the domain is, if it does not. Streams that use the bank are refused
  // meanwhile. ENODEV: the hardware does not answer.
  Result<> set_bank(const PagingDomain& domain, UnitId bank) EXCLUDES(mutex_);

  // A free bank for the domain's stage. ENOSPC: all are in use; ENOMEM.
  Result<UnitId> allocate_id(const PagingDomain& domain) EXCLUDES(mutex_);
  void free_id(const PagingDomain& domain, UnitId bank) EXCLUDES(mutex_);
  Result<> flush_id(const PagingDomain& domain, UnitId bank);
  // Banks can pass from one to the other if both can use them.
  static bool same_ids(const PagingDomain& a, const PagingDomain& b);

  Result<> invalidate_pages(const PagingDomain& domain, UnitId bank, IovaRange range, bool leaf_only);

  // The interrupt: logs what faulted and clears it.
  void serve_interrupt(unsigned line);

 private:
  struct Entry {
    bool used = false;
    StreamId stream = 0;
    unsigned devices = 0;
    Target target{};
  };

  MmioRegion& registers() { return hardware_.registers; }
  void write(std::uint64_t offset, std::uint64_t value) {
    registers().write32(offset, static_cast<std::uint32_t>(value));
  }
  Result<> read_features();
  void read_table_shape(std::uint64_t idr0, std::uint64_t idr2);
  void reset();
  void write_entry(unsigned entry) REQUIRES(mutex_);
  void write_target(unsigned entry, const Target& target) REQUIRES(mutex_);
  void write_bank(UnitId bank, const ContextBank& words) REQUIRES(mutex_);

  Result<> synchronise(std::uint64_t sync, std::uint64_t status) EXCLUDES(sync_mutex_);
  Result<> synchronise_all();
  Result<> synchronise_bank(UnitId bank);
  Result<> invalidate_bank(unsigned stage, UnitId bank);

  void report_global_fault();
  void report_context_fault(unsigned bank);
  bool uses_line(unsigned bank, unsigned line);
  bool may_log() { return logged_.fetch_add(1, std::memory_order_relaxed) < kMostLines; }

  // A storm of faults must not fill the log.
  static constexpr std::uint64_t kMostLines = 100;

  UnitHardware hardware_;
  std::string name_;
  Features features_;
  hw::smmu::Pages pages_;
  bool started_ = false, tolerates_timeouts_ = false;

  Mutex mutex_;
  std::vector<Entry> entries_ GUARDED_BY(mutex_);
  std::vector<ContextBank> banks_ GUARDED_BY(mutex_);
  std::bitset<hw::smmu::kMostContextBanks> banks_used_ GUARDED_BY(mutex_);

  Mutex sync_mutex_;  // one synchronisation at a time, so that none waits for what others begin
  std::atomic<std::uint64_t> logged_{0};
};

}  // namespace softiommu::arm_smmu
