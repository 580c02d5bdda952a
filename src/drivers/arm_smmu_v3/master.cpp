// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/arm_smmu_v3/master.h"

#include <algorithm>
#include <array>

#include "base/log.h"
#include "core/device.h"
#include "core/group.h"
#include "drivers/arm_smmu_v3/nested.h"
#include "drivers/pci_ats.h"

namespace softiommu::arm_smmu_v3 {

using namespace hw::smmuv3;

// ---- Probe ------------------------------------------------------------------------------------------------------

Result<> Master::make_structures() {
  const Features& features = unit_.features();
  for (const StreamId stream : streams_) TRY(unit_.make_stream(stream));
  stalls_ = features.stalls == StallModel::always || (features.stalls == StallModel::choice && device_.can_stall());
  has_ats_ = features.ats && pci_ats::has_ats(device_);
  has_pri_ = has_ats_ && features.pri && pci_ats::has_page_requests(device_);
  if (features.stage == 1) {
    pair_ = TRY(DescriptorPair::create(unit_.tables()));
    pasid_bits_ = std::min(features.substream_bits, pci_ats::pasid_bits(device_));
    // A linear table of more is more than table memory gives in one piece.
    if (!features.two_level_descriptors) pasid_bits_ = std::min(pasid_bits_, DescriptorTable::kLeafLg2);
  }
  if (pasid_bits_ != 0) {
    table_ = TRY(DescriptorTable::create(unit_.tables(), pasid_bits_));
    pci_ats::enable_pasids(device_);
  }
  unit_.add_master(*this);
  return {};
}

Master::~Master() {
  unit_.remove_master(*this);
  const MutexLock lock(mutex_);
  switch_tlb({});
}

StreamTraits Master::traits() const {
  const Features& features = unit_.features();
  return {.coherent = features.coherent,
          .stalls = stalls_,
          .stalls_off = features.stage == 1 && features.stalls == StallModel::choice && !stalls_,
          .translates = has_ats_};
}

// ---- What entries and descriptors say ---------------------------------------------------------------------------

namespace {

const PagingDomain* paging(const Domain* domain) {
  return domain != nullptr && domain->type() == DomainType::paging ? static_cast<const PagingDomain*>(domain) : nullptr;
}

S1Default without_pasid(const Domain& domain) {
  if (domain.type() == DomainType::identity) return S1Default::bypass;
  return domain.type() == DomainType::blocked ? S1Default::abort : S1Default::substream0;
}

// Do entries for it say that translation requests are answered?
bool answers_own_tlb(const Domain& domain) {
  if (domain.type() == DomainType::nested) return static_cast<const NestedDomain&>(domain).answers_own_tlb();
  return domain.type() == DomainType::paging;
}

constexpr IovaRange kEverything{Iova{0}, Iova{~std::uint64_t{0}}};

}  // namespace

const PagingDomain* Master::stage1_domain() const {
  const PagingDomain* const domain = paging(domain_);
  return domain != nullptr && domain->stage() == 1 ? domain : nullptr;
}

StreamEntry Master::entry() const {
  if (domain_ == nullptr) return abort_entry();
  if (!pasids_.empty()) return stage1_entry(traits(), table_->entry_bits(), without_pasid(*domain_));
  switch (domain_->type()) {
    case DomainType::blocked:
      return abort_entry();
    case DomainType::identity:
      return bypass_entry(traits());
    case DomainType::nested:
      return static_cast<const NestedDomain&>(*domain_).entry(traits());
    case DomainType::paging:
      break;
  }
  const auto& domain = static_cast<const PagingDomain&>(*domain_);
  if (domain.stage() == 2) return stage2_entry(traits(), domain, id_);
  return stage1_entry(traits(), kSte0["S1ContextPtr"].in_place(slot_->address.value), S1Default::substream0);
}

// All of them, whatever one answers: this blocks, too.
Result<> Master::write_entries(const StreamEntry& wanted) {
  Result<> answer;
  for (const StreamId stream : streams_)
    if (auto set = unit_.set_stream(stream, wanted); !set && answer) answer = std::move(set);
  return answer;
}

Result<> Master::forget_descriptors(std::optional<Pasid> pasid) {
  for (const StreamId stream : streams_) TRY(unit_.forget_descriptor(stream, pasid));
  return {};
}

// On the way the descriptor is not valid, so that none is seen half changed.
Result<> Master::write_descriptor(Pasid pasid, const ContextDescriptor* wanted) {
  if (wanted != nullptr && table_->says(pasid, *wanted)) return {};
  if (table_->is_valid(pasid)) {
    table_->make_invalid(pasid);
    TRY(forget_descriptors(pasid));
  }
  if (wanted == nullptr) return {};
  table_->fill(pasid, *wanted);
  table_->set_first_word(pasid, wanted->words[0]);
  return forget_descriptors(pasid);
}

// The descriptor for requests without a PASID, in the place that the entries name.
Result<> Master::hold_descriptor() {
  const PagingDomain* const domain = stage1_domain();
  if (!pasids_.empty()) {
    if (domain == nullptr) return {};
    const auto wanted = ContextDescriptor::of(*domain, traits(), id_);
    return write_descriptor(0, &wanted);
  }
  if (domain == nullptr) return {};
  slot_ = pair_->hold(ContextDescriptor::of(*domain, traits(), id_));
  return slot_->written ? forget_descriptors(std::nullopt) : Result<>{};
}

// Makes the hardware do what the members say. The device's own TLB is switched off before the unit stops to answer it,
// and on once it does; what it keeps goes last, when it can learn nothing old any more.
Result<> Master::install() {
  const OnTlb wanted = wanted_of_tlb();
  const bool kept = tlb_.translates;
  if (!wanted.translates) switch_tlb(wanted);
  TRY(hold_descriptor());
  TRY(write_entries(entry()));
  if (stage1_domain() != nullptr && pasids_.empty()) pair_->use(*slot_);
  if (kept && wanted.translates) TRY(forget_all_translations());
  switch_tlb(wanted);
  return {};
}

// ---- Attach -----------------------------------------------------------------------------------------------------

bool Master::has_pasids() const {
  const MutexLock lock(mutex_);
  return !pasids_.empty();
}

const Domain* Master::domain() const {
  const MutexLock lock(mutex_);
  return domain_;
}

Result<> Master::reserve(Pasid pasid) {
  if (!reaches(pasid)) return fail(ENODEV, "the device has no such PASID");
  bool new_leaf = false;
  const auto reserved = without_throwing([&]() -> Result<> {
    const MutexLock lock(mutex_);
    pasids_.reserve(pasids_.size() + 1);
    new_leaf = TRY(table_->reserve(pasid));
    return {};
  });
  if (!reserved) return reserved;
  const MutexLock lock(mutex_);
  // That there was none may be cached.
  return new_leaf && !pasids_.empty() ? forget_descriptors(std::nullopt) : Result<>{};
}

Result<> Master::attach(const Domain& to, UnitId id) {
  const MutexLock lock(mutex_);
  domain_ = &to;
  id_ = id;
  move_to_guest(&to);
  TRY(install());
  if (stage1_domain() == nullptr && table_ != nullptr) TRY(write_descriptor(0, nullptr));
  // The id may have been handed on by another domain: what is cached under it is not of this one.
  const PagingDomain* const domain = paging(&to);
  return domain != nullptr ? unit_.invalidate_id(domain->tag(id)) : Result<>{};
}

Result<> Master::attach_pasid(Pasid pasid, const PagingDomain* to, UnitId id) {
  const MutexLock lock(mutex_);
  std::erase_if(pasids_, [&](const OfPasid& each) { return each.pasid == pasid; });
  if (to == nullptr) {
    TRY(write_descriptor(pasid, nullptr));
  } else {
    const auto wanted = ContextDescriptor::of(*to, traits(), id);
    pasids_.push_back({pasid, to});  // reserved
    TRY(write_descriptor(pasid, &wanted));
  }
  TRY(install());
  if (tlb_.translates) TRY(unit_.forget_device_translations(streams_.front(), pasid, kEverything));
  return to != nullptr ? unit_.invalidate_id(to->tag(id)) : Result<>{};
}

Result<> Master::block() {
  const MutexLock lock(mutex_);
  domain_ = nullptr;
  move_to_guest(nullptr);
  switch_tlb({});
  return write_entries(abort_entry());
}

// ---- The device's own TLB ---------------------------------------------------------------------------------------
// It is behind the first of the device's ids: nobody asks for translations under an alias.

// It asks where the entries let requests be answered, and for pages where somebody brings them.
Master::OnTlb Master::wanted_of_tlb() const {
  if (!has_ats_ || domain_ == nullptr) return {};
  const bool brings_pages =
      std::ranges::any_of(pasids_, [](const OfPasid& each) { return each.domain->page_request_handler() != nullptr; });
  return {.translates = !pasids_.empty() || answers_own_tlb(*domain_),
          .requests_pages = has_pri_ && (brings_pages || domain_->page_request_handler() != nullptr)};
}

void Master::switch_tlb(OnTlb wanted) {
  if (tlb_.requests_pages && !wanted.requests_pages) pci_ats::disable_page_requests(device_);
  if (tlb_.translates && !wanted.translates) pci_ats::disable_ats(device_);
  if (wanted.translates && !tlb_.translates) pci_ats::enable_ats(device_);
  constexpr std::uint32_t kOutstanding = 32;
  if (wanted.requests_pages && !tlb_.requests_pages) pci_ats::enable_page_requests(device_, kOutstanding);
  tlb_ = wanted;
}

Result<> Master::forget_all_translations() {
  TRY(unit_.forget_device_translations(streams_.front(), 0, kEverything));
  for (const OfPasid& each : pasids_) TRY(unit_.forget_device_translations(streams_.front(), each.pasid, kEverything));
  return {};
}

// Whoever is on a nested domain has addresses that the parent does not know: everything goes.
Result<> Master::forget_translations(Pasid pasid, IovaRange range) {
  const MutexLock lock(mutex_);
  if (!tlb_.translates) return {};
  const bool nested = domain_ != nullptr && domain_->type() == DomainType::nested;
  return nested ? unit_.forget_device_translations(streams_.front(), std::nullopt, kEverything)
                : unit_.forget_device_translations(streams_.front(), pasid, range);
}

// ---- Faults -----------------------------------------------------------------------------------------------------

// What nobody takes has been answered; nothing is left to do.
void Master::report(const PageRequest& request) const {
  static_cast<void>(device_.group()->page_faults().report(device_, request));
}

Result<> Master::respond(const PageRequest& request, PageAnswer answer) {
  if (stalls_) {
    // The request does not say under which of its ids the device sent it: a tag of another one is ignored (4.6.1).
    for (const StreamId stream : streams_) TRY(unit_.resume(stream, request.index, answer == PageAnswer::success));
    return {};
  }
  return unit_.answer_page_request(streams_.front(), request, answer);
}

void Master::move_to_guest(const Domain* to) {
  const auto* const nested = dynamic_cast<const NestedDomain*>(to);
  const MutexLock lock(guest_mutex_);
  guest_ = nested != nullptr ? &nested->guest() : nullptr;
}

bool Master::tell_guest(std::span<const std::uint64_t, kEventWords> event) const {
  const MutexLock lock(guest_mutex_);
  return guest_ != nullptr && guest_->tell(device_, event);
}

}  // namespace softiommu::arm_smmu_v3
