// SPDX-License-Identifier: BSD-3-Clause
// The way of one access (AMD 48882 2.1 to 2.2.6): device table entry, then the guest's table, the host's, or both. What
// ends it is an event, unless the entry says that nobody wants to know. No lock is taken here that is held while DMA is
// awaited.
//
// The IOTLB's ticket is taken before the entry is read: a translation found through an entry that is invalidated
// meanwhile must not be kept under its domain id.
#include <fmt/format.h>

#include <utility>

#include "machine/findings.h"
#include "machine/iommu/amd_iommu/model.h"
#include "machine/iommu/walk/words.h"

namespace softiommu::amd_iommu {

using namespace hw::amd;

namespace {

constexpr unsigned kIdentityLg2 = 30;  // addresses that pass are handed out in pieces of 1 GiB
constexpr unsigned kAddressBits = 52;
constexpr IovaRange kInterrupts{Iova{kInterruptFirst}, Iova{kInterruptLast}};
constexpr IovaRange kHyperTransport{Iova{kHyperTransportFirst}, Iova{kHyperTransportLast}};

walk::Page identity(const Device& device, Iova iova) {
  return {.first = PhysAddr{align_down(iova.value, std::uint64_t{1} << kIdentityLg2)},
          .lg2 = kIdentityLg2,
          .read = device.read,
          .write = device.write};
}

constexpr std::uint64_t code(Event event) { return kEvent0["EventCode"].put(std::to_underlying(event)); }

std::string text_of(const walk::Page& page, Iova iova) {
  if (!page.read && !page.write) return "not allowed";
  const char* rights = page.read && page.write ? "" : page.read ? " (read only)" : " (write only)";
  return fmt::format("{:#x}{}", page.first.value + (iova.value & walk::low_bits(page.lg2)), rights);
}

}  // namespace

std::optional<Translation> AmdIommu::translate(const Transaction& transaction) {
  const Iotlb::Ticket ticket = iotlb_.ticket();
  if (!controls(kControl["IommuEn"]))
    return clip({PhysAddr{align_down(transaction.iova.value, kPageSize)}, kPageShift, true, true}, transaction.iova);
  const Known known = know(static_cast<DeviceId>(transaction.stream));
  const Device& device = known.device;
  if (known.changed) judge_entry(transaction, device, *known.changed);
  if (is_special(transaction.iova)) {
    const std::uint64_t type = kInterrupts.contains(transaction.iova) ? kReadOfInterrupts : kReservedRange;
    return refuse(transaction, device, {code(Event::invalid_device_request) | kEvent0["Type"].put(type)});
  }
  if (device.kind == Device::Kind::passes || is_excluded(device, transaction.iova)) {
    walk::Page page = identity(device, transaction.iova);
    page.read = page.write = true;
    return answer(transaction, device, page);
  }
  if (device.kind != Device::Kind::translates) return refuse_device(transaction, device);

  const Route route = route_of(device, transaction.pasid);
  if (route.guest && device.guest_levels == 0) return refuse(transaction, device, {code(Event::io_page_fault)});
  if (!route.guest && device.host.mode == 0) return answer(transaction, device, identity(device, transaction.iova));
  const std::uint64_t space = space_of(device, route);
  if (auto hit = iotlb_.look_up(space, transaction.iova)) {
    if (transaction.access == Access::read ? hit->read : hit->write) {
      if (context_.paranoid) judge(transaction, device, route, *hit);
      hit->cacheable = !context_.paranoid;
      return clip(*hit, transaction.iova);
    }
  }
  const Walk page = walk(device, route, transaction.iova, transaction.access);
  if (!page) return refuse(transaction, device, page.error());
  if (page->read || page->write)
    iotlb_.insert(ticket, space, transaction.iova,
                  {.page = page->first,
                   .page_lg2 = static_cast<std::uint8_t>(page->lg2),
                   .read = page->read,
                   .write = page->write});
  return answer(transaction, device, *page);
}

// Requests without a PASID are the host table's, unless GIoV gives them the guest table of PASID 0.
AmdIommu::Route AmdIommu::route_of(const Device& device, Pasid pasid) const {
  return {.guest = pasid != 0 || (device.guest_levels != 0 && device.guest_without_pasid), .pasid = pasid};
}

std::uint64_t AmdIommu::space_of(const Device& device, const Route& route) {
  if (!route.guest) return device.domain;
  return device.domain | std::uint64_t{route.pasid} << kPasidShift | kGuestTag |
         (device.host.mode != 0 ? kNestedTag : 0);
}

bool AmdIommu::is_special(Iova iova) const {
  return kInterrupts.contains(iova) ||
         (kHyperTransport.contains(iova) && !kFeatures2["HTRangeIgnore"].is_set(features2_));
}

bool AmdIommu::is_excluded(const Device& device, Iova iova) const {
  const std::uint64_t base = get(kExclusionBaseAt), limit = get(kExclusionLimitAt);
  if (!kExclusionBase["Ex"].is_set(base)) return false;
  if (!kExclusionBase["Allow"].is_set(base) && !device.excluded) return false;
  const std::uint64_t page = align_down(iova.value, kPageSize);
  return page >= kExclusionBase["Base"].in_place(base) && page <= kExclusionLimit["Limit"].in_place(limit);
}

// ---- Answers ----------------------------------------------------------------------------------------------------

std::optional<Translation> AmdIommu::answer(const Transaction& transaction, const Device& device,
                                            const walk::Page& page) {
  const bool write = transaction.access == Access::write;
  if (write ? !page.write : !page.read)
    return refuse(transaction, device, {code(Event::io_page_fault) | kEvent0["PR"].put(1) | kEvent0["PE"].put(1)});
  return clip({.page = page.first,
               .page_lg2 = static_cast<std::uint8_t>(page.lg2),
               .read = page.read,
               .write = page.write,
               .cacheable = !context_.paranoid},
              transaction.iova);
}

// A page beside addresses that mean something else is handed out in pieces of 4 KiB, each of one kind.
Translation AmdIommu::clip(Translation translation, Iova iova) const {
  const std::uint64_t bytes = std::uint64_t{1} << translation.page_lg2;
  const auto input = IovaRange::of(Iova{align_down(iova.value, bytes)}, bytes);
  const std::uint64_t base = get(kExclusionBaseAt);
  const IovaRange exclusion{Iova{kExclusionBase["Base"].in_place(base)},
                            Iova{kExclusionLimit["Limit"].in_place(get(kExclusionLimitAt)) + (kPageSize - 1)}};
  const bool beside_exclusion = kExclusionBase["Ex"].is_set(base) && input.overlaps(exclusion);
  if (!input.overlaps(kInterrupts) && !input.overlaps(kHyperTransport) && !beside_exclusion) return translation;
  translation.page = translation.page + (align_down(iova.value, kPageSize) - input.first.value);
  translation.page_lg2 = kPageShift;
  return translation;
}

std::optional<Translation> AmdIommu::refuse_device(const Transaction& transaction, const Device& device) {
  switch (device.kind) {
    case Device::Kind::illegal:
      return refuse(transaction, device,
                    {code(Event::illegal_dev_table_entry) | kEvent0["RZ"].put(device.reserved_bits)});
    case Device::Kind::unreadable:
      return refuse(transaction, device, {code(Event::dev_tab_hardware_error) | kEvent0["Type"].put(kMasterAbort)});
    default:
      return refuse(transaction, device, {code(Event::io_page_fault)});
  }
}

std::optional<Translation> AmdIommu::refuse(const Transaction& transaction, const Device& device, const Fault& fault) {
  const auto id = static_cast<DeviceId>(transaction.stream);
  const bool page_fault = kEvent0["EventCode"].get(fault.flags) == std::to_underlying(Event::io_page_fault);
  if (page_fault && (device.silent || (device.silent_after_first && !first_fault(id)))) return std::nullopt;
  // Where the address is a guest's the place of the domain id holds the PASID (2.5.3).
  const Route route = route_of(device, transaction.pasid);
  const bool guest = route.guest && !fault.about_host;
  const std::uint64_t low = guest ? route.pasid & kEvent0["DomainID"].max() : device.domain;
  raise(log_event({fault.flags | kEvent0["DeviceID"].put(id) | kEvent0["DomainID"].put(low) |
                       kEvent0["PASID_19_16"].put(guest ? route.pasid >> 16 : 0) | kEvent0["GN"].put(guest) |
                       kEvent0["RW"].put(transaction.access == Access::write),
                   fault.about_host ? fault.address : transaction.iova.value}));
  return std::nullopt;
}

AmdIommu::Fault AmdIommu::fault_of(const walk::Failure& failure) {
  Fault fault{.flags = code(Event::io_page_fault)};
  if (failure.stage == 2) fault = {.flags = fault.flags, .address = failure.input.value, .about_host = true};
  if (failure.fault == walk::Fault::memory) {
    fault.flags = code(Event::page_tab_hardware_error) | kEvent0["Type"].put(kMasterAbort);
  } else if (failure.fault == walk::Fault::reserved) {
    fault.flags |= kEvent0["PR"].put(1) | kEvent0["RZ"].put(1);
  } else if (failure.fault == walk::Fault::permission) {
    fault.flags |= kEvent0["PR"].put(1) | kEvent0["PE"].put(1);
  }
  return fault;
}

// ---- Walks ------------------------------------------------------------------------------------------------------

walk::Outcome AmdIommu::walk_host(const Device& device, Iova iova, Access access) const {
  if (device.host.mode == 0) return identity(device, iova);
  walk::Outcome page = walk::amd_v1(context_.memory, device.host, iova, access);
  if (page) {
    page->read = page->read && device.read;
    page->write = page->write && device.write;
  }
  return page;
}

// What a guest's tables call physical addresses goes through the host's table.
class AmdIommu::HostStage final : public walk::NextStage {
 public:
  HostStage(const AmdIommu& unit, const Device& device) : unit_(unit), device_(device) {}
  walk::Outcome translate(Iova guest, Access access) const override { return unit_.walk_host(device_, guest, access); }

