// SPDX-License-Identifier: BSD-3-Clause
// How a VT-d unit translates: root table, context table, walks of both stages (VT-d 3.4, 3.6-3.8) and the faults on
// the way (7.1.3). Nothing here takes a lock that is held while DMA is awaited.
//
// A walk reads the tables as they are now; what an invalidation must remove is only in the context cache and the
// IOTLB. The IOTLB's ticket is taken before the context is looked up: a translation found through a context
// entry that is invalidated meanwhile must not be cached under its domain id.
#include <algorithm>
#include <atomic>
#include <bit>

#include "machine/iommu/intel_vtd/intel_vtd.h"
#include "machine/iommu/walk/vtd_second_stage.h"
#include "machine/iommu/walk/x86_64.h"
#include "machine/memory.h"

namespace softiommu::vtd {

using namespace hw::vtd;

namespace {

constexpr unsigned kIdentityLg2 = 30;  // untranslated addresses are handed out in pieces of 1 GiB
constexpr std::uint64_t kEntryBytes = kEntryWords * sizeof(std::uint64_t);
constexpr PhysRange kInterruptRange{PhysAddr{kInterruptRangeFirst}, PhysAddr{kInterruptRangeLast}};

constexpr std::uint64_t bits_from(unsigned lowest) { return lowest >= 64 ? 0 : ~std::uint64_t{0} << lowest; }

PhysAddr resolve(const Translation& translation, Iova iova) {
  const std::uint64_t within = iova.value & ((std::uint64_t{1} << translation.page_lg2) - 1);
  return translation.page + within;
}

Translation identity(Iova iova) {
  Translation whole;
  whole.page = PhysAddr{align_down(iova.value, std::uint64_t{1} << kIdentityLg2)};
  whole.page_lg2 = kIdentityLg2;
  whole.read = whole.write = true;
  return whole;
}

constexpr bool allows(const Translation& translation, Access access) {
  return access == Access::write ? translation.write : translation.read;
}

FaultReason beyond_width(const Route& route) {
  if (!route.scalable) return FaultReason::address_beyond_mgaw;
  return route.kind == Route::Kind::pass_through ? FaultReason::sm_beyond_width : FaultReason::ss_beyond_width;
}

FaultReason not_allowed(const Route& route, Access access) {
  const bool write = access == Access::write;
  if (!route.scalable) return write ? FaultReason::write_not_allowed : FaultReason::read_not_allowed;
  if (route.kind == Route::Kind::second_stage) return FaultReason::ss_not_allowed;
  return write ? FaultReason::sm_write_not_allowed : FaultReason::sm_read_not_allowed;
}

FaultReason reason_of_second_stage(const Route& route, const walk::Failure& failure) {
  using enum walk::Fault;
  const bool nested = route.kind == Route::Kind::nested;
  switch (failure.fault) {
    case not_present:  // of a second stage alone: no rights, which caching mode remembers
      if (!nested) return FaultReason::none;
      return failure.of_table ? FaultReason::nested_not_allowed : FaultReason::ss_not_allowed;
    case input_range:
      return nested ? FaultReason::nested_beyond_mgaw : beyond_width(route);
    case permission:
      return failure.of_table ? FaultReason::nested_not_allowed : FaultReason::ss_not_allowed;
    case memory:
      return route.scalable ? FaultReason::ss_access : FaultReason::table_access_failed;
    default:
      return route.scalable ? FaultReason::ss_reserved : FaultReason::table_entry_reserved;
  }
}

FaultReason reason_of(const Route& route, const walk::Failure& failure) {
  using enum walk::Fault;
  if (!route.has_first_stage() || failure.stage == 2) return reason_of_second_stage(route, failure);
  switch (failure.fault) {
    case not_present:
      return FaultReason::fs_not_present;
    case input_range:
      return FaultReason::fs_not_canonical;
    case memory:
      return FaultReason::fs_access;
    default:
      return FaultReason::fs_reserved;
  }
}

// Of a translation request: the answer has no rights.
bool says_not_mapped(FaultReason reason) {
  switch (reason) {
    case FaultReason::read_not_allowed:
    case FaultReason::write_not_allowed:
    case FaultReason::fs_not_present:
    case FaultReason::ss_not_allowed:
    case FaultReason::nested_not_allowed:
    case FaultReason::sm_read_not_allowed:
    case FaultReason::sm_write_not_allowed:
    case FaultReason::interrupt_address:
    case FaultReason::sm_interrupt_address:
      return true;
    default:
      return false;
  }
}

// A page that touches the interrupt range, as input or as output, is handed out in pieces of 4 KiB, so that
// each piece lies inside or outside.
Translation keep_from_interrupts(Translation translation, Iova iova) {
  const std::uint64_t bytes = std::uint64_t{1} << translation.page_lg2;
  const auto input = PhysRange::of(PhysAddr{align_down(iova.value, bytes)}, bytes);
  const auto output = PhysRange::of(translation.page, bytes);
  if (!input.overlaps(kInterruptRange) && !output.overlaps(kInterruptRange)) return translation;
  translation.page = PhysAddr{align_down(resolve(translation, iova).value, kPageSize)};
  translation.page_lg2 = kPageShift;
  return translation;
}

}  // namespace

std::optional<Translation> IntelVtd::translate(const Transaction& transaction) {
  // VT-d 3.14: requests to the interrupt range are interrupts, never DMA, and nothing here takes them.
  if (kInterruptRange.contains(PhysAddr{transaction.iova.value})) return std::nullopt;
  if (!translating_.load(std::memory_order_acquire))
    return keep_from_interrupts(identity(transaction.iova), transaction.iova);
  const Answer answer = remap(transaction, RequestKind::untranslated);
  if (answer.reason == FaultReason::none) return keep_from_interrupts(answer.translation, transaction.iova);
  return refuse(transaction, answer);
}

// VT-d 4.2.2: that nothing is mapped, or too little allowed, is an answer and no fault.
std::optional<Translation> IntelVtd::translate_for_device(const Transaction& transaction) {
  if (!kEcap["DT"].is_set(capabilities_.ecap) || !translating_.load(std::memory_order_acquire)) return std::nullopt;
  if (kInterruptRange.contains(PhysAddr{transaction.iova.value})) return Translation{};
  const Answer answer = remap(transaction, RequestKind::translation);
  if (answer.reason == FaultReason::none) return keep_from_interrupts(answer.translation, transaction.iova);
  if (says_not_mapped(answer.reason)) return Translation{};
  return refuse(transaction, answer);
}

bool IntelVtd::admits_translated(const Transaction& transaction, const Translation& kept) {
  if (!kEcap["DT"].is_set(capabilities_.ecap) || !translating_.load(std::memory_order_acquire)) return false;
  const FoundRoute found = find_route(transaction, RequestKind::translated);
  if (found.reason != FaultReason::none) {
    refuse(transaction, {found.reason, found.suppressed, {}});
    return false;
  }
  if (context_.paranoid) judge_device_tlb(transaction, found.route, kept);
  return true;
}

std::optional<Translation> IntelVtd::refuse(const Transaction& transaction, const Answer& answer) {
  const FaultReasonRow* row = find_fault_reason(answer.reason);
  const bool silent = answer.suppressed && row != nullptr && row->qualified;
  if (!silent && events_.record(transaction, answer.reason)) interrupt(kFaultLine);
  return std::nullopt;
}

bool IntelVtd::is_scalable() const {
  const std::uint64_t root = root_.load(std::memory_order_acquire);
  return kRtaddr["TTM"].get(root) == static_cast<std::uint64_t>(TableMode::scalable) &&
         kEcap["SMTS"].is_set(capabilities_.ecap);
}

IntelVtd::FoundRoute IntelVtd::find_route(const Transaction& transaction, RequestKind kind) {
  if (is_scalable()) return find_scalable_route(transaction, kind);
  const std::uint64_t root = root_.load(std::memory_order_acquire);
  if (kRtaddr["TTM"].get(root) != static_cast<std::uint64_t>(TableMode::legacy))
    return {FaultReason::translation_mode_invalid, false, {}};
  return find_legacy_route(transaction, kind);
}

IntelVtd::FoundRoute IntelVtd::find_legacy_route(const Transaction& transaction, RequestKind kind) {
  const FoundContext context = find_context(static_cast<std::uint16_t>(transaction.stream));
  const bool suppressed = context.entry.faults_suppressed();
  if (context.reason != FaultReason::none) return {context.reason, suppressed, {}};
  const TranslationType type = context.entry.type();
  const bool for_device = kind != RequestKind::untranslated;
  // Legacy mode has no PASIDs.
  if (transaction.pasid != 0 || (for_device && type != TranslationType::device_tlb))
    return {FaultReason::request_blocked, suppressed, {}};
  return {FaultReason::none, suppressed,
          Route{.kind = type == TranslationType::pass_through ? Route::Kind::pass_through : Route::Kind::second_stage,
                .domain = context.entry.domain_id(),
                .second = PhysAddr{context.entry.table()},
                .second_levels = context.entry.levels()}};
}

IntelVtd::Answer IntelVtd::remap(const Transaction& transaction, RequestKind kind) {
  const Iotlb::Ticket ticket = iotlb_.ticket();
  const FoundRoute found = find_route(transaction, kind);
  if (found.reason != FaultReason::none) return {found.reason, found.suppressed, {}};
  const Route& route = found.route;
  const bool pass_through = route.kind == Route::Kind::pass_through;
  if (!route.has_first_stage()) {  // a first stage judges its addresses itself
    unsigned width = guest_address_width(capabilities_.cap);
    if (!pass_through) width = std::min(width, width_of_levels(route.second_levels));
    if ((transaction.iova.value & bits_from(width)) != 0) return {beyond_width(route), found.suppressed, {}};
  }
  if (!pass_through) return remap_through_tables(transaction, ticket, found);
  Translation whole = identity(transaction.iova);
  whole.cacheable = !context_.paranoid;
  return {FaultReason::none, found.suppressed, whole};
}

IntelVtd::Answer IntelVtd::remap_through_tables(const Transaction& transaction, Iotlb::Ticket ticket,
                                                const FoundRoute& found) {
  auto reason = FaultReason::none;
  Translation translation = look_up_or_walk(transaction, ticket, found.route, reason);
  if (reason != FaultReason::none) return {reason, found.suppressed, {}};
  translation.cacheable = !context_.paranoid;
  if (!allows(translation, transaction.access))
    return {not_allowed(found.route, transaction.access), found.suppressed, {}};
  if (kInterruptRange.contains(resolve(translation, transaction.iova)))
    return {found.route.scalable ? FaultReason::sm_interrupt_address : FaultReason::interrupt_address,
            found.suppressed,
            {}};
  return {FaultReason::none, found.suppressed, translation};
}

// Where hardware keeps dirty bits, a page that is not dirty yet is cached as read-only: its first write walks.
Translation IntelVtd::look_up_or_walk(const Transaction& transaction, Iotlb::Ticket ticket, const Route& route,
                                      FaultReason& reason) {
  const std::uint64_t space = route.space();
  const auto hit = iotlb_.look_up(space, transaction.iova);
  if (hit && (!route.marks() || allows(*hit, transaction.access))) {
    if (context_.paranoid) judge_translation(transaction, route, *hit);
    return *hit;
  }
  const Walk walked = walk(route, transaction.iova, transaction.access);
  reason = walked.reason;
  // VT-d 6.1: without caching mode a translation that is not present is not cached; of a first stage never.
  const bool remembers_absence = kCap["CM"].is_set(capabilities_.cap) && !route.has_first_stage();
  if (reason == FaultReason::none && (walked.present() || remembers_absence))
    iotlb_.insert(ticket, space, transaction.iova, walked.translation);
  return walked.translation;
}

// ---- Context entries ----------------------------------------------------------------------------------------

IntelVtd::FoundContext IntelVtd::find_context(std::uint16_t source) {
  if (const auto cached = contexts_.look_up(source)) {
    if (context_.paranoid) judge_context(source, *cached);
    return {cached->present() ? FaultReason::none : absent_context(), *cached};
  }
  const ContextCache::Ticket ticket = contexts_.ticket();
  FoundContext found = fetch_context(source);
  const bool remembers_absence = found.reason == absent_context() && kCap["CM"].is_set(capabilities_.cap);
  if (found.reason == FaultReason::none || remembers_absence) contexts_.insert(ticket, source, found.entry);
  return found;
}

IntelVtd::FoundContext IntelVtd::fetch_context(std::uint16_t source) const {
  return is_scalable() ? fetch_scalable_context(source) : fetch_legacy_context(source);
}

IntelVtd::FoundContext IntelVtd::fetch_legacy_context(std::uint16_t source) const {
  const std::uint64_t above_memory = bits_from(capabilities_.host_address_width);
  const std::uint64_t bus = source / kContextEntries, function = source % kContextEntries;
  const std::uint64_t root_entry = kRtaddr["RTA"].in_place(root_.load(std::memory_order_acquire)) + bus * kEntryBytes;
  const auto root_low = load_memory(root_entry), root_high = load_memory(root_entry + sizeof(std::uint64_t));
  if (!root_low || !root_high) return {FaultReason::root_table_access_failed, {}};
  if (!kRootEntry0["P"].is_set(*root_low)) return {FaultReason::root_entry_not_present, {}};
  if ((*root_low & (kRootEntry0.unnamed() | above_memory)) != 0 || *root_high != 0)
    return {FaultReason::root_entry_reserved, {}};

  const std::uint64_t place = kRootEntry0["CTP"].in_place(*root_low) + function * kEntryBytes;
  const auto low = load_memory(place), high = load_memory(place + sizeof(std::uint64_t));
  if (!low || !high) return {FaultReason::context_table_access_failed, {}};
  const ContextEntry entry{*low, *high & ~kContextEntry1["IGN"].mask()};
  return {entry.present() ? check_context(entry) : FaultReason::context_entry_not_present, entry};
}

// Of an entry that is present: first what must be 0, then what must be supported.
FaultReason IntelVtd::check_context(const ContextEntry& entry) const {
  const bool pass_through = entry.type() == TranslationType::pass_through;
  std::uint64_t reserved_low = kContextEntry0.unnamed();
  if (!pass_through) reserved_low |= bits_from(capabilities_.host_address_width);
  // A unit with narrower domain ids has no bits for the rest of the field.
  const bool wide_domain = entry.domain_id() != implemented_domain(entry.domain_id());
  if ((entry.low & reserved_low) != 0 || (entry.high & kContextEntry1.unnamed()) != 0 || wide_domain)
    return FaultReason::context_entry_reserved;

  const bool supported_type = entry.type() == TranslationType::multi_level ||
                              (entry.type() == TranslationType::device_tlb && kEcap["DT"].is_set(capabilities_.ecap)) ||
                              (pass_through && kEcap["PT"].is_set(capabilities_.ecap));
  const std::uint64_t sagaw = kCap["SAGAW"].get(capabilities_.cap);
  const auto largest = static_cast<unsigned>(std::bit_width(sagaw)) - 1;
  const unsigned levels = entry.levels();
  const bool supported_width =
      pass_through ? levels == levels_of_aw(largest) : (sagaw >> aw_of_levels(levels) & 1) != 0;
  return supported_type && supported_width ? FaultReason::none : FaultReason::context_entry_invalid;
}

// ---- Walks --------------------------------------------------------------------------------------------------

walk::Outcome IntelVtd::walk_second_stage(const Route& route, Iova iova, Access access) const {
  const unsigned width = std::min(guest_address_width(capabilities_.cap), width_of_levels(route.second_levels));
  if ((iova.value & bits_from(width)) != 0) return std::unexpected(walk::Failure{.fault = walk::Fault::input_range});
  const walk::VtdSecondStage tables{.root = route.second,
                                    .levels = route.second_levels,
                                    .host_address_width = capabilities_.host_address_width,
                                    .large_pages = kCap["SLLPS"].get(capabilities_.cap),
                                    .snoop_control = kEcap["SC"].is_set(capabilities_.ecap),
                                    .device_tlbs = kEcap["DT"].is_set(capabilities_.ecap),
                                    .accessed_dirty = route.accessed_dirty};
  return walk::vtd_second_stage(context_.memory, tables, iova, access);
}

// Under the tables of a first stage.
class IntelVtd::SecondStage final : public walk::NextStage {
 public:
  SecondStage(const IntelVtd& unit, const Route& route) : unit_(unit), route_(route) {}
  walk::Outcome translate(Iova guest, Access access) const override {
    return unit_.walk_second_stage(route_, guest, access);
  }

