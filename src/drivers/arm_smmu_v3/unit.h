// SPDX-License-Identifier: BSD-3-Clause
// One SMMUv3 as its driver sees it: registers, stream table, command and event queues, ASIDs or VMIDs (IHI 0070).
//
// Stage 1 where the unit has it, else stage 2; stage 2 also below guests. Every command is followed by a CMD_SYNC: when
// a call returns, the hardware says that it is complete.
#pragma once

#include <array>
#include <atomic>
#include <bitset>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"
#include "core/driver.h"
#include "core/page_faults.h"
#include "drivers/arm_smmu_v3/stream_entry.h"
#include "hw/smmuv3.h"

namespace softiommu::arm_smmu_v3 {

class Master;
class PagingDomain;

// What translations are tagged with: an ASID (stage 1) or a VMID (stage 2).
struct TlbTag {
  unsigned stage;
  UnitId id;
};

// IDR0.STALL_MODEL. A choice: stalling must be turned off for each stream that shall not.
enum class StallModel : std::uint8_t { choice = 0, never = 1, always = 2 };

// What the identification registers say, as far as it decides anything here.
struct Features {
  unsigned stage = 0;        // that paging domains use
  unsigned output_bits = 0;  // at most 48: more needs the 64 KiB granule
  unsigned stream_bits = 0;
  unsigned asid_bits = 0, vmid_bits = 0, substream_bits = 0;
  unsigned command_lg2 = 0, event_lg2 = 0, page_request_lg2 = 0;  // entries of the queues
  bool coherent = false, dirty = false, ranges = false, messages = false;
  bool two_level = false, two_level_descriptors = false;
  bool nesting = false;  // guests can be given an SMMU: both stages, and a stage 2 that can force write-back
  StallModel stalls = StallModel::never;
  bool ats = false, pri = false;
};

// Ids from 1 on: 0 is nobody's.
class IdPool {
 public:
  void make(unsigned bits) EXCLUDES(mutex_);
  std::optional<UnitId> allocate() EXCLUDES(mutex_);
  void free(UnitId id) EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  std::bitset<65536> used_ GUARDED_BY(mutex_);
};

class Unit {
 public:
  explicit Unit(const UnitHardware& hardware) : hardware_(hardware), name_(hardware.name) {}
  // Turns the unit off, aborting everything, and frees its structures.
  ~Unit();
  Unit(const Unit&) = delete;
  Unit& operator=(const Unit&) = delete;

  // Reads the features, makes the stream table and the queues, turns translation on: every stream is aborted.
  // ENODEV: the hardware does not answer, or has not what the driver needs; ENOMEM.
  Result<> start();

  const std::string& name() const { return name_; }
  TableMemory& tables() { return hardware_.tables; }
  const Features& features() const { return features_; }
  static constexpr std::size_t kIdentificationWords = 8;
  std::array<std::uint32_t, kIdentificationWords> identification() const;  // IDR0 to IDR5, IIDR, AIDR
  unsigned input_bits(unsigned stage) const;  // of an address that paging domains of the stage may translate

  // The stream's entry exists afterwards, aborting if it is new. ENODEV: no such stream id; ENOMEM.
  Result<> make_stream(StreamId stream);
  // Makes the stream translate as `wanted` says; returns when no DMA uses what was there before. Where one word
  // decides, no DMA is refused on the way; else the stream is aborted for a moment. ENODEV: the hardware did not take
  // the commands; the stream is then aborted in memory, or as it was.
  Result<> set_stream(StreamId stream, const StreamEntry& wanted);
  // The descriptor of the PASID was written over, or any of the stream's.
  Result<> forget_descriptor(StreamId stream, std::optional<Pasid> pasid);

  // ENOSPC: every id is used.
  Result<UnitId> allocate_id(const PagingDomain& domain);
  void free_id(const PagingDomain& domain, UnitId id);
  Result<> flush_id(const PagingDomain& domain, UnitId id);
  // Ids can pass from one to the other only if they are of one kind.
  static bool same_ids(const PagingDomain& a, const PagingDomain& b);

