// SPDX-License-Identifier: BSD-3-Clause
// An Intel VT-d remapping unit, as registers and tables in memory show it (VT-d 3.x), in legacy or scalable mode.
//
// registers.cpp: the register file and global commands. invalidation.cpp: register-based and queued invalidation;
// pasid_invalidation.cpp: that of scalable mode. translation.cpp: context look-up, walks, faults. scalable.cpp: the
// PASID tables, page requests. paranoid.cpp: caches compared with the tables.
//
// Locks: commands_ is held by a register write that runs commands, also while it waits for DMA. translate(), every
// register read, and writes that acknowledge or mask events never take it; they use leaf locks only. So a fault
// handler may read and clear its registers while an invalidation waits for the very DMA that faulted.
// (The exception: clearing FSTS.IQE restarts the queue.)
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <new>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>

#include "base/mutex.h"
#include "hw/vtd.h"
#include "machine/findings.h"
#include "machine/iommu/intel_vtd/context_cache.h"
#include "machine/iommu/intel_vtd/event_registers.h"
#include "machine/iommu/intel_vtd/page_requests.h"
#include "machine/iommu/intel_vtd/pasid_cache.h"
#include "machine/iommu/intel_vtd/route.h"
#include "machine/iommu/iotlb.h"
#include "machine/iommu/unit.h"
#include "machine/iommu/walk/walk.h"
#include "machine/memory.h"

namespace softiommu::vtd {

// What distinguishes one unit from another.
struct Capabilities {
  std::uint64_t cap = 0, ecap = 0;   // the registers
  unsigned host_address_width = 39;  // addresses in tables have this many bits
};

class IntelVtd final : public IommuUnit {
 public:
  static constexpr std::uint64_t kRegisterBytes = 4096;
  static constexpr unsigned kFaultLine = 0, kCompletionLine = 1, kPageRequestLine = 2;

  IntelVtd(UnitContext context, const Capabilities& capabilities);

  std::string_view model() const override { return "intel-vtd"; }
  std::uint64_t register_bytes() const override { return kRegisterBytes; }
  void reset() override;
  // Accesses of 4 and 8 bytes are the manual's; an 8-byte write is two 4-byte writes, low half first. Narrower
  // reads give the bytes asked for, narrower writes are dropped.
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;
  std::optional<Translation> translate(const Transaction& transaction) override;
  void prefetch(const Transaction& transaction) const override;
  std::optional<Translation> translate_for_device(const Transaction& transaction) override;
  bool admits_translated(const Transaction& transaction, const Translation& kept) override;
  bool request_page(const PageRequestMessage& request) override;

 private:
  static constexpr std::size_t kWords = kRegisterBytes / sizeof(std::uint32_t);
  // Event messages that a register write caused, as a set of lines; sent when no lock is held.
  using Lines = unsigned;
  static constexpr Lines line(unsigned number, bool send) { return send ? Lines{1} << number : Lines{0}; }

  // registers.cpp
  void describe_registers();
  template <std::size_t N>
  void allow_writes(const hw::Register<N>& row, std::uint32_t base = 0);
  std::uint32_t load(std::uint64_t offset) const { return image_[offset / 4].load(std::memory_order_acquire); }
  std::uint64_t load64(std::uint64_t offset) const { return load(offset) | std::uint64_t{load(offset + 4)} << 32; }
  void store(std::uint64_t offset, std::uint32_t value) { image_[offset / 4].store(value, std::memory_order_release); }
  void store64(std::uint64_t offset, std::uint64_t value);
  std::optional<unsigned> fault_record_at(std::uint64_t offset) const;
  std::uint32_t read_word(std::uint64_t offset) const;
  Lines write_word(std::uint64_t offset, std::uint32_t value);
  Lines write_page_request_word(std::uint64_t offset, std::uint32_t value);
  void write_tail(std::uint64_t value);
  void raise(Lines lines);
  Lines acknowledge(std::uint32_t fault_status);
  Lines run_global_command(std::uint32_t command) EXCLUDES(commands_);
  void set_translation(bool on) REQUIRES(commands_);
  void reset_locked() REQUIRES(commands_);

  // invalidation.cpp
  void run_context_command() EXCLUDES(commands_);
  void run_iotlb_command() EXCLUDES(commands_);
  Lines set_queue(bool on) REQUIRES(commands_);
  Lines run_queue() REQUIRES(commands_);
  struct QueueWords {
    std::uint64_t low = 0, high = 0;
  };
  hw::vtd::QueueError load_descriptor(PhysAddr address, unsigned bytes, QueueWords& words) const;
  hw::vtd::QueueError check_queue(std::uint64_t queue, std::uint64_t tail) const;
  [[gnu::always_inline]] inline hw::vtd::QueueError run_descriptor(std::uint64_t low, std::uint64_t high, Lines& lines)
      REQUIRES(commands_);
  hw::vtd::QueueError run_context_descriptor(std::uint64_t low, std::uint64_t high);
  [[gnu::always_inline]] inline hw::vtd::QueueError run_iotlb_descriptor(std::uint64_t low, std::uint64_t high);
  [[gnu::always_inline]] inline hw::vtd::QueueError run_wait_descriptor(std::uint64_t low, std::uint64_t high,
                                                                        Lines& lines);
  // pasid_invalidation.cpp
  hw::vtd::QueueError run_device_tlb_descriptor(std::uint64_t low, std::uint64_t high);
  hw::vtd::QueueError run_scalable_descriptor(std::uint64_t low, std::uint64_t high);
  hw::vtd::QueueError run_pasid_cache_descriptor(std::uint64_t low, std::uint64_t high);
  hw::vtd::QueueError run_pasid_iotlb_descriptor(std::uint64_t low, std::uint64_t high);
  hw::vtd::QueueError run_pasid_device_tlb_descriptor(std::uint64_t low, std::uint64_t high);
  hw::vtd::QueueError run_page_response(std::uint64_t low, std::uint64_t high);
  // What was done; `reserved`: the request is wrong and nothing was.
  hw::vtd::Granularity drop_contexts(hw::vtd::Granularity wanted, std::uint64_t domain, std::uint64_t source,
                                     std::uint64_t function_mask);
  hw::vtd::Granularity drop_translations(hw::vtd::Granularity wanted, std::uint64_t domain, std::uint64_t address);
  void drop_domain(std::uint16_t domain);
  void invalidated();
  std::uint16_t implemented_domain(std::uint64_t domain) const;
  std::optional<std::uint16_t> context_tag(std::uint64_t domain) const;