 private:
  const IntelVtd& unit_;
  const Route& route_;
};

IntelVtd::Walk IntelVtd::walk(const Route& route, Iova iova, Access access) const {
  const SecondStage second(*this, route);
  const walk::X86_64 first{.root = route.first,
                           .levels = route.first_levels,
                           .output_bits = route.kind == Route::Kind::nested ? guest_address_width(capabilities_.cap)
                                                                            : capabilities_.host_address_width,
                           .large_1g = kCap["FS1GP"].is_set(capabilities_.cap),
                           .write_protect = route.write_protect,
                           .next = route.kind == Route::Kind::nested ? &second : nullptr};
  const walk::Outcome found = route.has_first_stage() ? walk::x86_64(context_.memory, first, iova, access)
                                                      : walk_second_stage(route, iova, access);
  if (!found) return {reason_of(route, found.error()), {}};
  return {FaultReason::none,
          {.page = found->first,
           .page_lg2 = static_cast<std::uint8_t>(found->lg2),
           .read = found->read,
           .write = found->write}};
}

// ---- Memory -------------------------------------------------------------------------------------------------

std::optional<std::uint64_t> IntelVtd::load_memory(std::uint64_t address) const {
  auto* place = reinterpret_cast<std::uint64_t*>(at(PhysAddr{address}));
  if (place == nullptr) return std::nullopt;
  const std::uint64_t word = std::atomic_ref(*place).load(std::memory_order_acquire);
  if constexpr (std::endian::native == std::endian::big) return std::byteswap(word);
  return word;
}

}  // namespace softiommu::vtd
