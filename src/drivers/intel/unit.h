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
#include <map>
#include <string>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"
#include "core/driver.h"
#include "core/page_faults.h"
#include "drivers/intel/entries.h"
#include "hw/vtd_scalable.h"

namespace softiommu::intel {

class IntelDomain;

// What a context entry of scalable mode says.
struct ScalableContext {
  PhysAddr directory;
  unsigned directory_lg2 = hw::vtd::kLeastDirectoryLg2;
  bool device_tlb = false, pasids = false, page_requests = false;
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

  // Scalable mode is used where the unit has it, as Linux does.
  bool scalable() const { return hw::vtd::kEcap["SMTS"].is_set(ecap_); }
  bool first_stage() const { return scalable() && hw::vtd::kEcap["FSTS"].is_set(ecap_); }
  bool second_stage() const { return !scalable() || hw::vtd::kEcap["SSTS"].is_set(ecap_); }
  bool nests() const { return scalable() && hw::vtd::kEcap["NEST"].is_set(ecap_); }
  bool tracks_dirty() const {
    return scalable() && hw::vtd::kEcap["SSADS"].is_set(ecap_) && hw::vtd::kEcap["SMPWCS"].is_set(ecap_);
  }
  unsigned pasid_bits() const {  // 0: none
    return scalable() && hw::vtd::kEcap["PASID"].is_set(ecap_) ? hw::vtd::pasid_width(ecap_) : 0;
  }
  bool device_tlbs() const { return hw::vtd::kEcap["DT"].is_set(ecap_); }
  bool page_requests() const { return scalable() && hw::vtd::kEcap["PRS"].is_set(ecap_); }
  unsigned first_stage_levels() const { return hw::vtd::kCap["FS5LP"].is_set(cap_) && address_width() > 48 ? 5 : 4; }
  std::uint64_t first_stage_page_sizes() const {
    return kPageSize | 2 * kMiB | (hw::vtd::kCap["FS1GP"].is_set(cap_) ? kGiB : 0);
  }

  // The context table of the stream id's bus exists afterwards. ENOMEM.
  Result<> make_context_table(StreamId stream);
  // Changes the entry and invalidates whatever may hold the old one; returns when no DMA uses it any more. On the way
  // the device is blocked. ENODEV: the hardware did not complete the invalidation.
  Result<> set_context(StreamId stream, const ContextEntry& entry);

  // The same of scalable mode. An entry that is present for another device (an alias that both have) stays.
  Result<> set_scalable_context(StreamId stream, const ScalableContext& context);
  bool points_to(StreamId stream, PhysAddr directory);
  Result<> clear_scalable_context(StreamId stream);

  // ENOSPC: every id is used.
  Result<DomainId> allocate_id(const IntelDomain& domain);
  void free_id(const IntelDomain& domain, DomainId id);
  Result<> flush_id(const IntelDomain& /*domain*/, DomainId id) { return invalidate_domain(id); }
  static bool same_ids(const IntelDomain& /*a*/, const IntelDomain& /*b*/) { return true; }

  // All that is cached, of every device.
  Result<> invalidate_everything();
  Result<> invalidate_domain(DomainId id);
  Result<> invalidate_pages(DomainId id, IovaRange range, bool leaf_only);
  // Scalable mode: the PASID cache; translations of a first stage, all or some.
  Result<> invalidate_pasid_cache(DomainId id, Pasid pasid);
  Result<> invalidate_pasid(DomainId id, Pasid pasid);
  Result<> invalidate_pasid_pages(DomainId id, Pasid pasid, IovaRange range, bool leaf_only);
  // In a device's TLB: requests with the PASID; 0: without one.
  Result<> invalidate_device_tlb(StreamId stream, Pasid pasid, IovaRange range);
  // Some device behind the unit has a TLB.
  void note_device_tlb() { has_device_tlbs_.store(true, std::memory_order_release); }
  bool has_device_tlbs() const { return has_device_tlbs_.load(std::memory_order_acquire); }

  // Devices whose page requests are reported.
  Result<> add_device(Device& device) EXCLUDES(requests_mutex_);
  void remove_device(const Device& device) EXCLUDES(requests_mutex_);
  // Empties the page request queue.
  void report_page_requests() EXCLUDES(requests_mutex_);
  Result<> respond(StreamId stream, const PageRequest& request, PageAnswer answer);

  // A word that the hardware reads.
  static void store(std::uint64_t& word, std::uint64_t value) {
    std::atomic_ref<std::uint64_t>(word).store(value, std::memory_order_release);
  }

  // After a map on a unit with must_sync_after_map().
  Result<> sync_after_map(DomainId id, IovaRange range);

  bool flushes_write_buffer() const { return hw::vtd::kCap["RWBF"].is_set(cap_); }
  Result<> flush_write_buffer();

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
  Result<> iotlb_by_register(hw::vtd::Granularity granularity, DomainId id, std::uint64_t iva);
  std::uint64_t* context_words(StreamId stream);
  // The word of the root table that points to the stream id's context table.
  std::uint64_t& root_word(StreamId stream);
  Result<> start_page_requests();
  void report_page_request(const std::uint64_t* words) REQUIRES(requests_mutex_);

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
  std::atomic<bool> has_device_tlbs_{false};
  Mutex requests_mutex_;
  PhysAddr requests_ GUARDED_BY(requests_mutex_);
  std::map<StreamId, Device*> devices_ GUARDED_BY(requests_mutex_);
};

}  // namespace softiommu::intel
