// SPDX-License-Identifier: BSD-3-Clause
// The hint before a batch of translations: asks the processor's caches for the last word that the walk will read. What
// is above it is read here, few words that are shared by many pages. Judges nothing, changes nothing.
#include "hw/vtd_second_stage.h"
#include "machine/iommu/intel_vtd/intel_vtd.h"

namespace softiommu::vtd {

using hw::vtd_second_stage::kEntry;

void IntelVtd::prefetch(const Transaction& transaction) const {
  constexpr unsigned kIndexBits = 9;
  if (is_scalable()) return;
  const auto context = contexts_.look_up(static_cast<std::uint16_t>(transaction.stream));
  if (!context || !context->present() || context->type() == hw::vtd::TranslationType::pass_through) return;
  std::uint64_t table = context->table();
  for (unsigned level = context->levels(); level >= 1; --level) {
    const std::uint64_t index = transaction.iova.value >> (kPageShift + kIndexBits * (level - 1));
    const std::uint64_t place = table + index % (std::uint64_t{1} << kIndexBits) * sizeof(std::uint64_t);
    if (level == 1) return __builtin_prefetch(at(PhysAddr{place}));  // nullptr is as good: nothing is read
    const auto entry = load_memory(place);
    if (!entry || kEntry["PS"].is_set(*entry) || (!kEntry["R"].is_set(*entry) && !kEntry["W"].is_set(*entry))) return;
    table = kEntry["ADDR"].in_place(*entry);
  }
}

}  // namespace softiommu::vtd
