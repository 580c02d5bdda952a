// SPDX-License-Identifier: BSD-3-Clause
// How a VT-d unit translates: root table, context table, second-stage walk (VT-d 3.4, 3.7) and the faults on the
// way (7.1.3). Nothing here takes a lock that is held while DMA is awaited.
//
// A walk reads the tables as they are now; what an invalidation must remove is only in the context cache and the
// IOTLB. The IOTLB's ticket is taken before the context is looked up: a translation found through a context
// entry that is invalidated meanwhile must not be cached under its domain id.
#include <algorithm>
#include <atomic>
#include <bit>
#include <string>

#include "machine/iommu/intel_vtd/intel_vtd.h"
#include "machine/iommu/walk/vtd_second_stage.h"
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

std::string device_text(std::uint16_t source) {
  return fmt::format("{:02x}:{:02x}.{}", source >> 8, source >> 3 & 0x1f, source & 7);
}

std::string page_text(const Translation& translation, Iova iova) {
  if (!translation.read && !translation.write) return "not present";
  const char* rights = translation.read && translation.write ? "" : translation.read ? " (read only)" : " (write only)";
  return fmt::format("{:#x}{}", resolve(translation, iova).value, rights);
}

std::string context_text(const ContextEntry& entry) {
  if (!entry.present()) return "not present";
  return fmt::format("domain id {}, table {:#x}, {} levels, translation type {}", entry.domain_id(), entry.table(),
                     entry.levels(), static_cast<unsigned>(entry.type()));
}

}  // namespace

std::optional<Translation> IntelVtd::translate(const Transaction& transaction) {
  // VT-d 3.14: requests to the interrupt range are interrupts, never DMA, and nothing here takes them.
  if (kInterruptRange.contains(PhysAddr{transaction.iova.value})) return std::nullopt;
  if (!translating_.load(std::memory_order_acquire))
    return keep_from_interrupts(identity(transaction.iova), transaction.iova);
  const Answer answer = remap(transaction);
  if (answer.reason == FaultReason::none) return keep_from_interrupts(answer.translation, transaction.iova);
  const FaultReasonRow* row = find_fault_reason(answer.reason);
  const bool silent = answer.suppressed && row != nullptr && row->qualified;
  if (!silent && events_.record(transaction, answer.reason)) interrupt(kFaultLine);
  return std::nullopt;
}

IntelVtd::Answer IntelVtd::remap(const Transaction& transaction) {
  const Iotlb::Ticket ticket = iotlb_.ticket();
  const std::uint64_t root = root_.load(std::memory_order_acquire);
  if (kRtaddr["TTM"].get(root) != static_cast<std::uint64_t>(TableMode::legacy))
    return {FaultReason::translation_mode_invalid, false, {}};
  const FoundContext context = find_context(static_cast<std::uint16_t>(transaction.stream));
  const bool suppressed = context.entry.faults_suppressed();
  if (context.reason != FaultReason::none) return {context.reason, suppressed, {}};
  if (transaction.pasid != 0) return {FaultReason::request_blocked, suppressed, {}};  // legacy mode has no PASIDs

  const bool pass_through = context.entry.type() == TranslationType::pass_through;
  unsigned width = guest_address_width(capabilities_.cap);
  if (!pass_through) width = std::min(width, width_of_levels(context.entry.levels()));
  if ((transaction.iova.value & bits_from(width)) != 0) return {FaultReason::address_beyond_mgaw, suppressed, {}};
  if (!pass_through) return remap_multi_level(transaction, ticket, context);
  Translation whole = identity(transaction.iova);
  whole.cacheable = !context_.paranoid;
  return {FaultReason::none, suppressed, whole};
}

IntelVtd::Answer IntelVtd::remap_multi_level(const Transaction& transaction, Iotlb::Ticket ticket,
                                             const FoundContext& context) {
  const bool suppressed = context.entry.faults_suppressed();
  const std::uint16_t domain = context.entry.domain_id();
  Translation translation;
  if (const auto hit = iotlb_.look_up(domain, transaction.iova)) {
    translation = *hit;
    if (context_.paranoid) judge_translation(transaction, context.entry, translation);
  } else {
    const Walk walked = walk(context.entry, transaction.iova);
    if (walked.reason != FaultReason::none) return {walked.reason, suppressed, {}};
    translation = walked.translation;
    // VT-d 6.1: without caching mode a translation that is not present is not cached.
    if (walked.present() || kCap["CM"].is_set(capabilities_.cap))
      iotlb_.insert(ticket, domain, transaction.iova, translation);
  }
  translation.cacheable = !context_.paranoid;
  const bool write = transaction.access == Access::write;
  if (write && !translation.write) return {FaultReason::write_not_allowed, suppressed, {}};
  if (!write && !translation.read) return {FaultReason::read_not_allowed, suppressed, {}};
  if (kInterruptRange.contains(resolve(translation, transaction.iova)))
    return {FaultReason::interrupt_address, suppressed, {}};
  return {FaultReason::none, suppressed, translation};
}

// ---- Context entries ----------------------------------------------------------------------------------------

