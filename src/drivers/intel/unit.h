// SPDX-License-Identifier: BSD-3-Clause
// One VT-d remapping unit as its driver sees it: registers, root and context tables, the invalidation queue, domain
// ids.
//
// Invalidations return when the hardware says that they are complete: by queue and wait descriptor where the unit
// has a queue, else by the registers.
#pragma once

#include <atomic>
#include <bitset>
#include <cstdint>
#include <string>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"
#include "core/driver.h"
#include "hw/vtd.h"

namespace softiommu::intel {

class PagingDomain;
using DomainId = std::uint16_t;

// Ids that are never given to a paging domain: 0 tags not-present entries on caching-mode hardware (VT-d 6.1),
// 1 is shared by everything that passes through.
inline constexpr DomainId kIdentityId = 1, kFirstDomainId = 2;

// What a context entry says.
struct ContextEntry {
  std::uint64_t word0 = 0, word1 = 0;
  static ContextEntry not_present() { return {}; }
  static ContextEntry pass_through(unsigned levels);
  static ContextEntry second_stage(PhysAddr table, unsigned levels, DomainId id);
  DomainId id() const { return static_cast<DomainId>(hw::vtd::kContextEntry1["DID"].get(word1)); }
  bool present() const { return hw::vtd::kContextEntry0["P"].is_set(word0); }
};

class Unit {
 public:
  explicit Unit(const UnitHardware& hardware) : hardware_(hardware), name_(hardware.name) {}
  ~Unit();
  Unit(const Unit&) = delete;
  Unit& operator=(const Unit&) = delete;

  // Reads the capabilities, makes the root table and the queue, turns translation on: every device is blocked.
  // ENODEV: the hardware does not answer; ENOMEM.
  Result<> start();

  const std::string& name() const { return name_; }
  TableMemory& tables() { return hardware_.tables; }
  std::uint64_t cap() const { return cap_; }
  std::uint64_t ecap() const { return ecap_; }

  unsigned address_width() const { return hw::vtd::guest_address_width(cap_); }
  unsigned largest_levels() const;  // 3 to 5: the deepest table that the unit walks and its width can use
  unsigned deepest_levels() const;  // what SAGAW names at most, as pass-through entries must (VT-d 9.3)
  bool walks_levels(unsigned levels) const { return hw::vtd::supports_levels(cap_, levels); }
  std::uint64_t page_sizes() const;
  bool snoop_control() const { return hw::vtd::kEcap["SC"].is_set(ecap_); }
  bool pass_through() const { return hw::vtd::kEcap["PT"].is_set(ecap_); }
  bool caching_mode() const { return hw::vtd::kCap["CM"].is_set(cap_); }
  // Table changes from not-present to present need an invalidation or a write-buffer flush.
  bool must_sync_after_map() const { return caching_mode() || hw::vtd::kCap["RWBF"].is_set(cap_); }

  // The context table of the stream id's bus exists afterwards. ENOMEM.
  Result<> make_context_table(StreamId stream);
  // Changes the entry and invalidates whatever may hold the old one; returns when no DMA uses it any more. On the way
  // the device is blocked. ENODEV: the hardware did not complete the invalidation.
  Result<> set_context(StreamId stream, const ContextEntry& entry);

  // ENOSPC: every id is used.
  Result<DomainId> allocate_id(const PagingDomain& domain);
  void free_id(const PagingDomain& domain, DomainId id);
  Result<> flush_id(const PagingDomain& /*domain*/, DomainId id) { return invalidate_domain(id); }
  static bool same_ids(const PagingDomain& /*a*/, const PagingDomain& /*b*/) { return true; }

  Result<> invalidate_domain(DomainId id);
  Result<> invalidate_pages(DomainId id, IovaRange range, bool leaf_only);
  // After a map on a unit with must_sync_after_map().
  Result<> sync_after_map(DomainId id, IovaRange range);

  // Reads, clears and logs what the fault recording registers hold.
  void report_faults();

 private:
  struct Descriptor {
    std::uint64_t word0 = 0, word1 = 0;
  };
  MmioRegion& registers() { return hardware_.registers; }
  Result<> command(std::uint32_t bit, std::uint32_t status_bit);
  Result<> start_queue();
  Result<> wait_clear(std::uint32_t offset, std::uint64_t bits);
  Result<> submit(Descriptor descriptor) EXCLUDES(queue_mutex_);
  void pass_over_descriptor() REQUIRES(queue_mutex_);
  Result<> invalidate_context(DomainId id, StreamId stream);
  Result<> invalidate_everything();
  Result<> iotlb_by_register(hw::vtd::Granularity granularity, DomainId id, std::uint64_t iva);
  std::uint64_t* context_words(StreamId stream);

  UnitHardware hardware_;
  std::string name_;
  std::uint64_t cap_ = 0, ecap_ = 0;
  std::uint32_t global_state_ = 0;  // the GCMD bits that stay on
  PhysAddr root_;
  Mutex queue_mutex_;
  PhysAddr queue_ GUARDED_BY(queue_mutex_);
  PhysAddr status_ GUARDED_BY(queue_mutex_);
  std::uint32_t tail_ GUARDED_BY(queue_mutex_) = 0;
  std::uint32_t ticket_ GUARDED_BY(queue_mutex_) = 0;
  bool queued_ = false;
  Mutex ids_mutex_;
  std::bitset<65536> ids_ GUARDED_BY(ids_mutex_);
  std::atomic<std::uint64_t> faults_logged_{0};
};

}  // namespace softiommu::intel
