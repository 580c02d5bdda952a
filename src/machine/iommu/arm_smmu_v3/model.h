// SPDX-License-Identifier: BSD-3-Clause
// The parts of the SMMUv3 model: register file, command, event and page request queues, configuration cache, walker,
// IOTLB.
//
// Locks, outermost first: registers_mutex_ (held while commands run, also while CMD_SYNC waits for DMA), then
// config_mutex_ and queues_mutex_ (leaves; the only ones that a DMA thread takes).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <expected>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "base/futex_lock.h"
#include "hw/smmuv3.h"
#include "machine/iommu/arm_smmu_v3/stalls.h"
#include "machine/iommu/iotlb.h"
#include "machine/iommu/unit.h"
#include "machine/iommu/walk/arm_lpae.h"
#include "machine/options.h"

namespace softiommu::smmuv3 {

// One stage of translation, as the hardware has read it from a CD or an STE.
struct Stage {
  walk::ArmStage tables{};
  bool record = true;  // R: write an event when it faults
  bool stall = false;  // S: then wait for software
  friend bool operator==(const Stage&, const Stage&) = default;
};

// Why a transaction ends, and what its event says beside the transaction itself.
struct WalkFault {
  hw::smmuv3::Event event{};
  bool stage2 = false;
  bool record = true;
  bool stall = false;
  std::uint64_t address = 0;     // input of stage 2, or what could not be fetched
  std::uint8_t fault_class = 2;  // kEvent1["CLASS"]
  friend bool operator==(const WalkFault&, const WalkFault&) = default;
};
inline constexpr unsigned kGranuleOf[] = {12, 16, 14, 0};  // TG0 and S2TG; 3 is reserved
inline constexpr unsigned kLeastInputBits = 25;
inline constexpr std::uint64_t kStallsAreAChoice = 0, kNeverStalls = 1, kAlwaysStalls = 2;  // IDR0.STALL_MODEL
inline constexpr std::uint8_t kClassDescriptor = 0, kClassTable = 1, kClassInput = 2;       // kEvent1["CLASS"]

// What the stream table and the context descriptor say about a stream, or one of its substreams.
struct StreamConfig {
  enum class Kind : std::uint8_t { error, abort, bypass, translate };
  Kind kind = Kind::abort;
  WalkFault error{};  // Kind::error: the event of each access
  bool has_stage1 = false, has_stage2 = false;
  Stage stage1{}, stage2{};
  std::uint16_t asid = 0, vmid = 0;
  bool ats = false;    // translation requests are answered, translated ones let in
  bool of_l1 = false;  // the error is what a first-level descriptor says
  // Tag of its translations in the IOTLB.
  std::uint64_t space() const;
  friend bool operator==(const StreamConfig&, const StreamConfig&) = default;
};

// IOTLB tags: which regime, then VMID, then ASID. Invalidations compare them in part.
inline constexpr std::uint64_t kAsidMask = 0xffff, kVmidMask = 0xffff'0000, kRegimeMask = std::uint64_t{3} << 32;
inline constexpr std::uint64_t kRegimeStage1 = std::uint64_t{1} << 32;  // ASIDs mean something
inline constexpr std::uint64_t kRegimeStage2 = std::uint64_t{2} << 32;
constexpr std::uint64_t tag_vmid(std::uint64_t vmid) { return vmid << 16; }

class ArmSmmuV3 final : public IommuUnit {
 public:
  ArmSmmuV3(const UnitContext& context, const Options& options);

  std::string_view model() const override { return "arm-smmu-v3"; }
  std::uint64_t register_bytes() const override { return hw::smmuv3::kRegisterBytes; }
  void reset() override;
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;
  std::optional<Translation> translate(const Transaction& transaction) override;
  std::optional<Translation> translate_for_device(const Transaction& transaction) override;
  bool admits_translated(const Transaction& transaction, const Translation& kept) override;
  bool request_page(const PageRequestMessage& request) override;

 private:
  // ---- registers (arm_smmu_v3.cpp) ----
  static constexpr std::uint32_t kFileBytes = 0xd0;
  std::uint64_t get(std::uint32_t offset, unsigned bytes) const;
  void put(std::uint32_t offset, unsigned bytes, std::uint64_t value);
  bool is_guarded(std::uint64_t cr0_bits) const;
  void written(std::uint32_t offset);
  void publish_live();

  // ---- commands (commands.cpp): called with registers_mutex_ ----
  using Command = std::array<std::uint64_t, hw::smmuv3::kCommandWords>;
  void run_commands();
  bool run(const Command& command);  // false: illegal
  bool invalidate_config(const Command& command);
  bool resume(const Command& command);
  bool invalidate_device(const Command& command);
  bool answer_request(const Command& command);
  bool invalidate_tlb(const Command& command);
  IovaRange range_of(const Command& command) const;
  bool synchronise(const Command& command);  // false: a device did not answer
  void stop_queue(hw::smmuv3::CommandError why);

