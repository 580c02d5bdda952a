// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/arm_smmu_v3/domain.h"

#include <algorithm>
#include <atomic>

#include "base/log.h"

namespace softiommu::arm_smmu_v3 {

using namespace hw::smmuv3;

PagingDomain::PagingDomain(Driver& owner, Table table, TableMemory& memory, bool coherent)
    : SharedTableDomain(owner), table_(std::move(table)), memory_(memory), coherent_(coherent) {
  aperture_ = table_.aperture();
  page_sizes_ = table_.page_sizes();
}

Result<> PagingDomain::map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) {
  return table_.map(iova, pa, bytes, prot);
}

std::uint64_t PagingDomain::unmap(Iova iova, std::uint64_t bytes) {
  pt::Gather gather;
  const std::uint64_t unmapped = table_.unmap(iova, bytes, gather);
  if (gather.empty()) return unmapped;
  invalidate(gather);
  gather.release(memory_);
  return unmapped;
}

std::optional<PhysAddr> PagingDomain::iova_to_phys(Iova iova) const { return table_.iova_to_phys(iova); }

// The table keeps the dirty state from its first mapping on; who starts to track reads and clears it first.
Result<> PagingDomain::set_dirty_tracking(bool /*on*/) {
  if (!config().dirty_tracking) return fail(EOPNOTSUPP, "the domain was not made for dirty tracking");
  return {};
}

Result<> PagingDomain::read_dirty(IovaRange range, bool clear, const std::function<void(Iova, std::uint64_t)>& dirty) {
  if (!config().dirty_tracking) return fail(EOPNOTSUPP, "the domain was not made for dirty tracking");
  pt::Gather gather;
  table_.read_dirty(range, clear, dirty, &gather);
  // A writable entry that is still cached would let the next write pass unnoticed.
  if (!gather.empty()) invalidate(gather);
  return {};
}

void PagingDomain::invalidate(const pt::Gather& gather) {
  const MutexLock lock(mutex_);
  for (const Use& use : uses_) {
    const auto done = use.unit->invalidate_pages(use.id, gather.range(), !gather.tables_freed());
    if (!done) log::error("arm-smmu-v3: {}: {}", use.unit->name(), done.error().why);
  }
}

// What is smaller than the unit's is fine: a group's domain is made for the least of its units.
AttachResult<> PagingDomain::fits(const Unit& unit) const {
  using enum AttachFailure;
  const Features& features = unit.features();
  if (stage() != features.stage) return driver_says(incompatible, {"stage", stage(), features.stage});
  if (config().input_bits > unit.input_bits())
    return driver_says(incompatible, {"input size", config().input_bits, unit.input_bits()});
  if (config().output_bits > features.output_bits)
    return driver_says(incompatible, {"output size", config().output_bits, features.output_bits});
  if (coherent_ && !features.coherent) return driver_says(incompatible, {"coherency", 1, 0});
  if (config().dirty_tracking && !features.dirty) return driver_says(incompatible, {"dirty tracking", 1, 0});
  return {};
}

namespace {

constexpr std::uint64_t kWriteBack = 1, kNonCacheable = 0;  // IR0, OR0: how table walks are cached
constexpr std::uint64_t kInnerShareable = 3, kNonShareable = 0;
constexpr std::uint64_t kMairWriteBack = 0xff;  // normal memory, write-back, allocating

constexpr std::uint64_t output_size(unsigned bits) {
  constexpr unsigned kBits[] = {32, 36, 40, 42, 44, 48};  // IPS, S2PS: as IDR5.OAS
  return static_cast<std::uint64_t>(std::ranges::find(kBits, bits) - std::begin(kBits));
}

}  // namespace

ContextDescriptors::Words ContextDescriptors::describe(const PagingDomain& domain, const Features& features,
                                                       UnitId id) {
  const pt::ArmLpaeConfig& config = domain.config();
  const std::uint64_t cacheability = features.coherent ? kWriteBack : kNonCacheable;
  Words cd;
  cd.words[0] = kCd0["T0SZ"].put(64 - config.input_bits) | kCd0["IR0"].put(cacheability) |
                kCd0["OR0"].put(cacheability) | kCd0["SH0"].put(features.coherent ? kInnerShareable : kNonShareable) |
                kCd0["EPD1"].put(1) | kCd0["V"].put(1) | kCd0["IPS"].put(output_size(config.output_bits)) |
                kCd0["AA64"].put(1) | kCd0["HA"].put(config.dirty_tracking) | kCd0["HD"].put(config.dirty_tracking) |
                kCd0["R"].put(1) | kCd0["A"].put(1) | kCd0["ASET"].put(1) | kCd0["ASID"].put(id);
  cd.words[1] = kCd1["TTB0"].in_place(domain.root().value);
  cd.words[3] = kCd3["MAIR0"].put(kMairWriteBack << 8 * pt::ArmLpae::kAttrIndexWriteBack);
  return cd;
}

ContextDescriptors::Slot ContextDescriptors::hold(const Words& wanted) {
  for (unsigned slot = 0; slot < kSlots; ++slot)
    if (std::ranges::equal(wanted.words, std::span(words(slot), kCdWords)))
      return {slot, memory_.address(words(slot)), false};
  const unsigned spare = (live_ + 1) % kSlots;
  for (unsigned word = kCdWords; word-- > 0;)
    std::atomic_ref(words(spare)[word]).store(wanted.words[word], std::memory_order_release);
  return {spare, memory_.address(words(spare)), true};
}

StreamEntry Unit::stage2(const PagingDomain& domain, UnitId id) const {
  constexpr unsigned kLeastLevels = 2;  // S2SL0 0: the walk starts at level 2, each one more starts a level earlier
  const pt::ArmLpaeConfig& config = domain.config();
  const std::uint64_t cacheability = features_.coherent ? kWriteBack : kNonCacheable;
  StreamEntry entry = bypass();
  entry.words[0] = kSte0["V"].put(1) | kSte0["Config"].put(std::to_underlying(SteConfig::stage2));
  entry.words[2] = kSte2["S2VMID"].put(id) | kSte2["S2T0SZ"].put(64 - config.input_bits) |
                   kSte2["S2SL0"].put(domain.levels() - kLeastLevels) | kSte2["S2IR0"].put(cacheability) |
                   kSte2["S2OR0"].put(cacheability) |
                   kSte2["S2SH0"].put(features_.coherent ? kInnerShareable : kNonShareable) |
                   kSte2["S2PS"].put(output_size(config.output_bits)) | kSte2["S2AA64"].put(1) | kSte2["S2PTW"].put(1) |
                   kSte2["S2R"].put(1);
  entry.words[3] = kSte3["S2TTB"].in_place(domain.root().value);
  return entry;
}

bool Unit::same_ids(const PagingDomain& a, const PagingDomain& b) { return a.stage() == b.stage(); }

}  // namespace softiommu::arm_smmu_v3
