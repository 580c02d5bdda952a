// SPDX-License-Identifier: BSD-3-Clause
// What the VT-d driver writes into context tables and PASID tables, and the ids that it keeps for itself.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "base/types.h"
#include "hw/vtd_scalable.h"

namespace softiommu::intel {

using DomainId = std::uint16_t;

// Ids that are never given to a paging domain: 0 tags not-present entries on caching-mode hardware (VT-d 6.1),
// 1 is shared by everything that passes through.
inline constexpr DomainId kIdentityId = 1, kFirstDomainId = 2;

// What a context entry of legacy mode says.
struct ContextEntry {
  std::uint64_t word0 = 0, word1 = 0;
  static ContextEntry not_present() { return {}; }
  static ContextEntry pass_through(unsigned levels);
  static ContextEntry second_stage(PhysAddr table, unsigned levels, DomainId id, hw::vtd::TranslationType type);
  DomainId id() const { return static_cast<DomainId>(hw::vtd::kContextEntry1["DID"].get(word1)); }
  bool present() const { return hw::vtd::kContextEntry0["P"].is_set(word0); }
};

// What a PASID table entry says; its other words are 0.
struct PasidEntry {
  std::array<std::uint64_t, 3> words{};
  static PasidEntry not_present() { return {}; }
  static PasidEntry pass_through(unsigned levels);
  struct FirstStage {
    PhysAddr table;
    unsigned levels = 4;
    bool snoop = false;  // every access
  };
  struct SecondStage {
    PhysAddr table;
    unsigned levels = 4;
    bool dirty = false;  // hardware keeps accessed and dirty bits
  };
  static PasidEntry first_stage(const FirstStage& first, DomainId id);
  static PasidEntry second_stage(const SecondStage& second, DomainId id);
  // `first.table` is an address that the second stage translates.
  static PasidEntry nested(const FirstStage& first, const SecondStage& second, DomainId id);

  bool present() const { return hw::vtd::kPasidEntry0["P"].is_set(words[0]); }
  DomainId id() const { return static_cast<DomainId>(hw::vtd::kPasidEntry1["DID"].get(words[1])); }
  auto type() const { return static_cast<hw::vtd::PasidTranslation>(hw::vtd::kPasidEntry0["PGTT"].get(words[0])); }
  // Its translations are tagged with the domain id alone, at least in part.
  bool has_second_stage() const {
    return type() == hw::vtd::PasidTranslation::second_stage || type() == hw::vtd::PasidTranslation::nested;
  }
};

}  // namespace softiommu::intel
