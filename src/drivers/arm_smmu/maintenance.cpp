// SPDX-License-Identifier: BSD-3-Clause
// TLB maintenance (IHI 0062 chapter 5) and faults.
#include <string>

#include "base/log.h"
#include "drivers/arm_smmu/domain.h"
#include "drivers/arm_smmu/unit.h"

namespace softiommu::arm_smmu {

using namespace hw::smmu;

namespace {

// A synchronisation that is not over within this many looks never will be.
constexpr unsigned kMostPolls = 100'000;
// From here on invalidating the whole bank is cheaper.
constexpr std::uint64_t kMostPages = 64;

}  // namespace

// ---- Synchronisation --------------------------------------------------------------------------------------------

Result<> Unit::synchronise(std::uint64_t sync, std::uint64_t status) {
  const MutexLock lock(sync_mutex_);
  // What was written to the tables becomes visible before the unit goes on.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  write(sync, 0);
  for (unsigned i = 0; i < kMostPolls; ++i)
    if (!kStatusBits["SACTIVE"].is_set(registers().read32(status))) return {};
  if (!tolerates_timeouts_) return fail(ENODEV, "a TLB synchronisation does not end");
  log::error("arm-smmu {}: a TLB synchronisation does not end", name_);
  return {};
}

Result<> Unit::synchronise_all() { return synchronise(kTlbGsync.offset, kTlbGstatus.offset); }

Result<> Unit::synchronise_bank(UnitId bank) {
  return synchronise(pages_.bank(bank) + kTlbSync.offset, pages_.bank(bank) + kTlbStatus.offset);
}

// ---- Invalidation -----------------------------------------------------------------------------------------------

Result<> Unit::invalidate_bank(unsigned stage, UnitId bank) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (stage == 1) {
    write(pages_.bank(bank) + kTlbiAsid.offset, kTlbiAsid["ASID"].put(bank));
    return synchronise_bank(bank);
  }
  write(kTlbiVmid.offset, kTlbiVmid["VMID"].put(std::uint64_t{bank} + 1));
  return synchronise_all();
}

Result<> Unit::flush_id(const PagingDomain& domain, UnitId bank) { return invalidate_bank(domain.stage(), bank); }

Result<> Unit::invalidate_pages(const PagingDomain& domain, UnitId bank, IovaRange range, bool leaf_only) {
  const TableShape& shape = domain.shape();
  const std::uint64_t pages = (range.last.value >> shape.granule_lg2) - (range.first.value >> shape.granule_lg2) + 1;
  // Version 1 invalidates stage 2 by VMID only.
  if (pages > kMostPages || (shape.stage == 2 && features_.version == 1)) return invalidate_bank(shape.stage, bank);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const std::uint64_t base = pages_.bank(bank);
  const bool aarch64 = shape.kind == TableKind::aarch64;
  const auto send = [&](std::uint64_t offset, std::uint64_t value) {
    aarch64 ? registers().write64(base + offset, value) : write(base + offset, value);
  };
  for (std::uint64_t n = 0; n < pages; ++n) {
    const std::uint64_t page = (range.first.value + (n << shape.granule_lg2)) >> kPageShift;
    if (shape.stage == 2) {
      send(leaf_only ? kTlbiIpas2l.offset : kTlbiIpas2.offset, kTlbiIpa["IPA"].put(page));
    } else {
      send(leaf_only ? kTlbiVal.offset : kTlbiVa.offset,
           aarch64 ? kTlbiVa64["ASID"].put(bank) | kTlbiVa64["VA"].put(page & kTlbiVa64["VA"].max())
                   : kTlbiVa32["ASID"].put(bank) | kTlbiVa32["VA"].put(page & kTlbiVa32["VA"].max()));
    }
  }
  return synchronise_bank(bank);
}

// ---- Faults -----------------------------------------------------------------------------------------------------

namespace {

// The names of the bits that are set.
template <std::size_t N>
std::string names_of(const hw::Layout<N>& layout, std::uint64_t word) {
  std::string names;
  for (const hw::Field& field : layout.fields)
    if (field.hi == field.lo && field.is_set(word)) names += (names.empty() ? "" : " ") + std::string(field.name);
  return names;
}

}  // namespace

bool Unit::uses_line(unsigned bank, unsigned line) {
  return kFirstContextLine + (features_.version == 2 ? bank : bank % features_.interrupts) == line;
}

void Unit::serve_interrupt(unsigned line) {
  if (line == kGlobalLine) return report_global_fault();
  for (unsigned bank = 0; bank < features_.banks; ++bank)
    if (uses_line(bank, line)) report_context_fault(bank);
}

void Unit::report_global_fault() {
  const std::uint64_t gfsr = registers().read32(kGfsr.offset);
  if (gfsr == 0) return;
  const std::uint64_t stream = kGfsynr1["STREAMID"].get(registers().read32(kGfsynr1.offset));
  const std::uint64_t address = registers().read64(kGfar.offset);
  const bool write_access = kGfsynr0["WNR"].is_set(registers().read32(kGfsynr0.offset));
  // A blocked device that goes on is nothing to worry about.
  const bool blocked = (gfsr & ~kGfsr["MULTI"].mask()) == kGfsr["ICF"].mask();
  if (may_log())
    log::write(blocked ? log::Level::info : log::Level::warning,
               fmt::format("arm-smmu {}: global fault {}: stream {:#x} iova {:#x} {}", name_,
                           names_of(kGfsr.layout, gfsr), stream, address, write_access ? "write" : "read"));
  write(kGfsr.offset, gfsr);
}

void Unit::report_context_fault(unsigned bank) {
  const std::uint64_t base = pages_.bank(bank), fsr = registers().read32(base + kFsr.offset);
  if ((fsr & ~kFsr["FORMAT"].mask()) == 0) return;
  const std::uint64_t address = registers().read64(base + kFar.offset);
  const std::uint64_t syndrome = registers().read32(base + kFsynr0.offset);
  const std::uint64_t stream =
      kCbfrsynra["STREAMID"].get(registers().read32(pages_.global1() + cbfrsynra_offset(bank)));
  if (may_log())
    log::warning("arm-smmu {}: context fault {}: bank {} stream {:#x} iova {:#x} {}", name_, names_of(kFsr.layout, fsr),
                 bank, stream, address, kFsynr0["WNR"].is_set(syndrome) ? "write" : "read");
  write(base + kFsr.offset, fsr);
  if (kFsr["SS"].is_set(fsr)) write(base + kResume.offset, kResume["TNR"].put(1));
}

}  // namespace softiommu::arm_smmu
