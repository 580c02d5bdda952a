// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/intel/device.h"

#include <algorithm>

#include "base/log.h"
#include "drivers/pci_ats.h"

namespace softiommu::intel {

using namespace hw::vtd;

namespace {

constexpr IovaRange kEverything{Iova{0}, Iova{~std::uint64_t{0}}};
constexpr unsigned kWordLg2 = 3;  // a directory entry has 8 bytes
constexpr std::uint32_t kOutstandingPageRequests = 32;

PasidEntry load(const std::uint64_t* words) { return {{words[0], words[1], words[2]}}; }

}  // namespace

IntelDevice::~IntelDevice() {
  for (const PhysAddr table : tables_) unit_.tables().free(table);
  if (directory_.value != 0) unit_.tables().free(directory_, TableSize{directory_lg2_ + kWordLg2});
}

Result<> IntelDevice::start() {
  for (const StreamId id : ids_) TRY(unit_.make_context_table(id));
  if (unit_.scalable() && unit_.pasid_bits() != 0)
    pasid_bits_ = std::min(pci_ats::pasid_bits(device_), unit_.pasid_bits());
  if (pasid_bits_ != 0) pci_ats::enable_pasids(device_);
  has_tlb_ = unit_.device_tlbs() && pci_ats::enable_ats(device_);
  requests_pages_ =
      has_tlb_ && unit_.page_requests() && pci_ats::enable_page_requests(device_, kOutstandingPageRequests);
  if (has_tlb_) unit_.note_device_tlb();
  if (!unit_.scalable()) return {};
  TRY(make_directory());
  TRY(reserve(0));
  const ScalableContext context{.directory = directory_,
                                .directory_lg2 = directory_lg2_,
                                .device_tlb = has_tlb_,
                                .pasids = pasid_bits_ != 0,
                                .page_requests = requests_pages_};
  for (const StreamId id : ids_) TRY(unit_.set_scalable_context(id, context));
  return unit_.add_device(device_);
}

void IntelDevice::stop() {
  unit_.remove_device(device_);
  if (has_tlb_) {
    pci_ats::disable_page_requests(device_);
    pci_ats::disable_ats(device_);
  }
  for (const StreamId id : ids_)
    if (unit_.scalable() && unit_.points_to(id, directory_) && !unit_.clear_scalable_context(id))
      log::error("DMAR: {}: {} may still do DMA", unit_.name(), device_.name());
}

Result<> IntelDevice::make_directory() {
  directory_lg2_ = std::max(kLeastDirectoryLg2, pasid_bits_ > kPasidTableLg2 ? pasid_bits_ - kPasidTableLg2 : 0);
  // The hardware wants it aligned to a page.
  directory_lg2_ = std::max(directory_lg2_, kPageShift - kWordLg2);
  directory_ = TRY(unit_.tables().allocate(TableSize{directory_lg2_ + kWordLg2}));
  return {};
}

std::uint64_t& IntelDevice::directory_entry(Pasid pasid) const {
  return unit_.tables().words(directory_)[pasid >> kPasidTableLg2];
}

std::uint64_t* IntelDevice::words(Pasid pasid) const {
  if (directory_.value == 0) return nullptr;
  const std::uint64_t entry = directory_entry(pasid);
  if (!kPasidDirectoryEntry["P"].is_set(entry)) return nullptr;
  return unit_.tables().words(PhysAddr{kPasidDirectoryEntry["SMPTBLPTR"].in_place(entry)}) +
         pasid % kPasidTableEntries * kPasidEntryWords;
}

// Entries that are not present are not cached but by caching-mode hardware, under PASID table entries.
Result<> IntelDevice::reserve(Pasid pasid) {
  if (!unit_.scalable() || words(pasid) != nullptr) return {};
  return without_throwing([&]() -> Result<> {
    tables_.reserve(tables_.size() + 1);
    const PhysAddr table = TRY(unit_.tables().allocate());
    tables_.push_back(table);
    Unit::store(directory_entry(pasid),
                kPasidDirectoryEntry["P"].put(1) | kPasidDirectoryEntry["SMPTBLPTR"].in_place(table.value));
    return {};
  });
}

// VT-d 6.5.3.3: what the entry and its tables are cached as, in this order.
Result<> IntelDevice::flush(Pasid pasid, const PasidEntry& old) {
  TRY(unit_.invalidate_pasid_cache(old.id(), pasid));
  TRY(old.has_second_stage() ? unit_.invalidate_domain(old.id()) : unit_.invalidate_pasid(old.id(), pasid));
  return invalidate_tlb(pasid, kEverything);
}

Result<> IntelDevice::set_entry(Pasid pasid, const PasidEntry& entry) {
  std::uint64_t* const place = words(pasid);
  if (place == nullptr) return entry.present() ? fail(ENODEV, "the PASID has no table") : Result<>{};
  const PasidEntry old = load(place);
  if (old.present()) {
    // Not present first: the words cannot change together.
    Unit::store(place[0], 0);
    if (const auto flushed = flush(pasid, old); !flushed) {
      // Whoever comes next finds nothing in the tables to flush: what is cached goes now, or the unit is deaf.
      return unit_.invalidate_everything() ? flushed : fail(ENODEV, "the unit takes no invalidation");
    }
  }
  for (std::size_t word = entry.words.size(); word-- > 0;) Unit::store(place[word], entry.words[word]);
  if (!entry.present() || !unit_.caching_mode()) return {};
  TRY(unit_.invalidate_pasid_cache(0, pasid));  // not-present entries are cached under id 0
  return unit_.invalidate_domain(entry.id());
}

Result<> IntelDevice::refresh(Pasid pasid, const PasidEntry& entry) {
  std::uint64_t* const place = words(pasid);
  if (place == nullptr) return {};
  const PasidEntry old = load(place);
  if (!old.present() || old.id() != entry.id() || old.words == entry.words)
    return {};  // not on the domain, or so already
  for (std::size_t word = entry.words.size(); word-- > 0;) Unit::store(place[word], entry.words[word]);
  return flush(pasid, old);
}

Result<> IntelDevice::block_all() {
  if (!unit_.scalable()) return set_context(ContextEntry::not_present());
  Result<> all;
  const Pasid end = Pasid{1} << (directory_lg2_ + kPasidTableLg2);
  for (Pasid first = 0; first < end; first += kPasidTableEntries) {
    if (words(first) == nullptr) continue;
    for (Pasid pasid = first; pasid < first + kPasidTableEntries; ++pasid)
      if (auto done = set_entry(pasid, PasidEntry::not_present()); !done) all = done;
  }
  return all;
}

Result<> IntelDevice::set_context(const ContextEntry& entry) {
  for (const StreamId id : ids_) TRY(unit_.set_context(id, entry));
  return invalidate_tlb(0, kEverything);
}

Result<> IntelDevice::invalidate_tlb(Pasid pasid, IovaRange range) {
  return has_tlb_ ? unit_.invalidate_device_tlb(ids_.front(), pasid, range) : Result<>{};
}

}  // namespace softiommu::intel
