// SPDX-License-Identifier: BSD-3-Clause
// The parts of the AMD IOMMU model: register file, command buffer, event and page request logs, device table, walks.
//
// amd_iommu.cpp: options, registers. commands.cpp: the command buffer. device_table.cpp: what an entry says, and what
// is cached of it. translation.cpp: the way of one access.
//
// Locks: commands_ is held while commands run, also while a COMPLETION_WAIT waits for DMA. What a DMA thread and the
// handler of its fault need (translate, the logs, Status) takes leaf locks only: devices_mutex_ and those of the logs.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <unordered_map>

#include "base/mutex.h"
#include "hw/amd_iommu.h"
#include "machine/iommu/amd_iommu/log_ring.h"
#include "machine/iommu/iotlb.h"
#include "machine/iommu/unit.h"
#include "machine/iommu/walk/amd_v1.h"
#include "machine/iommu/walk/x86_64.h"
#include "machine/options.h"

namespace softiommu::amd_iommu {

using DeviceId = std::uint16_t;
std::string text_of(DeviceId id);  // "00:02.0"

// What a device table entry says (48882 2.2.2), read once and kept until an INVALIDATE_DEVTAB_ENTRY.
struct Device {
  enum class Kind : std::uint8_t {
    passes,      // V is 0
    refused,     // TV is 0
    illegal,     // bits that must be 0, or levels that the unit has not
    unreadable,  // no memory is there
    translates,
  };
  Kind kind = Kind::refused;
  bool reserved_bits = false;  // Kind::illegal: else it is a level
  std::uint16_t domain = 0;
  bool read = false, write = false;  // IR, IW
  walk::AmdV1 host{.root = {}, .mode = 0};
  PhysAddr gcr3{};
  unsigned gcr3_levels = 0, guest_levels = 0;  // 0: no guest translation
  bool guest_without_pasid = false;            // GIoV
  bool excluded = false, may_request_pages = false;
  bool silent = false, silent_after_first = false;  // SA, SE
  friend bool operator==(const Device&, const Device&) = default;
};

// A device asks for a page to be made present (ATS and PRI).
struct PageRequest {
  StreamId stream = 0;
  Pasid pasid = 0;
  Iova page;
  bool read = false, write = false;
  unsigned tag = 0;
};
// The answer that COMPLETE_PPR_REQUEST sends.
struct PageResponse {
  StreamId stream = 0;
  Pasid pasid = 0;
  unsigned tag = 0, code = 0;
  friend bool operator==(const PageResponse&, const PageResponse&) = default;
};

class AmdIommu final : public IommuUnit {
 public:
  AmdIommu(const UnitContext& context, const Options& options);

  std::string_view model() const override { return "amd-iommu"; }
  std::uint64_t register_bytes() const override { return hw::amd::kRegisterBytes; }
  void reset() override;
  // Registers have 8 bytes; 4-byte accesses to either half are allowed (3.4).
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;
  std::optional<Translation> translate(const Transaction& transaction) override;

  // False: the request was not taken, and the device gets no answer.
  bool log_page_request(const PageRequest& request);
  void on_page_response(std::function<void(const PageResponse&)> handler) { page_response_ = std::move(handler); }

 private:
  using Words = LogRing::Words;
  using Lines = unsigned;  // interrupts to raise when no lock is held, as a set

  // ---- registers (amd_iommu.cpp) ----
  enum Index : unsigned {
    kDeviceTableAt,
    kCommandBaseAt,
    kEventBaseAt,
    kControlAt,
    kExclusionBaseAt,
    kExclusionLimitAt,
    kFeaturesAt,
    kPprBaseAt,
    kFeatures2At,
    kCommandHeadAt,
    kCommandTailAt,
    kDomainIdsAt,
    kKept
  };
  std::uint64_t get(Index index) const { return kept_[index].load(std::memory_order_acquire); }
  void put(Index index, std::uint64_t value) { kept_[index].store(value, std::memory_order_release); }
  bool controls(const hw::Field& field) const { return field.is_set(get(kControlAt)); }
  void reset_locked() REQUIRES(commands_);
  std::uint64_t read_register(std::uint64_t offset) const;
  Lines write_register(std::uint64_t offset, std::uint64_t value);
  Lines write_kept(Index index, std::uint64_t value) REQUIRES(commands_);
  Lines set_control(std::uint64_t before, std::uint64_t now) REQUIRES(commands_);
  std::uint64_t status() const;
  void acknowledge(std::uint64_t status);
  void raise(Lines lines);