IntelVtd::FoundContext IntelVtd::find_context(std::uint16_t source) {
  if (const auto cached = contexts_.look_up(source)) {
    if (context_.paranoid) judge_context(source, *cached);
    const auto reason = cached->present() ? FaultReason::none : FaultReason::context_entry_not_present;
    return {reason, *cached};
  }
  const ContextCache::Ticket ticket = contexts_.ticket();
  FoundContext found = fetch_context(source);
  const bool remembers_absence =
      found.reason == FaultReason::context_entry_not_present && kCap["CM"].is_set(capabilities_.cap);
  if (found.reason == FaultReason::none || remembers_absence) contexts_.insert(ticket, source, found.entry);
  return found;
}

IntelVtd::FoundContext IntelVtd::fetch_context(std::uint16_t source) const {
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

// ---- Second stage -------------------------------------------------------------------------------------------

// Accessed and dirty bits exist in scalable mode only.
IntelVtd::Walk IntelVtd::walk(const ContextEntry& context, Iova iova) const {
  const walk::VtdSecondStage tables{.root = PhysAddr{context.table()},
                                    .levels = context.levels(),
                                    .host_address_width = capabilities_.host_address_width,
                                    .large_pages = kCap["SLLPS"].get(capabilities_.cap),
                                    .snoop_control = kEcap["SC"].is_set(capabilities_.ecap),
                                    .device_tlbs = kEcap["DT"].is_set(capabilities_.ecap)};
  const walk::Outcome found = walk::vtd_second_stage(context_.memory, tables, iova, Access::read);
  if (found) {
    return {FaultReason::none,
            {.page = found->first,
             .page_lg2 = static_cast<std::uint8_t>(found->lg2),
             .read = found->read,
             .write = found->write}};
  }
  switch (found.error().fault) {
    case walk::Fault::not_present:
      return {};
    case walk::Fault::memory:
      return {FaultReason::table_access_failed, {}};
    default:
      return {FaultReason::table_entry_reserved, {}};
  }
}

// ---- Memory -------------------------------------------------------------------------------------------------

std::optional<std::uint64_t> IntelVtd::load_memory(std::uint64_t address) const {
  auto* place = reinterpret_cast<std::uint64_t*>(at(PhysAddr{address}));
  if (place == nullptr) return std::nullopt;
  const std::uint64_t word = std::atomic_ref(*place).load(std::memory_order_acquire);
  if constexpr (std::endian::native == std::endian::big) return std::byteswap(word);
  return word;
}

// ---- Paranoid mode ------------------------------------------------------------------------------------------
//
// A mismatch counts only if the cache still holds the entry after memory was read: then no invalidation has removed
// it meanwhile. What is left is a device that uses an address between the table's change and its invalidation.

// A device that keeps using what is stale is reported once until the next invalidation.
bool IntelVtd::first_report(const Report& report) noexcept {
  try {
    const MutexLock lock(reports_mutex_);
    return reported_.insert(report).second;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

void IntelVtd::judge_context(std::uint16_t source, const ContextEntry& cached) {
  const FoundContext fresh = fetch_context(source);
  const bool readable = fresh.reason == FaultReason::none || fresh.reason == FaultReason::context_entry_not_present;
  if (readable && (fresh.entry == cached || (!fresh.entry.present() && !cached.present()))) return;
  if (contexts_.look_up(source) != cached || !first_report({Subject::context_entry, source, 0})) return;
  find([&] {
    return fmt::format(
        "{}: stale context entry: device {}: the context cache says {} but the tables say {}; missing: a context-cache "
        "invalidation of device {} in domain {}",
        name(), device_text(source), context_text(cached),
        readable ? context_text(fresh.entry) : std::string(find_fault_reason(fresh.reason)->doc), device_text(source),
        cached.domain_id());
  });
}

void IntelVtd::judge_translation(const Transaction& transaction, const ContextEntry& context,
                                 const Translation& cached) {
  const Iova iova = transaction.iova;
  const std::uint16_t domain = context.domain_id();
  const Walk fresh = walk(context, iova);
  const Translation& now = fresh.translation;
  const bool same_page = !fresh.present() || resolve(now, iova) == resolve(cached, iova);
  if (fresh.reason == FaultReason::none && same_page && now.read == cached.read && now.write == cached.write) return;
  const auto still = iotlb_.look_up(domain, iova);
  const std::uint64_t page = align_down(iova.value, kPageSize);
  if (!still || still->page != cached.page || !first_report({Subject::translation, domain, page})) return;
  find([&] {
    const FaultReasonRow* row = find_fault_reason(fresh.reason);
    return fmt::format(
        "{}: stale translation: device {}, domain id {}, iova {:#x}: the IOTLB says {} but the tables say {}; missing: "
        "an IOTLB invalidation of domain {} covering {:#x}",
        name(), device_text(static_cast<std::uint16_t>(transaction.stream)), domain, iova.value,
        page_text(cached, iova), row != nullptr ? std::string(row->doc) : page_text(now, iova), domain, page);
  });
}

}  // namespace softiommu::vtd
