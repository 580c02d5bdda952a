// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/omap_mmu/mmu.h"

#include <algorithm>
#include <iterator>

#include "machine/iommu/stale.h"

namespace softiommu::omap_mmu {

using namespace hw::omap_mmu;

namespace {

constexpr std::uint64_t kInputBytes = std::uint64_t{1} << 32;

std::uint32_t word(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
std::uint64_t page_bytes(std::uint32_t cam) { return std::uint64_t{1} << kPageLg2[kCam["PAGESIZE"].get(cam)]; }

}  // namespace

// ---- Registers ----------------------------------------------------------------------------------------------------

void Mmu::reset() {
  const MutexLock lock(mutex_);
  reset_locked();
}

void Mmu::reset_locked() {
  registers_ = {};
  tlb_ = {};
  ++epoch_;
}

std::uint32_t Mmu::read(std::uint32_t offset) const {
  const MutexLock lock(mutex_);
  const Registers& r = registers_;
  switch (offset) {
    case kRevision.offset:
      return word(kRevision.reset);
    case kSysconfig.offset:
      return r.sysconfig;
    case kSysstatus.offset:
      return word(kSysstatus.reset);
    case kIrqStatus.offset:
      return r.irqstatus;
    case kIrqEnable.offset:
      return r.irqenable;
    case kCntl.offset:
      return r.cntl;
    case kFaultAd.offset:
      return r.fault_ad;
    case kTtb.offset:
      return r.ttb;
    case kLock.offset:
      return word(kLock["BASE"].put(r.base) | kLock["VICT"].put(r.victim));
    case kCam.offset:
      return r.cam;
    case kRam.offset:
      return r.ram;
    case kReadCam.offset:
      return tlb_[r.victim].cam;
    case kReadRam.offset:
      return tlb_[r.victim].ram;
    case kGpReg.offset:
      return r.gp;
    default:
      return 0;
  }
}

bool Mmu::write(std::uint32_t offset, std::uint32_t value) {
  const MutexLock lock(mutex_);
  Registers& r = registers_;
  switch (offset) {
    case kSysconfig.offset:
      if (kSysconfig["SOFTRESET"].is_set(value)) reset_locked();
      r.sysconfig = word(value & kSysconfig.layout.named() & ~kSysconfig["SOFTRESET"].mask());
      return true;
    case kIrqStatus.offset:
      r.irqstatus &= ~value;
      return false;
    case kIrqEnable.offset:
      r.irqenable = word(value & kIrqEnable.layout.named());
      return false;
    case kCntl.offset:
      r.cntl = word(value & kCntl.layout.named());
      ++epoch_;
      return true;
    case kTtb.offset:
      r.ttb = word(kTtb["ADDR"].in_place(value));
      ++epoch_;  // the TLB stays as it is
      return true;
    case kLock.offset:
      write_lock(value);
      return false;
    case kLdTlb.offset:
      tlb_[r.victim] = {.cam = r.cam, .ram = r.ram};
      return true;
    case kCam.offset:
      r.cam = word(value & kCam.layout.named());
      return false;
    case kRam.offset:
      r.ram = word(value & kRam.layout.named());
      return false;
    case kGflush.offset:
      flush([](const Entry& entry) { return !kCam["P"].is_set(entry.cam); });
      return true;
    case kFlushEntry.offset:
      flush([page = Iova{kCam["VATAG"].in_place(r.cam)}](const Entry& entry) { return translates(entry, page); });
      return true;
    case kGpReg.offset:
      r.gp = word(value & kGpReg.layout.named());
      return false;
    default:
      return false;
  }
}

// A place that is not there is not kept.
void Mmu::write_lock(std::uint32_t value) {
  const std::uint32_t base = word(kLock["BASE"].get(value)), victim = word(kLock["VICT"].get(value));
  if (base < entries_) registers_.base = base;
  if (victim < entries_) registers_.victim = victim;
}

template <typename Predicate>
void Mmu::flush(Predicate&& chosen) {
  ++epoch_;
  for (Entry& entry : tlb_)
    if (chosen(entry)) entry = {};
}

// ---- Translation --------------------------------------------------------------------------------------------------

bool Mmu::translates(const Entry& entry, Iova iova) {
  return kCam["V"].is_set(entry.cam) && align_down(iova.value, page_bytes(entry.cam)) ==
                                            align_down(kCam["VATAG"].in_place(entry.cam), page_bytes(entry.cam));
}

// Nothing in an entry forbids anything.
Translation Mmu::translation_of(const Entry& entry) {
  const unsigned lg2 = kPageLg2[kCam["PAGESIZE"].get(entry.cam)];
  return {PhysAddr{align_down(kRam["PHYSADDR"].in_place(entry.ram), std::uint64_t{1} << lg2)},
          static_cast<std::uint8_t>(lg2), true, true};
}

Mmu::Answer Mmu::translate(const Transaction& transaction) {
  const Iova iova = transaction.iova;
  if (iova.value >= kInputBytes) return {};  // the bus has no more address lines
  walk::OmapTables tables;
  std::uint64_t epoch = 0;
  {
    const MutexLock lock(mutex_);
    if (!kCntl["MMUENABLE"].is_set(registers_.cntl))
      return {Translation{PhysAddr{align_down(iova.value, kPageSize)}, kPageShift, true, true}};
    const auto matches = [&](const Entry& entry) { return translates(entry, iova); };
    const auto hit = std::ranges::find_if(tlb_, matches);
    if (hit != tlb_.end()) {
      if (std::find_if(std::next(hit), tlb_.end(), matches) != tlb_.end())
        return {std::nullopt, record_locked(iova, kIrqStatus["MULTIHITFAULT"])};
      return {translation_of(*hit), false, hit->walked};
    }
    if (!kCntl["TWLENABLE"].is_set(registers_.cntl)) return {std::nullopt, record_locked(iova, kIrqStatus["TLBMISS"])};
    tables.root = PhysAddr{registers_.ttb};
    epoch = epoch_;
  }
  const walk::Outcome found = walk::omap(memory_, tables, iova, transaction.access);
  if (!found) {
    const bool bus = found.error().fault == walk::Fault::memory;
    return {std::nullopt, record(iova, bus ? kIrqStatus["TABLEWALKFAULT"] : kIrqStatus["TRANSLATIONFAULT"])};
  }
  fill(epoch, iova, *found);
  return {Translation{found->first, static_cast<std::uint8_t>(found->lg2), true, true}};
}

// Replaces the victim; the next one is behind it, after the last the first that is not locked.
void Mmu::fill(std::uint64_t epoch, Iova iova, const walk::Page& page) {
  const auto size = std::ranges::find(kPageLg2, page.lg2) - std::begin(kPageLg2);
  const MutexLock lock(mutex_);
  Registers& r = registers_;
  const auto known = [&](const Entry& entry) { return translates(entry, iova); };
  if (epoch != epoch_ || std::ranges::any_of(tlb_, known)) return;  // another port's walk may have been first
  r.victim = std::max(r.victim, r.base);
  const std::uint64_t tag = align_down(iova.value, std::uint64_t{1} << page.lg2);
  tlb_[r.victim] = {
      word(kCam["VATAG"].in_place(tag) | kCam["V"].put(1) | kCam["PAGESIZE"].put(static_cast<std::uint64_t>(size))),
      word(kRam["PHYSADDR"].in_place(page.first.value)), true};
  if (++r.victim == entries_) r.victim = r.base;
}

bool Mmu::record(Iova iova, hw::Field cause) {
  const MutexLock lock(mutex_);
  return record_locked(iova, cause);
}

bool Mmu::record_locked(Iova iova, hw::Field cause) {
  if (registers_.irqstatus == 0) registers_.fault_ad = word(iova.value);
  registers_.irqstatus |= word(cause.mask());
  return (registers_.irqenable & cause.mask()) != 0;
}

// It counts only if the entry is still there after memory was read: then no flush has removed it meanwhile.
std::optional<std::string> Mmu::doubt(const Transaction& transaction, const Translation& cached) const {
  PhysAddr root;
  {
    const MutexLock lock(mutex_);
    root = PhysAddr{registers_.ttb};
  }
  auto sentence =
      contradiction(transaction.iova, cached, walk::omap(memory_, {root}, transaction.iova, transaction.access));
  const MutexLock lock(mutex_);
  const auto same = [&](const Entry& entry) {
    return translates(entry, transaction.iova) && translation_of(entry).page == cached.page;
  };
  return std::ranges::any_of(tlb_, same) ? sentence : std::nullopt;
}

}  // namespace softiommu::omap_mmu
