// SPDX-License-Identifier: BSD-3-Clause
// Through which tables a request goes, and how the IOTLB tags what comes of it: what a context entry (legacy mode) or a
// PASID table entry (scalable mode) says, decoded.
#pragma once

#include <cstdint>

#include "base/types.h"

namespace softiommu::vtd {

struct Route {
  enum class Kind : std::uint8_t { second_stage, first_stage, nested, pass_through };

  Kind kind = Kind::second_stage;
  bool scalable = false;
  std::uint16_t domain = 0;
  Pasid pasid = 0;  // of the request, or the RID_PASID of its device
  PhysAddr first{}, second{};
  unsigned first_levels = 0, second_levels = 0;
  bool accessed_dirty = false;  // SSADE
  bool write_protect = false;   // WPE
  friend bool operator==(const Route&, const Route&) = default;

  bool has_first_stage() const { return kind == Kind::first_stage || kind == Kind::nested; }
  // Hardware keeps accessed and dirty bits in some table on the way.
  bool marks() const { return has_first_stage() || accessed_dirty; }
  std::uint64_t space() const;
};

// Tags in the IOTLB: domain id; which tables; and the PASID, but for translations of the second stage alone, which all
// PASIDs share (VT-d 6.2.3).
inline constexpr unsigned kPasidShift = 16, kStageShift = 36;
inline constexpr std::uint64_t kDomainMask = 0xffff, kStageMask = std::uint64_t{3} << kStageShift;

constexpr std::uint64_t space_of(Route::Kind kind, std::uint16_t domain, Pasid pasid) {
  const std::uint64_t stage = static_cast<std::uint64_t>(kind) << kStageShift;
  return domain | stage | (kind == Route::Kind::second_stage ? 0 : std::uint64_t{pasid} << kPasidShift);
}
inline std::uint64_t Route::space() const { return space_of(kind, domain, pasid); }

}  // namespace softiommu::vtd
