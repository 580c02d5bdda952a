// SPDX-License-Identifier: BSD-3-Clause
// From a stream id to a context bank (IHI 0062 chapter 2): by matching ids and masks, or by indexing.
#include "machine/iommu/arm_smmu/model.h"

namespace softiommu::smmu {

using namespace hw::smmu;

bool ArmSmmu::matches(unsigned entry, StreamId stream) const {
  const std::uint64_t smr = smr_[entry];
  if (is_extended()) {
    if (!kS2cr["EXIDVALID"].is_set(s2cr_[entry])) return false;
    return ((stream ^ kExtendedSmr["ID"].get(smr)) & ~kExtendedSmr["MASK"].get(smr)) == 0;
  }
  return kSmr["VALID"].is_set(smr) && ((stream ^ kSmr["ID"].get(smr)) & ~kSmr["MASK"].get(smr)) == 0;
}

Route ArmSmmu::route_of_entry(unsigned entry) const {
  const std::uint64_t s2cr = s2cr_[entry];
  switch (static_cast<StreamType>(kS2cr["TYPE"].get(s2cr))) {
    case StreamType::translate:
      break;
    case StreamType::bypass:
      return {.kind = Route::Kind::bypass};
    default:  // the reserved code, too
      return {.kind = Route::Kind::fault, .gfsr = kGfsr["ICF"].mask()};
  }
  const auto bank = static_cast<unsigned>(kS2cr["CBNDX"].get(s2cr));
  if (bank >= banks_count_) return {.kind = Route::Kind::fault, .gfsr = kGfsr["UCBF"].mask()};
  return {.kind = Route::Kind::translate, .bank = bank};
}

Route ArmSmmu::route_of(StreamId stream) const {
  const auto unless = [](bool faults, hw::Field fault) -> Route {
    if (!faults) return {.kind = Route::Kind::bypass};
    return {.kind = Route::Kind::fault, .gfsr = fault.mask()};
  };
  if (kCr0["CLIENTPD"].is_set(global_.cr0)) return {.kind = Route::Kind::bypass};
  const Route unmatched = unless(kCr0["USFCFG"].is_set(global_.cr0), kGfsr["USF"]);
  // More bits than the unit takes: nothing can match it.
  const std::uint64_t bits = is_extended() ? 16 : kIdr0["NUMSIDB"].get(idr0_);
  if (stream >> bits != 0) return unmatched;
  if (!kIdr0["SMS"].is_set(idr0_)) return stream < entries_ ? route_of_entry(stream) : unmatched;

  std::optional<unsigned> found;
  for (unsigned entry = 0; entry < entries_; ++entry) {
    if (!matches(entry, stream)) continue;
    if (found) return unless(kCr0["SMCFCFG"].is_set(global_.cr0), kGfsr["SMCF"]);
    found = entry;
  }
  return found ? route_of_entry(*found) : unmatched;
}

}  // namespace softiommu::smmu