  // ---- events and page requests (events.cpp) ----
  // A queue that the hardware writes; with queues_mutex_.
  struct OutputQueue {
    std::uint32_t prod = 0, cons = 0;  // the registers
    enum class Put : std::uint8_t { full, no_memory, first, behind_others };
  };
  struct OutputPlace {
    std::uint64_t base;  // the register
    unsigned most_lg2;
  };
  OutputQueue::Put put_into(OutputQueue& queue, const OutputPlace& place, std::span<const std::uint64_t> entry);
  void raise_for(OutputQueue::Put put, std::uint64_t irq_enable, unsigned line, std::uint64_t abort_error);
  struct EventRecord {
    hw::smmuv3::Event event;
    const Transaction& transaction;
    WalkFault fault{};
    std::optional<Stalls::Tag> stalled = {};
  };
  bool record(const EventRecord& event);  // false: nobody will read it
  static std::array<std::uint64_t, hw::smmuv3::kEventWords> words_of(const EventRecord& event);
  bool raise_error(std::uint64_t gerror_bit);   // true: it is new
  OutputQueue* queue_at(std::uint64_t offset);  // nullptr: no index of one
  std::uint64_t read_index(std::uint32_t offset);
  void write_index(std::uint32_t offset, std::uint64_t value);

  // ---- configuration (config.cpp) ----
  // What translate() needs of the registers; changed under config_mutex_.
  struct Live {
    PhysAddr stream_table{};
    unsigned log2_size = 0, split = 0;
    bool two_level = false;
    bool record_bad_streams = false;
  };
  using SteWords = std::array<std::uint64_t, 4>;
  StreamConfig config_of(StreamId stream, Pasid substream);
  StreamConfig fetch_config(StreamId stream, Pasid substream, const Live& live);
  std::optional<PhysAddr> find_ste(StreamId stream, const Live& live, StreamConfig& error) const;
  StreamConfig read_ste(PhysAddr ste, Pasid substream);
  bool read_stage1(const SteWords& ste, Pasid substream, StreamConfig& config);
  bool read_stage2(const SteWords& ste, StreamConfig& config) const;
  unsigned output_bits(std::uint64_t size_field, unsigned granule_lg2) const;
  bool granule_supported(unsigned granule_lg2) const;

  // ---- context descriptors (descriptors.cpp) ----
  bool is_legal_table(const SteWords& ste) const;
  bool skips_stage1(const SteWords& ste, Pasid substream) const;
  std::optional<WalkFault> refusal_of(const SteWords& ste, Pasid substream) const;
  bool fetch_descriptor(const SteWords& ste, Pasid substream, StreamConfig& config);
  std::optional<std::uint64_t> fetch_word(PhysAddr address, StreamConfig& config);
  bool read_descriptor(std::uint64_t cd0, std::uint64_t cd1, StreamConfig& config) const;
  bool is_legal_stall(bool stalls) const;

  // ---- walks (walk.cpp) ----
  using WalkResult = std::expected<walk::Page, WalkFault>;
  static WalkFault fault_of(const StreamConfig& config, const walk::Failure& failure);
  WalkResult walk(const StreamConfig& config, Iova iova, Access access);
  std::expected<PhysAddr, WalkFault> translate_structure(const StreamConfig& config, PhysAddr structure);
  // What came of a transaction: a page, or nothing. `again`: it was stalled and shall be tried again.
  struct Attempt {
    std::optional<Translation> translation = {};
    bool again = false;
  };
  Attempt attempt(const Transaction& transaction);
  Attempt fault(const Transaction& transaction, const WalkFault& fault);
  std::optional<Translation> pass(const Transaction& transaction) const;
  std::optional<std::string> disagreement(const Transaction&, const StreamConfig&, const Translation& kept);
  std::optional<Translation> checked_hit(const Transaction&, const StreamConfig&, Translation hit);

  std::uint64_t* word_at(PhysAddr address) const;  // nullptr: no memory there
  std::optional<std::uint64_t> load(PhysAddr address) const;

  const unsigned sid_bits_, ssid_bits_, oas_bits_;
  const bool ril_;
  const std::uint64_t idr0_, idr1_, idr3_, idr5_;

  FutexLock registers_mutex_;
  std::array<std::uint64_t, kFileBytes / 8> file_{};
  bool device_did_not_answer_ = false;  // since the last CMD_SYNC
  std::uint32_t pending_lines_ = 0;     // interrupts to raise once registers_mutex_ is free

  std::atomic<std::uint32_t> cr0_{0}, gbpa_{0}, irq_ctrl_{0};
  std::atomic<std::uint32_t> gerror_{0}, gerrorn_{0};  // DMA threads raise errors, too
  std::atomic<std::uint64_t> eventq_base_{0}, priq_base_{0};

  FutexLock config_mutex_;
  Live live_;
  using ConfigKey = std::uint64_t;  // stream, and below it substream
  static constexpr ConfigKey key_of(StreamId stream, Pasid substream) {
    return ConfigKey{stream} << hw::smmuv3::kMostSubstreamBits | substream;
  }
  void forget_configs(StreamId first, StreamId last);  // with config_mutex_
  std::map<ConfigKey, StreamConfig> configs_;
  std::uint64_t config_epoch_ = 0;  // bumped by each configuration invalidation

  FutexLock queues_mutex_;
  OutputQueue events_, page_requests_;

  Stalls stalls_;
  Iotlb iotlb_;
};

}  // namespace softiommu::smmuv3