  // ---- commands (commands.cpp) ----
  struct CommandRow;
  static const CommandRow kCommandRows[];
  Lines run_commands() REQUIRES(commands_);
  Lines stop_commands(hw::amd::Event why, PhysAddr command) REQUIRES(commands_);
  const CommandRow* find_command(const Words& command) const;
  Lines completion_wait(const Words& command);
  Lines invalidate_device(const Words& command);
  Lines invalidate_pages(const Words& command);
  Lines accept(const Words& command);
  Lines prefetch_pages(const Words& command);
  Lines complete_page_request(const Words& command);
  Lines invalidate_all(const Words& command);
  void forget(std::uint64_t domain, std::optional<Pasid> guest, IovaRange range);

  // ---- logs ----
  Lines log_event(const Words& event);

  // ---- device table (device_table.cpp) ----
  struct Known {
    Device device;
    std::optional<Device> changed;  // paranoid mode: what memory says now, if that is something else
  };
  Known know(DeviceId id);
  Device device_of(DeviceId id) { return know(id).device; }
  Device fetch_device(DeviceId id) const;
  Device decode(const std::array<std::uint64_t, hw::amd::kDteWords>& words) const;
  bool decode_host(std::uint64_t word0, Device& device) const;
  bool decode_guest(const std::array<std::uint64_t, hw::amd::kDteWords>& words, Device& device) const;
  bool has_reserved_bits(const std::array<std::uint64_t, hw::amd::kDteWords>& words) const;
  bool first_fault(DeviceId id);

  // ---- translation (translation.cpp) ----
  // Who translates an access: the host table alone, or a guest table under a PASID.
  struct Route {
    bool guest = false;
    Pasid pasid = 0;
  };
  struct Fault {
    std::uint64_t flags = 0;    // of the event's first word, and its code
    std::uint64_t address = 0;  // what it is about, if not the access's own
    bool about_host = false;
  };
  using Walk = std::expected<walk::Page, Fault>;
  class HostStage;
  Route route_of(const Device& device, Pasid pasid) const;
  Walk walk(const Device& device, const Route& route, Iova iova, Access access) const;
  walk::Outcome walk_host(const Device& device, Iova iova, Access access) const;
  std::expected<PhysAddr, Fault> find_guest_table(const Device& device, Pasid pasid) const;
  static Fault fault_of(const walk::Failure& failure);
  std::optional<Translation> refuse(const Transaction& transaction, const Device& device, const Fault& fault);
  std::optional<Translation> refuse_device(const Transaction& transaction, const Device& device);
  std::optional<Translation> answer(const Transaction& transaction, const Device& device, const walk::Page& page);
  Translation clip(Translation translation, Iova iova) const;
  bool is_excluded(const Device& device, Iova iova) const;
  bool is_special(Iova iova) const;
  void judge(const Transaction& transaction, const Device& device, const Route& route, const Translation& cached);
  void judge_entry(const Transaction& transaction, const Device& cached, const Device& now);
  bool grew_around(const Transaction& transaction, const Device& cached, const Device& now) const;
  static std::uint64_t space_of(const Device& device, const Route& route);

  const std::uint64_t features_, features2_, domain_ids_;
  const std::uint64_t exclusion_base_, exclusion_limit_;  // that firmware leaves behind

  std::array<std::atomic<std::uint64_t>, kKept> kept_{};
  std::atomic<bool> commands_run_{false}, wait_completed_{false};  // Status.CmdBufRun, ComWaitInt
  LogRing events_, page_requests_;
  std::function<void(const PageResponse&)> page_response_;

  Mutex commands_;
  Mutex devices_mutex_;
  struct Cached {
    Device device;
    bool has_faulted = false;  // since it was read
  };
  std::unordered_map<DeviceId, Cached> devices_ GUARDED_BY(devices_mutex_);
  std::uint64_t devices_epoch_ GUARDED_BY(devices_mutex_) = 0;  // bumped by each invalidation

  Iotlb iotlb_;
};

// Tags in the IOTLB: domain id, PASID, and whether the address is a guest's; nested: the host's table was used too.
inline constexpr unsigned kPasidShift = 16, kGuestShift = 36, kNestedShift = 37;
inline constexpr std::uint64_t kDomainMask = 0xffff, kGuestTag = std::uint64_t{1} << kGuestShift,
                               kNestedTag = std::uint64_t{1} << kNestedShift;

}  // namespace softiommu::amd_iommu
