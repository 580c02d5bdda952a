// SPDX-License-Identifier: BSD-3-Clause
// One SMMUv3 as its driver sees it: registers, stream table, command and event queues, ASIDs or VMIDs (IHI 0070).
//
// Stage 1 where the unit has it, else stage 2. Every command is followed by a CMD_SYNC: when a call returns, the
// hardware says that it is complete.
#pragma once

#include <array>
#include <atomic>
#include <bitset>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"
#include "core/driver.h"
#include "hw/smmuv3.h"

namespace softiommu::arm_smmu_v3 {

class PagingDomain;
using UnitId = std::uint16_t;  // an ASID, or a VMID

// The words of a stream table entry that this driver uses; the others stay 0.
struct StreamEntry {
  static constexpr unsigned kWords = 4;
  std::uint64_t words[kWords]{};
};

// What the identification registers say, as far as it decides anything here.
struct Features {
  unsigned stage = 0;        // that paging domains use
  unsigned output_bits = 0;  // at most 48: more needs the 64 KiB granule
  unsigned stream_bits = 0;
  unsigned id_bits = 0;                     // of an ASID (stage 1) or a VMID (stage 2)
  unsigned command_lg2 = 0, event_lg2 = 0;  // entries of the queues
  bool coherent = false, dirty = false, ranges = false, messages = false, two_level = false;
  bool stall_choice = false;  // STALL_MODEL 0: stalling must be turned off for each stream
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
  unsigned input_bits() const;  // of an address that its paging domains may translate

  // The stream's entry exists afterwards, aborting if it is new. ENODEV: no such stream id; ENOMEM.
  Result<> make_stream(StreamId stream);
  // Makes the stream translate as `wanted` says; returns when no DMA uses what was there before. Between
  // configurations that use the same words differently the stream is aborted on the way. ENODEV: the hardware did not
  // take the commands; the stream is then aborted in memory, or as it was.
  Result<> set_stream(StreamId stream, const StreamEntry& wanted);
  // A context descriptor that the stream does not use yet was written over.
  Result<> forget_descriptor(StreamId stream);

  // What an entry must say.
  static StreamEntry abort();
  StreamEntry bypass() const;
  StreamEntry stage1(PhysAddr descriptor) const;
  StreamEntry stage2(const PagingDomain& domain, UnitId id) const;

  // ENOSPC: every id is used.
  Result<UnitId> allocate_id(const PagingDomain& domain);
  void free_id(const PagingDomain& domain, UnitId id);
  Result<> flush_id(const PagingDomain& /*domain*/, UnitId id) { return invalidate_id(id); }
  // Ids can pass from one to the other only if they are of one kind.
  static bool same_ids(const PagingDomain& a, const PagingDomain& b);

  Result<> invalidate_id(UnitId id);
  Result<> invalidate_pages(UnitId id, IovaRange range, bool leaf_only);

  // The interrupt: reads and logs the events, acknowledges what went wrong.
  void serve_interrupt();

 private:
  struct Command {
    std::uint64_t word0 = 0, word1 = 0;
  };
  MmioRegion& registers() { return hardware_.registers; }
  Result<> read_features();
  Result<> turn_off();
  Result<> make_stream_table();
  Result<> start_queues() EXCLUDES(queue_mutex_);
  Result<> enable(std::uint64_t cr0_bits);
  Result<> write_and_wait(std::uint32_t offset, std::uint32_t acknowledge, std::uint64_t value);

  Result<> submit(std::span<const Command> commands) EXCLUDES(queue_mutex_);
  Result<> submit(const Command& command) { return submit({&command, 1}); }
  Result<> put_command(const Command& command) REQUIRES(queue_mutex_);
  Result<> wait_for_queue(std::uint32_t index) REQUIRES(queue_mutex_);
  Command sync_command() REQUIRES(queue_mutex_);
  bool refused_a_command() REQUIRES(queue_mutex_);
  std::uint32_t consumed() REQUIRES(queue_mutex_);
  void acknowledge(std::uint32_t errors);

  Command for_stream(hw::smmuv3::Opcode opcode, StreamId stream) const;
  Command for_pages(UnitId id, Iova first, bool leaf_only) const;
  std::uint64_t* entry_words(StreamId stream);
  Result<> store_entry_words(StreamId stream, const StreamEntry& wanted);
  void report_events();
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

  Mutex ids_mutex_;
  std::bitset<65536> ids_ GUARDED_BY(ids_mutex_);
};

}  // namespace softiommu::arm_smmu_v3
