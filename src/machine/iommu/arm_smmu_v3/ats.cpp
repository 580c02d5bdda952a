// SPDX-License-Identifier: BSD-3-Clause
// Devices with TLBs of their own (IHI0070 3.9.1, 13.6): translation requests, and what is done with their answers.
#include <fmt/format.h>

#include "machine/findings.h"
#include "machine/iommu/arm_smmu_v3/model.h"

namespace softiommu::smmuv3 {

using namespace hw::smmuv3;

// A page that is not there is an answer, not a fault: the device may ask for it.
std::optional<Translation> ArmSmmuV3::translate_for_device(const Transaction& transaction) {
  const PhysAddr same{align_down(transaction.iova.value, kPageSize)};
  if (!kCr0["SMMUEN"].is_set(cr0_)) return std::nullopt;
  const StreamConfig config = config_of(transaction.stream, transaction.pasid);
  if (config.kind == StreamConfig::Kind::abort) return std::nullopt;
  if (config.kind == StreamConfig::Kind::error || !config.ats) {
    const bool bad_config = config.kind == StreamConfig::Kind::error;
    record({bad_config ? config.error.event : Event::f_bad_ats_treq, transaction, config.error});
    return std::nullopt;
  }
  if (config.kind == StreamConfig::Kind::bypass)  // stage 1 is skipped (13.6.4)
    return pass(transaction).value_or(Translation{.page = same});
  WalkResult page = walk(config, transaction.iova, transaction.access);
  // The device wants to write what may only be read: that is told.
  if (!page && page.error().event == Event::f_permission && transaction.access == Access::write)
    page = walk(config, transaction.iova, Access::read);
  if (page)
    return Translation{page->first, static_cast<std::uint8_t>(page->lg2), page->read, page->write, !context_.paranoid};
  if (page.error().event != Event::f_walk_eabt) return Translation{.page = same};
  record({Event::f_walk_eabt, transaction, page.error()});
  return std::nullopt;
}

// The hardware sees the stream and a physical address; only paranoid mode knows what was asked for.
bool ArmSmmuV3::admits_translated(const Transaction& transaction, const Translation& kept) {
  if (!kCr0["SMMUEN"].is_set(cr0_)) return false;
  if (!kCr0["ATSCHK"].is_set(cr0_) && !context_.paranoid) return true;
  const StreamConfig config = config_of(transaction.stream, transaction.pasid);
  if (kCr0["ATSCHK"].is_set(cr0_) && !config.ats) {
    record({Event::f_transl_forbidden, transaction, {}});
    return false;
  }
  if (!context_.paranoid || config.kind != StreamConfig::Kind::translate) return true;
  if (const auto stale = disagreement(transaction, config, kept))
    context_.findings.add(
        fmt::format("{}: stale translation: {} (kept by the device); missing: CMD_ATC_INV", name(), *stale));
  return true;
}

}  // namespace softiommu::smmuv3
