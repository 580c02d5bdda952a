// SPDX-License-Identifier: BSD-3-Clause
// How a VT-d unit in scalable mode finds the tables of a request: root and context entry, PASID directory and table
// (VT-d 3.4.3, 3.4.4), and what these must not say (7.1.3).
#include <algorithm>
#include <bit>

#include "machine/iommu/intel_vtd/intel_vtd.h"
#include "machine/iommu/walk/words.h"

namespace softiommu::vtd {

using namespace hw::vtd;
using walk::bits_from;

namespace {

constexpr std::uint64_t kWordBytes = sizeof(std::uint64_t);
constexpr unsigned kDeepFirstStage = 1;  // FSPM of 5 levels

}  // namespace

// ---- Context entries ----------------------------------------------------------------------------------------

IntelVtd::FoundContext IntelVtd::fetch_scalable_context(std::uint16_t source) const {
  const std::uint64_t above_memory = bits_from(capabilities_.host_address_width);
  const std::uint64_t bus = source / kContextEntries, function = source % kContextEntries;
  const std::uint64_t half = function / kScalableContextEntries;
  const std::uint64_t root_entry =
      kRtaddr["RTA"].in_place(root_.load(std::memory_order_acquire)) + (bus * kEntryWords + half) * kWordBytes;
  const auto root = load_memory(root_entry);
  if (!root) return {FaultReason::sm_root_access, {}};
  if (!kScalableRootEntry["P"].is_set(*root)) return {FaultReason::sm_root_not_present, {}};
  if ((*root & (kScalableRootEntry.unnamed() | above_memory)) != 0) return {FaultReason::sm_root_reserved, {}};

  const std::uint64_t place = kScalableRootEntry["CTP"].in_place(*root) +
                              function % kScalableContextEntries * kScalableContextWords * kWordBytes;
  std::uint64_t words[kScalableContextWords];
  for (unsigned i = 0; i < kScalableContextWords; ++i) {
    const auto word = load_memory(place + i * kWordBytes);
    if (!word) return {FaultReason::sm_context_access, {}};
    words[i] = *word;
  }
  const ContextEntry entry{words[0], words[1]};
  if (!entry.present()) return {FaultReason::sm_context_not_present, entry};
  const bool reserved = (words[0] & (kScalableContextEntry0.unnamed() | above_memory)) != 0 ||
                        (words[1] & kScalableContextEntry1.unnamed()) != 0 || words[2] != 0 || words[3] != 0;
  if (reserved) return {FaultReason::sm_context_reserved, entry};
  const unsigned pasid_bits = directory_lg2(words[0]) + kPasidTableLg2;
  return {pasid_bits > kPasidBits ? FaultReason::sm_context_invalid : FaultReason::none, entry};
}

// What the context entry allows the request to be.
FaultReason IntelVtd::check_request(const ContextEntry& context, Pasid pasid, RequestKind kind) const {
  if (kind != RequestKind::untranslated && !kScalableContextEntry0["DTE"].is_set(context.low))
    return FaultReason::sm_no_device_tlb;
  if (pasid == 0) return FaultReason::none;
  if (!kScalableContextEntry0["PASIDE"].is_set(context.low)) return FaultReason::sm_no_pasids;
  const unsigned bits = std::min(directory_lg2(context.low) + kPasidTableLg2, pasid_width(capabilities_.ecap));
  return pasid >> bits != 0 ? FaultReason::sm_pasid_too_large : FaultReason::none;
}

IntelVtd::FoundRoute IntelVtd::find_scalable_route(const Transaction& transaction, RequestKind kind) {
  const auto source = static_cast<std::uint16_t>(transaction.stream);
  const FoundContext context = find_context(source);
  const bool suppressed = context.entry.faults_suppressed();
  if (context.reason != FaultReason::none) return {context.reason, suppressed, {}};
  if (const FaultReason reason = check_request(context.entry, transaction.pasid, kind); reason != FaultReason::none)
    return {reason, suppressed, {}};
  const Pasid pasid = transaction.pasid != 0
                          ? transaction.pasid
                          : static_cast<Pasid>(kScalableContextEntry1["RID_PASID"].get(context.entry.high));
  const FoundPasid found = find_pasid(source, pasid, context.entry);
  const bool silent = suppressed || found.suppressed;
  if (found.reason != FaultReason::none) return {found.reason, silent, {}};
  return {FaultReason::none, silent, route_of(found.entry, pasid)};
}

// ---- PASID directory and table --------------------------------------------------------------------------------

IntelVtd::FoundPasid IntelVtd::find_pasid(std::uint16_t source, Pasid pasid, const ContextEntry& context) {
  if (const auto cached = pasids_.look_up(source, pasid)) {
    if (context_.paranoid) judge_pasid(source, pasid, context, *cached);
    const auto reason = cached->present() ? FaultReason::none : FaultReason::sm_pasid_not_present;
    return {reason, cached->faults_suppressed(), *cached};
  }
  const PasidCache::Ticket ticket = pasids_.ticket();
  const FoundPasid found = fetch_pasid(pasid, context);
  const bool remembers_absence =
      found.reason == FaultReason::sm_pasid_not_present && kCap["CM"].is_set(capabilities_.cap);
  if (found.reason == FaultReason::none || remembers_absence) pasids_.insert(ticket, source, pasid, found.entry);
  return found;
}

IntelVtd::FoundPasid IntelVtd::fetch_pasid(Pasid pasid, const ContextEntry& context) const {
  const std::uint64_t above_memory = bits_from(capabilities_.host_address_width);
  const auto directory =
      load_memory(kScalableContextEntry0["PASIDDIRPTR"].in_place(context.low) + (pasid >> kPasidTableLg2) * kWordBytes);
  if (!directory) return {FaultReason::sm_directory_access, false, {}};
  const bool suppressed = kPasidDirectoryEntry["FPD"].is_set(*directory);
  if (!kPasidDirectoryEntry["P"].is_set(*directory)) return {FaultReason::sm_directory_not_present, suppressed, {}};
  if ((*directory & (kPasidDirectoryEntry.unnamed() | above_memory)) != 0)
    return {FaultReason::sm_directory_reserved, suppressed, {}};

  const std::uint64_t place = kPasidDirectoryEntry["SMPTBLPTR"].in_place(*directory) +
                              pasid % kPasidTableEntries * kPasidEntryWords * kWordBytes;
  PasidEntry entry;
  bool rest = false;
  for (unsigned i = 0; i < kPasidEntryWords; ++i) {
    const auto word = load_memory(place + i * kWordBytes);
    if (!word) return {FaultReason::sm_pasid_access, suppressed, {}};
    if (i < PasidEntry::kWords)
      entry.words[i] = *word;
    else
      rest = rest || *word != 0;
  }
  const bool silent = suppressed || entry.faults_suppressed();
  if (!entry.present()) return {FaultReason::sm_pasid_not_present, silent, entry};
  if (rest) return {FaultReason::sm_pasid_reserved, silent, entry};
  return {check_pasid(entry), silent, entry};
}

// Of an entry that is present: first what must be 0, then what must be supported.
FaultReason IntelVtd::check_pasid(const PasidEntry& entry) const {
  const std::uint64_t ecap = capabilities_.ecap, above_memory = bits_from(capabilities_.host_address_width);
  using enum PasidTranslation;
  const bool first = entry.type() == first_stage || entry.type() == nested;
  const bool second = entry.type() == second_stage || entry.type() == nested;
  std::uint64_t reserved0 = kPasidEntry0.unnamed(), reserved2 = kPasidEntry2.unnamed();
  if (second) reserved0 |= above_memory;
  if (!second || !kEcap["SSADS"].is_set(ecap)) reserved0 |= kPasidEntry0["SSADE"].mask();
  if (entry.type() == first_stage) reserved2 |= above_memory;  // of a nested one it is an address of the second stage
  if (!kEcap["SRS"].is_set(ecap)) reserved2 |= kPasidEntry2["SRE"].mask();
  if (!kEcap["ERS"].is_set(ecap)) reserved2 |= kPasidEntry2["ERE"].mask();
  if (!kEcap["EAFS"].is_set(ecap)) reserved2 |= kPasidEntry2["EAFE"].mask();
  const bool wide_domain = entry.domain_id() != implemented_domain(entry.domain_id());
  if ((entry.words[0] & reserved0) != 0 || (entry.words[1] & kPasidEntry1.unnamed()) != 0 ||
      (entry.words[2] & reserved2) != 0 || wide_domain)
    return FaultReason::sm_pasid_reserved;

  const bool supported = (!first || kEcap["FSTS"].is_set(ecap)) && (!second || kEcap["SSTS"].is_set(ecap)) &&
                         (entry.type() != nested || kEcap["NEST"].is_set(ecap)) &&
                         (entry.type() != pass_through || kEcap["PT"].is_set(ecap)) &&
                         (first || second || entry.type() == pass_through);
  const std::uint64_t aw = kPasidEntry0["AW"].get(entry.words[0]), fspm = kPasidEntry2["FSPM"].get(entry.words[2]);
  const bool second_fits = !second || (kCap["SAGAW"].get(capabilities_.cap) >> aw & 1) != 0;
  const bool first_fits = !first || fspm == 0 || (fspm == kDeepFirstStage && kCap["FS5LP"].is_set(capabilities_.cap));
  return supported && second_fits && first_fits ? FaultReason::none : FaultReason::sm_pasid_invalid;
}

Route IntelVtd::route_of(const PasidEntry& entry, Pasid pasid) {
  Route route{.scalable = true,
              .domain = entry.domain_id(),
              .pasid = pasid,
              .first = PhysAddr{kPasidEntry2["FSPTPTR"].in_place(entry.words[2])},
              .second = PhysAddr{kPasidEntry0["SSPTPTR"].in_place(entry.words[0])},
              .first_levels = levels_of_fspm(kPasidEntry2["FSPM"].get(entry.words[2])),
              .second_levels = levels_of_aw(static_cast<unsigned>(kPasidEntry0["AW"].get(entry.words[0]))),
              .accessed_dirty = kPasidEntry0["SSADE"].is_set(entry.words[0]),
              .write_protect = kPasidEntry2["WPE"].is_set(entry.words[2])};
  switch (entry.type()) {
    case PasidTranslation::first_stage:
      route.kind = Route::Kind::first_stage;
      break;
    case PasidTranslation::second_stage:
      route.kind = Route::Kind::second_stage;
      break;
    case PasidTranslation::nested:
      route.kind = Route::Kind::nested;
      break;
    case PasidTranslation::pass_through:
      route.kind = Route::Kind::pass_through;
      break;
  }
  return route;
}

// ---- Page requests --------------------------------------------------------------------------------------------

// What the unit does not hand to software it answers itself (VT-d 7.4): invalid where no page requests are allowed,
// success where there is no room, since the device may try again.
bool IntelVtd::request_page(const PageRequestMessage& request) {
  const Transaction transaction{.stream = request.stream, .pasid = request.pasid, .iova = request.address};
  const auto answer = [&](PageResponse::Code code) {
    if (request.last)
      answer_page_request({.stream = request.stream, .pasid = request.pasid, .group = request.group, .code = code});
    return true;
  };
  if (!kEcap["PRS"].is_set(capabilities_.ecap) || !is_scalable()) return answer(PageResponse::Code::invalid);
  const FoundContext context = find_context(static_cast<std::uint16_t>(request.stream));
  FaultReason reason = context.reason;
  if (reason == FaultReason::none && !kScalableContextEntry0["PRE"].is_set(context.entry.low))
    reason = FaultReason::sm_no_page_requests;
  if (reason == FaultReason::none) reason = check_request(context.entry, request.pasid, RequestKind::untranslated);
  if (reason != FaultReason::none) {
    refuse(transaction, {reason, context.entry.faults_suppressed(), {}});
    return answer(PageResponse::Code::invalid);
  }
  const PageRequestQueue::Words words{
      kPageRequest0["TYPE"].put(kPageRequestType) | kPageRequest0["PP"].put(request.pasid != 0) |
          kPageRequest0["RID"].put(request.stream) | kPageRequest0["PASID"].put(request.pasid),
      kPageRequest1["R"].put(request.read) | kPageRequest1["W"].put(request.write) |
          kPageRequest1["LPIG"].put(request.last) | kPageRequest1["PRGI"].put(request.group) |
          kPageRequest1["ADDR"].in_place(request.address.value),
      0, 0};
  const PageRequestQueue::Outcome outcome = page_requests_.append(words);
  if (outcome.event) interrupt(kPageRequestLine);
  return outcome.queued || answer(PageResponse::Code::success);
}

}  // namespace softiommu::vtd
