// SPDX-License-Identifier: BSD-3-Clause
// The context cache of a VT-d unit (VT-d 6.2.1): context entries by source id, kept until an invalidation names
// them. Nothing else evicts, so a forgotten invalidation always shows.
//
// look_up() is lock-free beside insert() and the invalidations. As with the IOTLB, a ticket taken before memory
// was read keeps an entry from coming back after an invalidation that ran meanwhile.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/mutex.h"
#include "hw/vtd.h"

namespace softiommu::vtd {

// A legacy context entry as read from memory; bits that hardware ignores are cleared.
struct ContextEntry {
  std::uint64_t low = 0, high = 0;
  friend constexpr bool operator==(const ContextEntry&, const ContextEntry&) = default;

  constexpr bool present() const { return hw::vtd::kContextEntry0["P"].is_set(low); }
  constexpr bool faults_suppressed() const { return hw::vtd::kContextEntry0["FPD"].is_set(low); }
  constexpr hw::vtd::TranslationType type() const {
    return static_cast<hw::vtd::TranslationType>(hw::vtd::kContextEntry0["TT"].get(low));
  }
  constexpr std::uint64_t table() const { return hw::vtd::kContextEntry0["SSPTPTR"].in_place(low); }
  constexpr unsigned levels() const {
    return hw::vtd::levels_of_aw(static_cast<unsigned>(hw::vtd::kContextEntry1["AW"].get(high)));
  }
  // Entries that are not present are cached (with CAP.CM) under domain id 0.
  constexpr std::uint16_t domain_id() const {
    return present() ? static_cast<std::uint16_t>(hw::vtd::kContextEntry1["DID"].get(high)) : std::uint16_t{0};
  }
};

class ContextCache {
 public:
  ContextCache() = default;
  ~ContextCache();
  ContextCache(const ContextCache&) = delete;
  ContextCache& operator=(const ContextCache&) = delete;

  std::optional<ContextEntry> look_up(std::uint16_t source) const;

  using Ticket = std::uint64_t;
  Ticket ticket() const { return epoch_.load(std::memory_order_acquire); }
  void insert(Ticket ticket, std::uint16_t source, const ContextEntry& entry);

  void invalidate_all();
  // `domain` nullopt: any.
  void invalidate_domain(std::optional<std::uint16_t> domain);
  // Entries of `domain` whose source id equals `source` in all bits but `ignored`.
  void invalidate_source(std::optional<std::uint16_t> domain, std::uint16_t source, std::uint16_t ignored);

 private:
  static constexpr std::size_t kBuses = 256, kFunctions = 256;
  struct Slot {
    std::atomic<std::uint32_t> version{0};  // odd while the slot changes
    std::atomic<bool> valid{false};
    std::atomic<std::uint64_t> low{0}, high{0};
  };
  using Bus = std::array<Slot, kFunctions>;

  static std::optional<ContextEntry> load(const Slot& slot);
  void store(Slot& slot, const ContextEntry* entry) REQUIRES(mutex_);
  template <typename Predicate>
  void drop_if(const Predicate& matches) EXCLUDES(mutex_);

  Mutex mutex_;  // writers; a leaf, never held while DMA is awaited
  std::atomic<std::uint64_t> epoch_{0};
  std::array<std::atomic<Bus*>, kBuses> buses_{};
};

}  // namespace softiommu::vtd
