// SPDX-License-Identifier: BSD-3-Clause
// The parts of the SMMUv3 model: register file, command queue, event queue, configuration cache, walker, IOTLB.
//
// Locks, outermost first: registers_mutex_ (held while commands run, also while CMD_SYNC waits for DMA), then
// config_mutex_ and events_mutex_ (leaves; the only ones that a DMA thread takes).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <expected>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/futex_lock.h"
#include "hw/smmuv3.h"
#include "machine/iommu/iotlb.h"
#include "machine/iommu/unit.h"
#include "machine/iommu/walk/arm_lpae.h"
#include "machine/options.h"

namespace softiommu::smmuv3 {

// One stage of translation, as the hardware has read it from a CD or an STE.
struct Stage {
  walk::ArmStage tables{};
  bool record = true;  // R: write an event when it faults
  friend bool operator==(const Stage&, const Stage&) = default;
};

// Why a transaction ends, and what its event says beside the transaction itself.
struct WalkFault {
  hw::smmuv3::Event event{};
  bool stage2 = false;
  bool record = true;
  std::uint64_t address = 0;     // input of stage 2, or what could not be fetched
  std::uint8_t fault_class = 2;  // kEvent1["CLASS"]
  friend bool operator==(const WalkFault&, const WalkFault&) = default;
};
inline constexpr std::uint8_t kClassDescriptor = 0, kClassTable = 1, kClassInput = 2;  // kEvent1["CLASS"]

// What the stream table and the context descriptor say about a stream.
struct StreamConfig {
  enum class Kind : std::uint8_t { error, abort, bypass, translate };
  Kind kind = Kind::abort;
  WalkFault error{};  // Kind::error: the event of each access
  bool has_stage1 = false, has_stage2 = false;
  Stage stage1{}, stage2{};
  std::uint16_t asid = 0, vmid = 0;
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
  bool invalidate_tlb(const Command& command);
  IovaRange range_of(const Command& command) const;
  void synchronise(const Command& command);
  void stop_queue(hw::smmuv3::CommandError why);

  // ---- events (events.cpp) ----
  struct EventRecord {
    hw::smmuv3::Event event;
    const Transaction& transaction;
    WalkFault fault{};
  };
  void record(const EventRecord& event);
  static std::array<std::uint64_t, hw::smmuv3::kEventWords> words_of(const EventRecord& event);
  bool raise_error(std::uint64_t gerror_bit);  // true: it is new
  std::uint64_t read_event_index(std::uint32_t offset);
  void write_event_index(std::uint32_t offset, std::uint64_t value);

  // ---- configuration (config.cpp) ----
  // What translate() needs of the registers; changed under config_mutex_.
  struct Live {
    PhysAddr stream_table{};
    unsigned log2_size = 0, split = 0;
    bool two_level = false;
    bool record_bad_streams = false;
  };
  using SteWords = std::array<std::uint64_t, 4>;
  StreamConfig config_of(StreamId stream);
  StreamConfig fetch_config(StreamId stream, const Live& live);
  std::optional<PhysAddr> find_ste(StreamId stream, const Live& live, StreamConfig& error) const;
  StreamConfig read_ste(PhysAddr ste);
  bool read_stage1(const SteWords& ste, StreamConfig& config);
  bool read_descriptor(std::uint64_t cd0, std::uint64_t cd1, StreamConfig& config) const;
  bool read_stage2(const SteWords& ste, StreamConfig& config) const;
  unsigned output_bits(std::uint64_t size_field) const;
  bool granule_supported(unsigned granule_lg2) const;

  // ---- walks (walk.cpp) ----
  using WalkResult = std::expected<walk::Page, WalkFault>;
  static WalkFault fault_of(const StreamConfig& config, const walk::Failure& failure);
  WalkResult walk(const StreamConfig& config, Iova iova, Access access);
  std::expected<PhysAddr, WalkFault> translate_structure(const StreamConfig& config, PhysAddr structure);
  std::optional<Translation> checked_hit(const Transaction&, const StreamConfig&, Translation hit);

  std::uint64_t* word_at(PhysAddr address) const;  // nullptr: no memory there
  std::optional<std::uint64_t> load(PhysAddr address) const;

  const unsigned sid_bits_, oas_bits_;
  const bool ril_;
  const std::uint64_t idr0_, idr1_, idr3_, idr5_;

  FutexLock registers_mutex_;
  std::array<std::uint64_t, kFileBytes / 8> file_{};
  std::uint32_t pending_lines_ = 0;  // interrupts to raise once registers_mutex_ is free

  std::atomic<std::uint32_t> cr0_{0}, gbpa_{0}, irq_ctrl_{0};
  std::atomic<std::uint32_t> gerror_{0}, gerrorn_{0};  // DMA threads raise errors, too
  std::atomic<std::uint64_t> eventq_base_{0};

  FutexLock config_mutex_;
  Live live_;
  std::unordered_map<StreamId, StreamConfig> configs_;
  std::uint64_t config_epoch_ = 0;  // bumped by each configuration invalidation

  FutexLock events_mutex_;
  std::uint32_t event_prod_ = 0, event_cons_ = 0;

  Iotlb iotlb_;
};

}  // namespace softiommu::smmuv3