  // translation.cpp
  enum class RequestKind : std::uint8_t { untranslated, translation, translated };
  struct FoundContext {
    hw::vtd::FaultReason reason = hw::vtd::FaultReason::none;
    ContextEntry entry;
  };
  struct FoundRoute {
    hw::vtd::FaultReason reason = hw::vtd::FaultReason::none;
    bool suppressed = false;  // the entries say that faults are not recorded
    Route route;
  };
  struct Walk {
    hw::vtd::FaultReason reason = hw::vtd::FaultReason::none;
    Translation translation;  // neither read nor write: not present
    bool present() const { return translation.read || translation.write; }
  };
  struct Answer {
    hw::vtd::FaultReason reason = hw::vtd::FaultReason::none;
    bool suppressed = false;  // as in FoundRoute
    Translation translation;
  };
  bool is_scalable() const;
  hw::vtd::FaultReason absent_context() const {
    return is_scalable() ? hw::vtd::FaultReason::sm_context_not_present
                         : hw::vtd::FaultReason::context_entry_not_present;
  }
  FoundRoute find_route(const Transaction& transaction, RequestKind kind);
  FoundRoute find_legacy_route(const Transaction& transaction, RequestKind kind);
  Answer remap(const Transaction& transaction, RequestKind kind);
  Answer remap_through_tables(const Transaction& transaction, Iotlb::Ticket ticket, const FoundRoute& found);
  Translation look_up_or_walk(const Transaction& transaction, Iotlb::Ticket ticket, const Route& route,
                              hw::vtd::FaultReason& reason);
  std::optional<Translation> refuse(const Transaction& transaction, const Answer& answer);
  FoundContext find_context(std::uint16_t source);
  FoundContext fetch_context(std::uint16_t source) const;
  FoundContext fetch_legacy_context(std::uint16_t source) const;
  hw::vtd::FaultReason check_context(const ContextEntry& entry) const;
  class SecondStage;
  Walk walk(const Route& route, Iova iova, Access access) const;
  walk::Outcome walk_second_stage(const Route& route, Iova iova, Access access) const;

  // scalable.cpp
  struct FoundPasid {
    hw::vtd::FaultReason reason = hw::vtd::FaultReason::none;
    bool suppressed = false;
    PasidEntry entry;
  };
  FoundRoute find_scalable_route(const Transaction& transaction, RequestKind kind);
  FoundContext fetch_scalable_context(std::uint16_t source) const;
  hw::vtd::FaultReason check_request(const ContextEntry& context, Pasid pasid, RequestKind kind) const;
  FoundPasid find_pasid(std::uint16_t source, Pasid pasid, const ContextEntry& context);
  FoundPasid fetch_pasid(Pasid pasid, const ContextEntry& context) const;
  hw::vtd::FaultReason check_pasid(const PasidEntry& entry) const;
  static Route route_of(const PasidEntry& entry, Pasid pasid);

  std::byte* at(PhysAddr address) const {  // nullptr: no memory there
    const TableMemory& tables = context_.memory.tables();
    return tables.contains(address) ? tables.as<std::byte>(address) : context_.memory.host(address);
  }
  std::optional<std::uint64_t> load_memory(std::uint64_t address) const;

  // paranoid.cpp
  void judge_context(std::uint16_t source, const ContextEntry& cached);
  void judge_pasid(std::uint16_t source, Pasid pasid, const ContextEntry& context, const PasidEntry& cached);
  void judge_translation(const Transaction& transaction, const Route& route, const Translation& cached);
  void judge_device_tlb(const Transaction& transaction, const Route& route, const Translation& kept);
  bool is_stale(const Route& route, Iova iova, const Translation& cached, Walk& fresh) const;
  enum class Subject : std::uint8_t { context_entry, pasid_entry, translation, device_tlb };
  using Report = std::tuple<Subject, std::uint64_t, std::uint64_t>;  // of a source id, or of a space's page
  bool first_report(const Report& report) noexcept;
  // Adds the sentence that `text` makes to the machine's findings; one is lost if there is no memory for it.
  template <typename Text>
  void find(const Text& text) noexcept {
    try {
      context_.findings.add(text());
    } catch (const std::bad_alloc&) {
      return;
    }
  }

  const Capabilities capabilities_;
  const std::uint32_t iotlb_base_;
  const std::uint32_t records_first_, records_end_;  // the fault recording registers
  std::array<std::uint32_t, kWords> writable_{};
  std::array<std::atomic<std::uint32_t>, kWords> image_{};  // registers that only hold what was written or set
  EventRegisters events_;
  PageRequestQueue page_requests_;
  ContextCache contexts_;
  PasidCache pasids_;
  Iotlb iotlb_;
  std::atomic<bool> translating_{false};
  std::atomic<std::uint64_t> root_{0};  // RTADDR as taken by SRTP

  Mutex commands_;
  Mutex reports_mutex_;
  std::set<Report> reported_ GUARDED_BY(reports_mutex_);
};

}  // namespace softiommu::vtd
