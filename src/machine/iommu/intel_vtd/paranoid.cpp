// SPDX-License-Identifier: BSD-3-Clause
// Paranoid mode of a VT-d unit: what its caches say is compared with the tables.
//
// A mismatch counts only if the cache still holds the entry after memory was read: then no invalidation has removed
// it meanwhile. What is left is a device that uses an address between the table's change and its invalidation.
#include <string>

#include "machine/iommu/intel_vtd/intel_vtd.h"

namespace softiommu::vtd {

using namespace hw::vtd;

namespace {

PhysAddr resolve(const Translation& translation, Iova iova) {
  return translation.page + (iova.value & ((std::uint64_t{1} << translation.page_lg2) - 1));
}

std::string device_text(std::uint16_t source) {
  return fmt::format("{:02x}:{:02x}.{}", source >> 8, source >> 3 & 0x1f, source & 7);
}

std::string page_text(const Translation& translation, Iova iova) {
  if (!translation.read && !translation.write) return "not present";
  const char* rights = translation.read && translation.write ? "" : translation.read ? " (read only)" : " (write only)";
  return fmt::format("{:#x}{}", resolve(translation, iova).value, rights);
}

std::string context_text(const ContextEntry& entry, bool scalable) {
  if (!entry.present()) return "not present";
  if (scalable) return fmt::format("PASID directory {:#x}", kScalableContextEntry0["PASIDDIRPTR"].in_place(entry.low));
  return fmt::format("domain id {}, table {:#x}, {} levels, translation type {}", entry.domain_id(), entry.table(),
                     entry.levels(), static_cast<unsigned>(entry.type()));
}

std::string pasid_text(const PasidEntry& entry) {
  if (!entry.present()) return "not present";
  return fmt::format("domain id {}, translation type {}, words {:#x} {:#x}", entry.domain_id(),
                     static_cast<unsigned>(entry.type()), entry.words[0], entry.words[2]);
}

// What the invalidation that is missing would have named.
std::string tag_text(const Route& route) {
  return route.has_first_stage() ? fmt::format("{} PASID {}", route.domain, route.pasid)
                                 : fmt::format("{}", route.domain);
}

}  // namespace

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
  const bool readable = fresh.reason == FaultReason::none || fresh.reason == absent_context();
  if (readable && (fresh.entry == cached || (!fresh.entry.present() && !cached.present()))) return;
  if (contexts_.look_up(source) != cached || !first_report({Subject::context_entry, source, 0})) return;
  find([&] {
    return fmt::format(
        "{}: stale context entry: device {}: the context cache says {} but the tables say {}; missing: a context-cache "
        "invalidation of device {}{}",
        name(), device_text(source), context_text(cached, is_scalable()),
        readable ? context_text(fresh.entry, is_scalable()) : std::string(find_fault_reason(fresh.reason)->doc),
        device_text(source), is_scalable() ? "" : fmt::format(" in domain {}", cached.domain_id()));
  });
}

void IntelVtd::judge_pasid(std::uint16_t source, Pasid pasid, const ContextEntry& context, const PasidEntry& cached) {
  const FoundPasid fresh = fetch_pasid(pasid, context);
  const bool readable = fresh.reason == FaultReason::none || fresh.reason == FaultReason::sm_pasid_not_present;
  if (readable && (fresh.entry == cached || (!fresh.entry.present() && !cached.present()))) return;
  if (pasids_.look_up(source, pasid) != cached || !first_report({Subject::pasid_entry, source, pasid})) return;
  find([&] {
    return fmt::format(
        "{}: stale PASID table entry: device {}, PASID {}: the PASID cache says {} but the tables say {}; missing: a "
        "PASID-cache invalidation of PASID {} in domain {}",
        name(), device_text(source), pasid, pasid_text(cached),
        readable ? pasid_text(fresh.entry) : std::string(find_fault_reason(fresh.reason)->doc), pasid,
        cached.domain_id());
  });
}

// Does the cache lead elsewhere than the tables, or allow what they do not? Where hardware keeps dirty bits, a page
// that is cached as read-only may have become writable since.
bool IntelVtd::is_stale(const Route& route, Iova iova, const Translation& cached, Walk& fresh) const {
  fresh = walk(route, iova, Access::read);
  const Translation& now = fresh.translation;
  if (fresh.reason != FaultReason::none) return cached.read || cached.write;
  if (fresh.present() && resolve(now, iova) != resolve(cached, iova)) return true;
  if (route.marks()) return (cached.read && !now.read) || (cached.write && !now.write);
  return now.read != cached.read || now.write != cached.write;
}

void IntelVtd::judge_translation(const Transaction& transaction, const Route& route, const Translation& cached) {
  const Iova iova = transaction.iova;
  Walk fresh;
  if (!is_stale(route, iova, cached, fresh)) return;
  const auto still = iotlb_.look_up(route.space(), iova);
  const std::uint64_t page = align_down(iova.value, kPageSize);
  if (!still || still->page != cached.page || !first_report({Subject::translation, route.space(), page})) return;
  find([&] {
    const FaultReasonRow* row = find_fault_reason(fresh.reason);
    return fmt::format(
        "{}: stale translation: device {}, domain id {}, iova {:#x}: the IOTLB says {} but the tables say {}; missing: "
        "{} IOTLB invalidation of domain {} covering {:#x}",
        name(), device_text(static_cast<std::uint16_t>(transaction.stream)), route.domain, iova.value,
        page_text(cached, iova), row != nullptr ? std::string(row->doc) : page_text(fresh.translation, iova),
        route.has_first_stage() ? "a PASID-based" : "an", tag_text(route), page);
  });
}

void IntelVtd::judge_device_tlb(const Transaction& transaction, const Route& route, const Translation& kept) {
  const Iova iova = transaction.iova;
  Walk fresh;
  const bool stale = route.kind == Route::Kind::pass_through ? resolve(kept, iova).value != iova.value
                                                             : is_stale(route, iova, kept, fresh);
  const std::uint64_t page = align_down(iova.value, kPageSize);
  if (!stale || !first_report({Subject::device_tlb, transaction.stream, page})) return;
  const std::string device = device_text(static_cast<std::uint16_t>(transaction.stream));
  find([&] {
    const FaultReasonRow* row = find_fault_reason(fresh.reason);
    return fmt::format(
        "{}: stale translation: device {}, PASID {}, iova {:#x}: the device's TLB says {} but the tables say {}; "
        "missing: a device-TLB invalidation of device {} PASID {} covering {:#x}",
        name(), device, transaction.pasid, iova.value, page_text(kept, iova),
        row != nullptr ? std::string(row->doc) : page_text(fresh.translation, iova), device, transaction.pasid, page);
  });
}

}  // namespace softiommu::vtd
