// SPDX-License-Identifier: BSD-3-Clause
// The PASID cache of a VT-d unit (VT-d 6.2.2): PASID table entries by source id and PASID, tagged with their domain id,
// kept until an invalidation names them. Nothing else evicts, so a forgotten invalidation always shows.
//
// As with the IOTLB, a ticket taken before memory was read keeps an entry from coming back after an invalidation that
// ran meanwhile. One leaf lock.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <unordered_map>

#include "base/futex_lock.h"
#include "base/types.h"
#include "hw/vtd_scalable.h"

namespace softiommu::vtd {

// The words of a PASID table entry that say something; the others are reserved.
struct PasidEntry {
  static constexpr unsigned kWords = 3;
  std::array<std::uint64_t, kWords> words{};
  friend constexpr bool operator==(const PasidEntry&, const PasidEntry&) = default;

  constexpr bool present() const { return hw::vtd::kPasidEntry0["P"].is_set(words[0]); }
  constexpr bool faults_suppressed() const { return hw::vtd::kPasidEntry0["FPD"].is_set(words[0]); }
  constexpr auto type() const {
    return static_cast<hw::vtd::PasidTranslation>(hw::vtd::kPasidEntry0["PGTT"].get(words[0]));
  }
  // Entries that are not present are cached (with CAP.CM) under domain id 0.
  constexpr std::uint16_t domain_id() const {
    return present() ? static_cast<std::uint16_t>(hw::vtd::kPasidEntry1["DID"].get(words[1])) : std::uint16_t{0};
  }
};

class PasidCache {
 public:
  std::optional<PasidEntry> look_up(std::uint16_t source, Pasid pasid) const;

  using Ticket = std::uint64_t;
  Ticket ticket() const { return epoch_.load(std::memory_order_acquire); }
  void insert(Ticket ticket, std::uint16_t source, Pasid pasid, const PasidEntry& entry);

  void invalidate_all();
  void invalidate_domain(std::uint16_t domain);
  void invalidate_pasid(std::uint16_t domain, Pasid pasid);

 private:
  static constexpr std::uint64_t key(std::uint16_t source, Pasid pasid) {
    return std::uint64_t{source} << hw::vtd::kPasidBits | pasid;
  }
  template <typename Predicate>
  void drop_if(const Predicate& matches);

  mutable FutexLock mutex_;
  std::unordered_map<std::uint64_t, PasidEntry> entries_ GUARDED_BY(mutex_);
  std::atomic<std::uint64_t> epoch_{0};
};

}  // namespace softiommu::vtd
