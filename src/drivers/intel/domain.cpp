// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/intel/domain.h"

#include <algorithm>

#include "base/log.h"
#include "core/user_data.h"
#include "drivers/intel/device.h"

namespace softiommu::intel {

namespace {

constexpr IovaRange kEverything{Iova{0}, Iova{~std::uint64_t{0}}};

void log_failure(const Unit& unit, const Result<>& done) {
  if (!done) log::error("DMAR: {}: {}", unit.name(), done.error().why);
}

}  // namespace

// ---- All kinds --------------------------------------------------------------------------------------------------

void IntelDomain::invalidate(IovaRange range, bool leaf_only) {
  const MutexLock lock(mutex_);
  for (const Use& use : uses_) {
    log_failure(*use.unit, invalidate_unit(use, range, leaf_only));
    log_failure(*use.unit, invalidate_device_tlbs(use, range));
  }
}

Result<> IntelDomain::invalidate_pasids(const Use& use, IovaRange range, bool leaf_only) {
  bool done_without = false;  // devices without PASIDs share one tag
  for (const Member& member : use.members) {
    if (member.pasid == 0 && std::exchange(done_without, true)) continue;
    TRY(use.unit->invalidate_pasid_pages(use.id, member.pasid, range, leaf_only));
  }
  return {};
}

Result<> IntelDomain::invalidate_device_tlbs(const Use& use, IovaRange range) {
  if (!use.unit->has_device_tlbs()) return {};
  for (const Member& member : use.members)
    TRY(static_cast<IntelDevice*>(member.device->data())->invalidate_tlb(member.pasid, range));
  return {};
}

Result<> IntelDomain::refresh_members() {
  const MutexLock lock(mutex_);
  for (const Use& use : uses_)
    for (const Member& member : use.members)
      TRY(static_cast<IntelDevice*>(member.device->data())->refresh(member.pasid, pasid_entry(use.id)));
  return {};
}

// ---- Second stage -----------------------------------------------------------------------------------------------

SecondStageDomain::SecondStageDomain(Driver& owner, Table table, std::vector<Unit*> made_for, const Uses& uses)
    : IntelDomain(owner), table_(std::move(table)), made_for_(std::move(made_for)), has_(uses) {
  aperture_ = table_.aperture();
  page_sizes_ = table_.page_sizes();
}

Result<> SecondStageDomain::map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) {
  // Erratum 772415 of Sapphire Rapids, which Linux tells programs of: hardware may write what nested translations read.
  if (has_.nest_parent && !prot.write) return fail(EINVAL, "a nest parent has no read-only pages");
  prot.coherent = prot.coherent || enforces_cache_coherency_;
  auto mapped = table_.map(iova, pa, bytes, prot);
  if (mapped && sync_after_map_.load(std::memory_order_seq_cst)) [[unlikely]]
    sync_after_map(iova, bytes);
  return mapped;
}

void SecondStageDomain::sync_after_map(Iova iova, std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  for (const Use& use : uses_)
    if (use.unit->must_sync_after_map())
      log_failure(*use.unit, use.unit->sync_after_map(use.id, IovaRange::of(iova, bytes)));
}

std::uint64_t SecondStageDomain::unmap(Iova iova, std::uint64_t bytes) {
  return pt::unmap_and(table_, made_for_.front()->tables(), iova, bytes, [&](const pt::Gather& gather) {
    invalidate_with_nested(gather.range(), !gather.tables_freed());
  });
}

Result<> SecondStageDomain::invalidate_unit(const Use& use, IovaRange range, bool leaf_only) {
  return use.unit->invalidate_pages(use.id, range, leaf_only);
}

void SecondStageDomain::invalidate_with_nested(IovaRange range, bool leaf_only) {
  invalidate(range, leaf_only);
  if (!has_.nest_parent) return;
  const MutexLock lock(nested_mutex_);
  for (NestedDomain* nested : nested_) nested->parent_changed(range, leaf_only);
}

std::optional<PhysAddr> SecondStageDomain::iova_to_phys(Iova iova) const { return table_.iova_to_phys(iova); }

bool SecondStageDomain::enforce_cache_coherency() {
  const MutexLock lock(mutex_);
  const auto able = [](const Unit* unit) { return unit->snoop_control(); };
  if (!std::ranges::all_of(made_for_, able)) return false;
  for (const Use& use : uses_)
    if (!use.unit->snoop_control()) return false;
  enforces_cache_coherency_ = true;
  return true;
}

