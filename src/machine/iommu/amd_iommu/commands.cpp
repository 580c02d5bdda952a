// SPDX-License-Identifier: BSD-3-Clause
// The command buffer (AMD 48882 2.4): run inside the write of the tail pointer, on the caller's thread. A command that
// cannot be run is an event, and stops the buffer until software enables it anew.
#include <bit>
#include <utility>

#include "machine/iommu/amd_iommu/model.h"
#include "machine/iommu/walk/words.h"
#include "machine/memory.h"

namespace softiommu::amd_iommu {

using namespace hw::amd;

struct AmdIommu::CommandRow {
  Opcode opcode;
  std::array<std::uint64_t, kQueueEntryWords> named;  // bits that mean something; the others must be 0
  std::uint64_t feature;                              // that the command needs; 0: none
  Lines (AmdIommu::*run)(const Words&);
};

// clang-format off
constexpr AmdIommu::CommandRow AmdIommu::kCommandRows[] = {
    {Opcode::completion_wait, {kCompletionWait0.named(), ~std::uint64_t{0}}, 0, &AmdIommu::completion_wait},
    {Opcode::invalidate_devtab_entry, {kInvalidateDevice0.named(), 0}, 0, &AmdIommu::invalidate_device},
    {Opcode::invalidate_iommu_pages, {kInvalidatePages0.named(), kInvalidatePages1.named()}, 0,
     &AmdIommu::invalidate_pages},
    {Opcode::invalidate_iotlb_pages, {kInvalidateIotlb0.named(), kInvalidateIotlb1.named()}, 0, &AmdIommu::accept},
    {Opcode::invalidate_interrupt_table, {kInvalidateDevice0.named(), 0}, 0, &AmdIommu::accept},
    {Opcode::prefetch_iommu_pages, {kPrefetch0.named(), kPrefetch1.named()}, kFeatures["PreFSup"].mask(),
     &AmdIommu::prefetch_pages},
    {Opcode::complete_ppr_request, {kCompletePpr0.named(), kCompletePpr1.named()}, kFeatures["PPRSup"].mask(),
     &AmdIommu::complete_page_request},
    {Opcode::invalidate_iommu_all, {kOpcode.mask(), 0}, kFeatures["IASup"].mask(), &AmdIommu::invalidate_all},
};
// clang-format on

namespace {

constexpr IovaRange kEverything{Iova{0}, Iova{~std::uint64_t{0}}};

// S and the address: one page, or 2^n bytes around the address whose low bits are ones below bit n - 1.
IovaRange range_of(std::uint64_t word1) {
  const std::uint64_t address = kInvalidatePages1["Address"].in_place(word1);
  if (!kInvalidatePages1["S"].is_set(word1)) return IovaRange::of(Iova{address}, kPageSize);
  const unsigned lg2 = kPageShift + 1 + static_cast<unsigned>(std::countr_one(address >> kPageShift));
  if (lg2 >= 64) return kEverything;
  const std::uint64_t bytes = std::uint64_t{1} << lg2;
  return IovaRange::of(Iova{align_down(address, bytes)}, bytes);
}

}  // namespace

const AmdIommu::CommandRow* AmdIommu::find_command(const Words& command) const {
  const auto opcode = static_cast<Opcode>(kOpcode.get(command[0]));
  for (const CommandRow& row : kCommandRows) {
    if (row.opcode != opcode || (features_ & row.feature) != row.feature) continue;
    const bool reserved = (command[0] & ~row.named[0]) != 0 || (command[1] & ~row.named[1]) != 0;
    return reserved ? nullptr : &row;
  }
  return nullptr;
}

AmdIommu::Lines AmdIommu::run_commands() {
  Lines lines = 0;
  const std::uint64_t base = get(kCommandBaseAt);
  const unsigned lg2 = std::max(static_cast<unsigned>(kCommandBase["ComLen"].get(base)), kLeastQueueLg2);
  const std::uint64_t bytes = std::uint64_t{kQueueEntryBytes} << lg2, tail = get(kCommandTailAt) % bytes;
  while (commands_run_) {
    const std::uint64_t head = get(kCommandHeadAt) % bytes;
    if (head == tail) break;
    const PhysAddr at{kCommandBase["ComBase"].in_place(base) + head};
    Words command{};
    bool readable = true;
    for (std::size_t i = 0; i < command.size(); ++i) {
      const walk::TableWord<std::uint64_t> word(context_.memory, at + i * sizeof(std::uint64_t));
      readable = readable && word.exists();
      if (readable) command[i] = word.load();
    }
    if (!readable) return lines | stop_commands(Event::command_hardware_error, at);
    const CommandRow* const row = find_command(command);
    if (row == nullptr) return lines | stop_commands(Event::illegal_command_error, at);
    lines |= (this->*row->run)(command);
    put(kCommandHeadAt, (head + kQueueEntryBytes) % bytes);
  }
  return lines;
}

AmdIommu::Lines AmdIommu::stop_commands(Event why, PhysAddr command) {
  commands_run_ = false;
  const std::uint64_t type = why == Event::command_hardware_error ? kMasterAbort : 0;
  return log_event({kEvent0["EventCode"].put(std::to_underlying(why)) | kEvent0["Type"].put(type), command.value});
}

// Complete only when no DMA that used what was invalidated is still copying.
AmdIommu::Lines AmdIommu::completion_wait(const Words& command) {
  wait_for_dma();
  if (kCompletionWait0["S"].is_set(command[0])) {
    const PhysAddr to{kCompletionWait0["Address"].in_place(command[0])};
    const walk::TableWord<std::uint64_t> word(context_.memory, to);
    if (word.exists()) word.store(command[1]);
  }
  if (!kCompletionWait0["I"].is_set(command[0])) return 0;
  const bool is_news = !wait_completed_.exchange(true);
  return is_news && controls(kControl["ComWaitIntEn"]) ? Lines{1} << kGeneralLine : 0;
}

AmdIommu::Lines AmdIommu::invalidate_device(const Words& command) {
  {
    const MutexLock lock(devices_mutex_);
    ++devices_epoch_;
    devices_.erase(static_cast<DeviceId>(kInvalidateDevice0["DeviceID"].get(command[0])));
  }
  bump_generation();
  return 0;
}

// Only whole translations are cached, so that PDE decides nothing here.
AmdIommu::Lines AmdIommu::invalidate_pages(const Words& command) {
  std::optional<Pasid> guest;
  if (kInvalidatePages1["GN"].is_set(command[1]))
    guest = static_cast<Pasid>(kInvalidatePages0["PASID"].get(command[0]));
  forget(kInvalidatePages0["DomainID"].get(command[0]), guest, range_of(command[1]));
  bump_generation();
  return 0;
}

// A host page may be under any page of a guest that is nested on it; the whole address space is the whole domain.
void AmdIommu::forget(std::uint64_t domain, std::optional<Pasid> guest, IovaRange range) {
  if (guest) {
    const std::uint64_t space = domain | std::uint64_t{*guest} << kPasidShift | kGuestTag;
    iotlb_.invalidate_range(space, range);
    iotlb_.invalidate_range(space | kNestedTag, range);
  } else if (range == kEverything) {
    iotlb_.invalidate_masked(kDomainMask, domain);
  } else {
    iotlb_.invalidate_range(domain, range);
    iotlb_.invalidate_masked(kDomainMask | kNestedTag, domain | kNestedTag);
  }
}

// What is not here: device TLBs (ports forget at each invalidation) and interrupt tables.
AmdIommu::Lines AmdIommu::accept(const Words& /*command*/) {
  bump_generation();
  return 0;
}

AmdIommu::Lines AmdIommu::prefetch_pages(const Words& command) {
  const auto id = static_cast<DeviceId>(kPrefetch0["DeviceID"].get(command[0]));
  const bool guest = kPrefetch1["GN"].is_set(command[1]);
  const Pasid pasid = guest ? static_cast<Pasid>(kPrefetch0["PASID"].get(command[0])) : 0;
  const Iova first{kPrefetch1["Address"].in_place(command[1])};
  const Device device = device_of(id);
  if (device.kind != Device::Kind::translates) return 0;
  const Route route = guest ? Route{true, pasid} : route_of(device, 0);
  const std::uint64_t pages = kPrefetch0["PFCount"].get(command[0]) + 1;
  if (kPrefetch1["Inv"].is_set(command[1])) {
    iotlb_.invalidate_range(space_of(device, route), IovaRange::of(first, pages * kPageSize));
    bump_generation();
  }
  if (route.guest && device.guest_levels == 0) return 0;
  for (std::uint64_t page = 0; page < pages; ++page) {
    const Iotlb::Ticket ticket = iotlb_.ticket();
    const Iova iova = first + page * kPageSize;
    if (const Walk found = walk(device, route, iova, Access::read))
      iotlb_.insert(ticket, space_of(device, route), iova,
                    {.page = found->first,
                     .page_lg2 = static_cast<std::uint8_t>(found->lg2),
                     .read = found->read,
                     .write = found->write});
  }
  return 0;
}

AmdIommu::Lines AmdIommu::complete_page_request(const Words& command) {
  if (!page_response_) return 0;
  const bool guest = kCompletePpr1["GN"].is_set(command[1]);
  page_response_({.stream = static_cast<StreamId>(kCompletePpr0["DeviceID"].get(command[0])),
                  .pasid = guest ? static_cast<Pasid>(kCompletePpr0["PASID"].get(command[0])) : 0,
                  .tag = static_cast<unsigned>(kCompletePpr1["Tag"].get(command[1])),
                  .code = static_cast<unsigned>(kCompletePpr1["Code"].get(command[1]))});
  return 0;
}

AmdIommu::Lines AmdIommu::invalidate_all(const Words& /*command*/) {
  {
    const MutexLock lock(devices_mutex_);
    ++devices_epoch_;
    devices_.clear();
  }
  iotlb_.invalidate_all();
  bump_generation();
  return 0;
}

}  // namespace softiommu::amd_iommu