  Result<> invalidate_id(TlbTag tag);
  Result<> invalidate_pages(TlbTag tag, IovaRange range, bool leaf_only);
  // Every translation of stage 1 over the stage 2 of this VMID.
  Result<> invalidate_guest(UnitId vmid);
  // What a device keeps in a TLB of its own; no PASID: of all of them. A range may grow to the next power of two.
  Result<> forget_device_translations(StreamId stream, std::optional<Pasid> pasid, IovaRange range);

  // Whose streams events and page requests are about. A master is added when it can be told, and removed before it
  // ends.
  void add_master(Master& master) EXCLUDES(masters_mutex_);
  void remove_master(const Master& master) EXCLUDES(masters_mutex_);
  Result<> resume(StreamId stream, std::uint32_t tag, bool retry);
  Result<> answer_page_request(StreamId stream, const PageRequest& request, PageAnswer answer);

  struct Command {
    std::uint64_t word0 = 0, word1 = 0;
  };
  Result<> submit(std::span<const Command> commands) EXCLUDES(queue_mutex_);
  Result<> submit(const Command& command) { return submit({&command, 1}); }

  // An interrupt: reads the events, the page requests, or acknowledges what went wrong.
  void serve_interrupt(unsigned line);

 private:
  MmioRegion& registers() { return hardware_.registers; }
  Result<> read_features();
  Result<> turn_off();
  Result<> make_stream_table();
  Result<> start_queues() EXCLUDES(queue_mutex_);
  Result<> start_event_queues() EXCLUDES(events_mutex_);
  Result<> enable(std::uint64_t cr0_bits);
  Result<> write_and_wait(std::uint32_t offset, std::uint32_t acknowledge, std::uint64_t value);

  Result<> put_command(const Command& command) REQUIRES(queue_mutex_);
  Result<> wait_for_queue(std::uint32_t index) REQUIRES(queue_mutex_);
  Command sync_command() REQUIRES(queue_mutex_);
  bool refused_a_command() REQUIRES(queue_mutex_);
  std::uint32_t consumed() REQUIRES(queue_mutex_);
  void acknowledge(std::uint32_t errors);

  Command for_stream(hw::smmuv3::Opcode opcode, StreamId stream) const;
  static Command for_pages(TlbTag tag, Iova first, bool leaf_only);
  std::uint64_t* entry_words(StreamId stream);
  IdPool& ids_of(const PagingDomain& domain);
  using EventWords = std::array<std::uint64_t, hw::smmuv3::kEventWords>;
  using PageRequestWords = std::array<std::uint64_t, hw::smmuv3::kPriWords>;
  bool next_event(EventWords& event) EXCLUDES(events_mutex_);
  bool next_page_request(PageRequestWords& request) EXCLUDES(events_mutex_);
  void serve_event(const EventWords& event) EXCLUDES(events_mutex_, masters_mutex_);
  void serve_page_request(const PageRequestWords& words) EXCLUDES(events_mutex_, masters_mutex_);
  void log_event(const EventWords& event) EXCLUDES(events_mutex_);
  void report_errors();

  UnitHardware hardware_;
  std::string name_;
  Features features_;
  std::uint64_t cr0_ = 0;

  PhysAddr stream_table_;
  unsigned table_bits_ = 0;       // log2 of the stream ids that it has room for
  std::vector<PhysAddr> leaves_;  // two levels: the tables of the second one

  Mutex queue_mutex_;
  PhysAddr queue_ GUARDED_BY(queue_mutex_), status_ GUARDED_BY(queue_mutex_);
  std::uint32_t produced_ GUARDED_BY(queue_mutex_) = 0;  // with the wrap bit
  std::uint32_t ticket_ GUARDED_BY(queue_mutex_) = 0;
  std::atomic<std::uint32_t> acknowledged_{0};  // GERRORN

  Mutex events_mutex_;
  PhysAddr events_ GUARDED_BY(events_mutex_);
  std::uint32_t read_ GUARDED_BY(events_mutex_) = 0;
  std::uint64_t logged_ GUARDED_BY(events_mutex_) = 0;
  PhysAddr page_requests_ GUARDED_BY(events_mutex_);
  std::uint32_t page_request_read_ GUARDED_BY(events_mutex_) = 0;

  Mutex masters_mutex_;
  std::map<StreamId, Master*> masters_ GUARDED_BY(masters_mutex_);

  IdPool asids_, vmids_;
};

}  // namespace softiommu::arm_smmu_v3
