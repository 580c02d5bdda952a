// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/omap/unit.h"

#include "base/fault.h"
#include "base/log.h"
#include "drivers/omap/domain.h"

namespace softiommu::omap {

using namespace hw::omap_mmu;

namespace {

constexpr unsigned kMostPolls = 100'000;   // a reset that takes longer never ends
constexpr std::uint64_t kMostPages = 16;   // flushing more than these one by one costs more than filling the TLB again
constexpr unsigned kMostFaultLines = 100;  // a storm of faults must not fill the log
constexpr std::uint32_t kNobody = ~std::uint32_t{0};

std::uint32_t word(std::uint64_t value) { return static_cast<std::uint32_t>(value); }

}  // namespace

unsigned Unit::count_mmus(MmioRegion& registers) {
  unsigned count = 0;
  while (count < kMostMmus && registers.read32(count * kRegisterBytes + kRevision.offset) != kNobody) ++count;
  return count;
}

Result<> Unit::start() {
  if (mmus_ == 0) return fail(ENODEV, "no OMAP MMU answers");
  for (unsigned mmu = 0; mmu < mmus_; ++mmu) {
    TRY(reset(mmu));
    entries_ = count_entries(mmu);
    write(mmu, kGpReg.offset, kGpReg["BUS_ERR_BACK_EN"].mask());
    write(mmu, kIrqEnable.offset, kIrqEnable.layout.named());
  }
  return switch_to(nullptr);
}

Result<> Unit::reset(unsigned mmu) {
  write(mmu, kSysconfig.offset, kSysconfig["SOFTRESET"].mask());
  unsigned polls = 0;
  while (!kSysstatus["RESETDONE"].is_set(read(mmu, kSysstatus.offset)) && polls < kMostPolls) ++polls;
  if (!fault::pass("omap.reset", ENODEV) || polls == kMostPolls) return fail(ENODEV, "an MMU does not end its reset");
  return {};
}

// LOCK keeps no place that is not there.
unsigned Unit::count_entries(unsigned mmu) {
  unsigned entries = kMostEntries;
  for (; entries > 1; entries /= 2) {
    write(mmu, kLock.offset, kLock["VICT"].put(entries - 1));
    if (kLock["VICT"].get(read(mmu, kLock.offset)) == entries - 1) break;
  }
  write(mmu, kLock.offset, 0);
  return entries;
}

// ---- Settings -----------------------------------------------------------------------------------------------------

Unit::Setting Unit::setting_for(const Domain* domain) {
  if (domain == nullptr || domain->type() == DomainType::blocked) return {.control = word(kCntl["MMUENABLE"].mask())};
  if (domain->type() == DomainType::identity) return {};
  return {.control = word(kCntl["MMUENABLE"].mask() | kCntl["TWLENABLE"].mask()),
          .table = word(static_cast<const PagingDomain*>(domain)->root().value)};
}

// If one MMU fails, those before it go back.
Result<> Unit::switch_to(const Domain* to) {
  const Setting wanted = setting_for(to);
  if (wanted == now_) return {};
  for (unsigned mmu = 0; mmu < mmus_; ++mmu) {
    auto done = set(mmu, wanted);
    if (done) continue;
    bool back = true;
    for (unsigned touched = 0; touched <= mmu; ++touched) back = force(touched, now_) && back;
    if (!back) block();
    return done;
  }
  now_ = wanted;
  return {};
}

bool Unit::block() {
  now_ = setting_for(nullptr);
  bool blocked = true;
  for (unsigned mmu = 0; mmu < mmus_; ++mmu) blocked = force(mmu, now_) && blocked;
  return blocked;
}

Result<> Unit::set(unsigned mmu, const Setting& wanted) {
  if (!fault::pass("omap.control", ENODEV) || !force(mmu, wanted))
    return fail(ENODEV, "an MMU does not take its control register");
  return {};
}

// The table comes before it is walked, and the TLB is emptied before it is used and after it was: so DMA sees the old
// translation, the new one, or is refused.
bool Unit::force(unsigned mmu, const Setting& wanted) {
  const bool was_on = kCntl["MMUENABLE"].is_set(read(mmu, kCntl.offset));
  const bool emptied = was_on || flush_all(mmu);
  if (wanted.table != 0) write(mmu, kTtb.offset, wanted.table);
  write(mmu, kCntl.offset, wanted.control);
  if (was_on && !flush_all(mmu)) return false;
  const bool table_set = wanted.table == 0 || read(mmu, kTtb.offset) == wanted.table;
  return emptied && table_set && read(mmu, kCntl.offset) == wanted.control;
}

bool Unit::flush_all(unsigned mmu) {
  const MutexLock lock(cam_mutex_);
  write(mmu, kLock.offset, 0);  // no entry is locked any more
  write(mmu, kGflush.offset, kGflush["GLOBALFLUSH"].mask());
  bool empty = true;
  for (unsigned entry = 0; entry < entries_; ++entry) {
    write(mmu, kLock.offset, kLock["VICT"].put(entry));
    const std::uint32_t cam = read(mmu, kReadCam.offset);
    if (!kReadCam["V"].is_set(cam) || !kReadCam["P"].is_set(cam)) continue;  // a walk may have filled it since
    write(mmu, kCam.offset, cam);
    write(mmu, kFlushEntry.offset, kFlushEntry["FLUSHENTRY"].mask());
    empty = empty && !kReadCam["P"].is_set(read(mmu, kReadCam.offset));
  }
  write(mmu, kLock.offset, 0);
  return empty;
}

// ---- While it runs ------------------------------------------------------------------------------------------------

// A page is flushed whole, so that this covers larger ones as well.
void Unit::flush(IovaRange range) {
  const std::uint64_t first = align_down(range.first.value, kPageSize);
  const MutexLock lock(cam_mutex_);
  const bool one_by_one = (range.last.value - first) / kPageSize < kMostPages;
  for (unsigned mmu = 0; mmu < mmus_; ++mmu) {
    if (!one_by_one) {
      write(mmu, kGflush.offset, kGflush["GLOBALFLUSH"].mask());
      continue;
    }
    for (std::uint64_t page = first; page <= range.last.value; page += kPageSize) {
      write(mmu, kCam.offset, kCam["VATAG"].in_place(page));
      write(mmu, kFlushEntry.offset, kFlushEntry["FLUSHENTRY"].mask());
    }
  }
}

void Unit::report_fault(unsigned mmu) {
  const std::uint32_t status = read(mmu, kIrqStatus.offset), address = read(mmu, kFaultAd.offset);
  write(mmu, kIrqStatus.offset, status);
  if (status == 0 || faults_logged_.fetch_add(1) >= kMostFaultLines) return;
  const struct {
    hw::Field field;
    const char* what;
  } causes[] = {{kIrqStatus["TLBMISS"], "TLB miss without table walk"},
                {kIrqStatus["TRANSLATIONFAULT"], "translation fault"},
                {kIrqStatus["EMUMISS"], "debugger's miss"},
                {kIrqStatus["TABLEWALKFAULT"], "table walk fault"},
                {kIrqStatus["MULTIHITFAULT"], "two TLB entries match"}};
  for (const auto& [field, what] : causes)
    if (field.is_set(status)) log::warning("omap-iommu {}: MMU {}: {} da:{:#010x}", name_, mmu, what, address);
}

// ---- Registers ----------------------------------------------------------------------------------------------------

std::uint32_t Unit::read(unsigned mmu, std::uint32_t offset) {
  return hardware_.registers.read32(mmu * static_cast<unsigned>(kRegisterBytes) + offset);
}

void Unit::write(unsigned mmu, std::uint32_t offset, std::uint64_t value) {
  hardware_.registers.write32(mmu * kRegisterBytes + offset, word(value));
}

}  // namespace softiommu::omap