// Entries say whether hardware keeps dirty bits; what is cached as writable would let writes pass unnoticed.
Result<> SecondStageDomain::set_dirty_tracking(bool on) {
  if (!has_.dirty_tracking) return fail(EOPNOTSUPP, "the domain was not made for dirty tracking");
  if (keeps_dirty_.exchange(on, std::memory_order_seq_cst) == on) return {};
  TRY(refresh_members());
  const MutexLock lock(nested_mutex_);
  for (NestedDomain* nested : nested_) TRY(nested->parent_refreshed());
  return {};
}

Result<> SecondStageDomain::read_dirty(IovaRange range, bool clear,
                                       const std::function<void(Iova, std::uint64_t)>& dirty) {
  if (!has_.dirty_tracking) return fail(EOPNOTSUPP, "the domain was not made for dirty tracking");
  pt::Gather gather;
  table_.read_dirty(range, clear, dirty, &gather);
  if (!gather.empty()) invalidate_with_nested(gather.range(), true);
  return {};
}

AttachResult<> SecondStageDomain::fits(const Unit& unit) const {
  using enum AttachFailure;
  if (!unit.second_stage()) return driver_says(incompatible, {"second stage", 1, 0});
  if (has_.dirty_tracking && !unit.tracks_dirty()) return driver_says(incompatible, {"dirty tracking", 1, 0});
  if (has_.nest_parent && !unit.nests()) return driver_says(incompatible, {"nesting", 1, 0});
  if (!unit.walks_levels(levels()))
    return driver_says(incompatible, {"page table levels", levels(), unit.largest_levels()});
  if (has_.address_width > unit.address_width())
    return driver_says(incompatible, {"address width", has_.address_width, unit.address_width()});
  if ((page_sizes_ & ~unit.page_sizes()) != 0)
    return driver_says(incompatible, {"page sizes", page_sizes_, unit.page_sizes()});
  if (enforces_cache_coherency_ && !unit.snoop_control()) return driver_says(incompatible, {"snoop control", 1, 0});
  return {};
}

Result<> SecondStageDomain::add_nested(NestedDomain& nested) {
  return without_throwing([&]() -> Result<> {
    const MutexLock lock(nested_mutex_);
    nested_.push_back(&nested);
    return {};
  });
}

void SecondStageDomain::remove_nested(NestedDomain& nested) {
  const MutexLock lock(nested_mutex_);
  std::erase(nested_, &nested);
}

// ---- First stage ------------------------------------------------------------------------------------------------

FirstStageDomain::FirstStageDomain(Driver& owner, Table table, std::vector<Unit*> made_for)
    : IntelDomain(owner), table_(std::move(table)), made_for_(std::move(made_for)) {
  aperture_ = table_.aperture();
  page_sizes_ = table_.page_sizes();
}

// VT-d 6.1: entries of a first stage that are not present are not cached, in caching mode either.
Result<> FirstStageDomain::map(Iova iova, PhysAddr pa, std::uint64_t bytes, Prot prot) {
  prot.coherent = false;  // a matter of the PASID table entry
  auto mapped = table_.map(iova, pa, bytes, prot);
  if (mapped && sync_after_map_.load(std::memory_order_seq_cst)) [[unlikely]]
    sync_after_map();
  return mapped;
}

void FirstStageDomain::sync_after_map() {
  const MutexLock lock(mutex_);
  for (const Use& use : uses_)
    if (use.unit->flushes_write_buffer()) log_failure(*use.unit, use.unit->flush_write_buffer());
}

std::uint64_t FirstStageDomain::unmap(Iova iova, std::uint64_t bytes) {
  return pt::unmap_and(table_, made_for_.front()->tables(), iova, bytes,
                       [&](const pt::Gather& gather) { invalidate(gather.range(), !gather.tables_freed()); });
}

std::optional<PhysAddr> FirstStageDomain::iova_to_phys(Iova iova) const { return table_.iova_to_phys(iova); }

bool FirstStageDomain::enforce_cache_coherency() {
  {
    const MutexLock lock(mutex_);
    const auto able = [](const Unit* unit) { return unit->snoop_control(); };
    if (!std::ranges::all_of(made_for_, able)) return false;
    for (const Use& use : uses_)
      if (!use.unit->snoop_control()) return false;
    if (std::exchange(enforces_cache_coherency_, true)) return true;
  }
  return refresh_members().has_value();
}