 private:
  const AmdIommu& unit_;
  const Device& device_;
};

// The root of the PASID's table, from the GCR3 table (2.2.6.2).
std::expected<PhysAddr, AmdIommu::Fault> AmdIommu::find_guest_table(const Device& device, Pasid pasid) const {
  if (pasid >> kGcr3IndexBits * device.gcr3_levels != 0) return std::unexpected(Fault{code(Event::io_page_fault)});
  const bool through_host = device.host.mode != 0 && !controls(kControl["GCR3TRPMode"]);
  PhysAddr table = device.gcr3;
  for (unsigned level = device.gcr3_levels; level-- > 0;) {
    const std::uint64_t index = pasid >> kGcr3IndexBits * level & walk::low_bits(kGcr3IndexBits);
    PhysAddr at = table + index * sizeof(std::uint64_t);
    if (through_host) {
      auto page = walk_host(device, Iova{at.value}, Access::read);
      if (page && !page->read) page = std::unexpected(walk::Failure{.fault = walk::Fault::permission});
      if (!page) {
        page.error().stage = 2;
        page.error().input = Iova{at.value};
        return std::unexpected(fault_of(page.error()));
      }
      at = page->first + (at.value & walk::low_bits(page->lg2));
    }
    const walk::TableWord<std::uint64_t> word(context_.memory, at);
    if (!word.exists()) return std::unexpected(fault_of({.fault = walk::Fault::memory}));
    const std::uint64_t entry = word.load();
    if (!kGcr3["V"].is_set(entry)) return std::unexpected(Fault{code(Event::io_page_fault)});
    if ((entry & kGcr3.unnamed()) != 0) return std::unexpected(fault_of({.fault = walk::Fault::reserved}));
    table = PhysAddr{kGcr3["Base"].in_place(entry)};
  }
  return table;
}

AmdIommu::Walk AmdIommu::walk(const Device& device, const Route& route, Iova iova, Access access) const {
  walk::Outcome page;
  if (route.guest) {
    const auto root = find_guest_table(device, route.pasid);
    if (!root) return std::unexpected(root.error());
    const HostStage host(*this, device);
    const walk::X86_64 tables{.root = *root,
                              .levels = device.guest_levels,
                              .output_bits = kAddressBits,
                              .execute_disable = kFeatures["NXSup"].is_set(features_),
                              .sign_extended = route.pasid != 0,
                              .next = &host};
    page = walk::x86_64(context_.memory, tables, iova, access);
  } else {
    page = walk_host(device, iova, access);
  }
  if (!page) return std::unexpected(fault_of(page.error()));
  return *page;
}

// Paranoid mode: a hit that the tables no longer say is a missing invalidation. It counts only if the IOTLB still holds
// it after the tables were read: then nobody has invalidated it meanwhile.
void AmdIommu::judge(const Transaction& transaction, const Device& device, const Route& route,
                     const Translation& cached) {
  const Iova iova = transaction.iova;
  Device without_dirty = device;  // a page that stands in several entries is dirty in one of them
  without_dirty.host.dirty = false;
  const Walk now = walk(without_dirty, route, iova, Access::read);
  const walk::Page before{.first = cached.page, .lg2 = cached.page_lg2, .read = cached.read, .write = cached.write};
  const std::string was = text_of(before, iova), is = now ? text_of(*now, iova) : std::string("not present");
  // What was clean when it was read says that it may not be written, so that the first write is walked.
  const bool harmless = now && was == text_of({.first = now->first, .lg2 = now->lg2, .read = now->read}, iova);
  if (was == is || harmless) return;
  const auto still = iotlb_.look_up(space_of(device, route), iova);
  if (!still || still->page != cached.page) return;
  const std::string guest = route.guest ? fmt::format(", PASID {}", route.pasid) : std::string();
  context_.findings.add(fmt::format(
      "{}: stale translation: device {}, domain id {}{}, iova {:#x}: the IOTLB says {} but the tables say {}; "
      "missing: INVALIDATE_IOMMU_PAGES of domain {}{}",
      name(), text_of(static_cast<DeviceId>(transaction.stream)), device.domain, guest, iova.value, was, is,
      device.domain, guest));
}

// Paranoid mode: an entry that memory no longer says is a missing invalidation, if it still is cached afterwards.
void AmdIommu::judge_entry(const Transaction& transaction, const Device& cached, const Device& now) {
  if (grew_around(transaction, cached, now)) return;
  const auto id = static_cast<DeviceId>(transaction.stream);
  const MutexLock lock(devices_mutex_);
  if (const auto still = devices_.find(id); still == devices_.end() || still->second.device != cached) return;
  context_.findings.add(
      fmt::format("{}: stale device table entry: device {}; missing: INVALIDATE_DEVTAB_ENTRY", name(), text_of(id)));
}

// A table that grows gets a level above its root. Until software says that the entry has changed, devices that are at
// work go in by the old root, and find the same pages. Where they do not, they needed the new one.
bool AmdIommu::grew_around(const Transaction& transaction, const Device& cached, const Device& now) const {
  Device before = cached, after = now;
  before.host.root = after.host.root;
  before.host.mode = after.host.mode;
  const Route route = route_of(cached, transaction.pasid);
  if (before != after || route.guest || cached.host.mode == 0 || now.host.mode == 0) return false;
  before.host = cached.host;
  before.host.accessed = before.host.dirty = after.host.accessed = after.host.dirty = false;  // no traces
  const Walk found = walk(before, route, transaction.iova, Access::read);
  const Walk wanted = walk(after, route, transaction.iova, Access::read);
  if (!found || !wanted) return !found && !wanted;
  return text_of(*found, transaction.iova) == text_of(*wanted, transaction.iova);
}

}  // namespace softiommu::amd_iommu