AttachResult<> FirstStageDomain::fits(const Unit& unit) const {
  using enum AttachFailure;
  if (!unit.first_stage()) return driver_says(incompatible, {"first stage", 1, 0});
  if (levels() > unit.first_stage_levels())
    return driver_says(incompatible, {"first-stage levels", levels(), unit.first_stage_levels()});
  const auto bits = static_cast<unsigned>(std::bit_width(aperture_.last.value));
  if (bits > unit.address_width()) return driver_says(incompatible, {"address width", bits, unit.address_width()});
  if ((page_sizes_ & ~unit.first_stage_page_sizes()) != 0)
    return driver_says(incompatible, {"page sizes", page_sizes_, unit.first_stage_page_sizes()});
  if (enforces_cache_coherency_ && !unit.snoop_control()) return driver_says(incompatible, {"snoop control", 1, 0});
  return {};
}

// ---- Nested -----------------------------------------------------------------------------------------------------

namespace {

// enum iommu_hwpt_vtd_s1_flags, and widths of the tables.
constexpr std::uint64_t kSupervisorRequests = 1, kExtendedAccess = 2, kWriteProtect = 4;
constexpr std::uint32_t kFourLevels = 48, kFiveLevels = 57;
constexpr std::uint32_t kLeafOnly = 1;  // enum iommu_hwpt_vtd_s1_invalidate_flags

}  // namespace

Result<std::unique_ptr<Domain>> NestedDomain::create(Driver& owner, SecondStageDomain& parent,
                                                     const FirstStageConfig& config) {
  std::unique_ptr<NestedDomain> domain(new NestedDomain(owner, parent, config));
  TRY(parent.add_nested(*domain));
  return domain;
}

PasidEntry NestedDomain::pasid_entry(DomainId id) const {
  using namespace hw::vtd;
  PasidEntry entry = PasidEntry::nested(
      {PhysAddr{config_.pgtbl_addr}, config_.addr_width == kFiveLevels ? 5u : 4u, parent_.enforces_cache_coherency()},
      parent_.stage(), id);
  const bool supervisor = (config_.flags & kSupervisorRequests) != 0;
  entry.words[2] |= kPasidEntry2["SRE"].put(supervisor) |
                    kPasidEntry2["WPE"].put(supervisor && (config_.flags & kWriteProtect) != 0) |
                    kPasidEntry2["EAFE"].put((config_.flags & kExtendedAccess) != 0);
  return entry;
}

AttachResult<> NestedDomain::fits(const Unit& unit) const {
  using namespace hw::vtd;
  using enum AttachFailure;
  TRY(parent_.fits(unit));
  const bool deep = kCap["FS5LP"].is_set(unit.cap());
  if (config_.addr_width != kFourLevels && (config_.addr_width != kFiveLevels || !deep))
    return driver_says(incompatible,
                       {"first-stage address width", config_.addr_width, deep ? kFiveLevels : kFourLevels});
  if ((config_.flags & kSupervisorRequests) != 0 && !kEcap["SRS"].is_set(unit.ecap()))
    return driver_says(incompatible, {"supervisor requests", 1, 0});
  if ((config_.flags & kExtendedAccess) != 0 && !kEcap["EAFS"].is_set(unit.ecap()))
    return driver_says(incompatible, {"extended accessed flag", 1, 0});
  return {};
}

Result<> NestedDomain::cache_invalidate_user(UserArray& entries) {
  if (entries.type() != kFirstStageInvalidationData) return fail(EINVAL, "the entries are of another type");
  while (entries.more()) {
    const auto entry =
        TRY(entries.next<FirstStageInvalidation>(kFirstStageInvalidationData, sizeof(FirstStageInvalidation)));
    if ((entry.flags & ~kLeafOnly) != 0 || entry.reserved != 0) return fail(EOPNOTSUPP, "an unknown flag");
    const bool everything = entry.npages == ~std::uint64_t{0};
    if (entry.addr % kPageSize != 0 || (everything && entry.addr != 0))
      return fail(EINVAL, "the address is not that of a page");
    const std::uint64_t most = (~std::uint64_t{0} - entry.addr) >> kPageShift;
    const bool whole = everything || entry.npages > most;
    if (whole || entry.npages != 0)
      invalidate(whole ? kEverything : IovaRange::of(Iova{entry.addr}, entry.npages << kPageShift),
                 (entry.flags & kLeafOnly) != 0);
    entries.accept();
  }
  return {};
}

// Which of its addresses went through the parent's pages nobody knows: all that devices keep goes.
void NestedDomain::parent_changed(IovaRange range, bool leaf_only) {
  const MutexLock lock(mutex_);
  for (const Use& use : uses_) {
    log_failure(*use.unit, use.unit->invalidate_pages(use.id, range, leaf_only));
    log_failure(*use.unit, invalidate_device_tlbs(use, kEverything));
  }
}

}  // namespace softiommu::intel
