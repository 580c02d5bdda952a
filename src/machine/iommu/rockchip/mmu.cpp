// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/rockchip/mmu.h"

#include <chrono>
#include <thread>

#include "machine/dma_fence.h"
#include "machine/iommu/stale.h"

namespace softiommu::rockchip {

using namespace hw::rockchip_mmu;

namespace {

constexpr unsigned kLineLg2 = kPageShift + 4;  // what the 16 words of a line translate
constexpr std::uint64_t kLineBytes = std::uint64_t{1} << kLineLg2, kInputBytes = std::uint64_t{1} << 32;

std::uint32_t word(std::uint64_t value) { return static_cast<std::uint32_t>(value); }

}  // namespace

// ---- Registers ----------------------------------------------------------------------------------------------------

void Mmu::reset() {
  const MutexLock lock(mutex_);
  reset_locked();
}

void Mmu::reset_locked() {
  status_.store(word(kStatus.reset), std::memory_order_release);
  dte_addr_.store(word(kDteAddr.reset), std::memory_order_release);
  fault_address_ = raw_ = mask_ = 0;
  gating_ = word(kAutoGating.reset);
  cache_.invalidate_all();
}

std::uint32_t Mmu::read(std::uint32_t offset) const {
  const MutexLock lock(mutex_);
  switch (offset) {
    case kDteAddr.offset:
      return dte_addr_.load(std::memory_order_acquire);
    case kStatus.offset:
      return status_.load(std::memory_order_acquire);
    case kPageFaultAddr.offset:
      return fault_address_;
    case kIntRawstat.offset:
      return raw_;
    case kIntMask.offset:
      return mask_;
    case kIntStatus.offset:
      return raw_ & mask_;
    case kAutoGating.offset:
      return gating_;
    default:
      return 0;
  }
}

bool Mmu::write(std::uint32_t offset, std::uint32_t value) {
  const MutexLock lock(mutex_);
  switch (offset) {
    case kDteAddr.offset:
      if (is_set(kStatus["PAGING_ENABLED"]) && !is_set(kStatus["STALL_ACTIVE"])) return false;
      dte_addr_.store(word(value & (wide_ ? kDteAddr.layout.named() : kDteAddr["ADDR"].mask())),
                      std::memory_order_release);
      return true;
    case kCommand.offset:
      return run(static_cast<Command>(kCommand["CMD"].get(value)));
    case kZapOneLine.offset:
      cache_.invalidate_range(kSpace, IovaRange::of(Iova{align_down(value, kLineBytes)}, kLineBytes));
      return true;
    case kIntClear.offset:
      raw_ &= ~value;
      return false;
    case kIntMask.offset:
      mask_ = word(value & kIntMask.layout.named());
      return false;
    case kAutoGating.offset:
      gating_ = word(value & kAutoGating.layout.named());
      return false;
    default:
      return false;
  }
}

void Mmu::set(hw::Field status, bool on) {
  status_.store(word(status.set(status_.load(std::memory_order_relaxed), on)), std::memory_order_release);
}

bool Mmu::run(Command command) {
  const auto stall = [&](bool on) REQUIRES(mutex_) {
    set(kStatus["STALL_ACTIVE"], on);
    set(kStatus["STALL_NOT_ACTIVE"], !on);
    return on;
  };
  switch (command) {
    case Command::enable_paging:
      set(kStatus["PAGING_ENABLED"], true);
      return true;
    case Command::disable_paging:
      set(kStatus["PAGING_ENABLED"], false);
      return true;
    case Command::enable_stall:
      return is_set(kStatus["PAGING_ENABLED"]) && stall(true);  // nothing stalls that is not translated
    case Command::disable_stall:
      return stall(false);
    case Command::zap_cache:
      cache_.invalidate_all();
      return true;
    case Command::page_fault_done:
      set(kStatus["PAGE_FAULT_ACTIVE"], false);
      set(kStatus["IDLE"], true);
      return false;
    case Command::force_reset:
      reset_locked();
      return true;
  }
  return false;
}

// ---- Translation --------------------------------------------------------------------------------------------------

Mmu::Answer Mmu::translate(const Transaction& transaction) {
  if (is_set(kStatus["STALL_ACTIVE"]) && !wait_for_stall_to_end()) return {};
  if (!is_set(kStatus["PAGING_ENABLED"])) {
    if (transaction.iova.value >= kInputBytes) return {};  // the bus has no more address lines
    return {Translation{PhysAddr{align_down(transaction.iova.value, kPageSize)}, kPageShift, true, true}};
  }
  if (is_set(kStatus["PAGE_FAULT_ACTIVE"])) return {};
  if (transaction.iova.value >= kInputBytes) return {};
  const bool write = transaction.access == Access::write;
  const auto allowed = [&](const Translation& t) { return write ? t.write : t.read; };

  const Iotlb::Ticket ticket = cache_.ticket();
  if (const auto hit = cache_.look_up(kSpace, transaction.iova)) {
    if (allowed(*hit)) return {hit, false, hit};
    return {std::nullopt, record(transaction, walk::Fault::permission), hit};
  }
  const walk::Outcome found = walk(transaction.iova, transaction.access);
  if (!found) return {std::nullopt, record(transaction, found.error().fault)};
  load_line(ticket, transaction.iova);
  return {Translation{found->first, kPageShift, found->read, found->write}};
}

walk::Outcome Mmu::walk(Iova iova, Access access) const {
  const std::uint32_t dte = dte_addr_.load(std::memory_order_acquire);
  return walk::rockchip(memory_, {.root = hw::rockchip_v2::get_address(dte), .wide = wide_}, iova, access);
}

// It counts only if the cache still holds it after memory was read: then no invalidation has removed it meanwhile.
std::optional<std::string> Mmu::doubt(const Transaction& transaction, const Translation& cached) const {
  auto sentence = contradiction(transaction.iova, cached, walk(transaction.iova, transaction.access));
  const auto now = cache_.look_up(kSpace, transaction.iova);
  return now && now->page == cached.page ? sentence : std::nullopt;
}

// All words of the line, as they are: one that is not valid translates nothing.
void Mmu::load_line(Iotlb::Ticket ticket, Iova iova) {
  const Iova first{align_down(iova.value, kLineBytes)};
  for (Iova at = first; at - first < kLineBytes; at += kPageSize) {
    Translation entry;
    for (const Access access : {Access::read, Access::write}) {
      const walk::Outcome found = walk(at, access);
      if (found) entry = {found->first, kPageShift, found->read, found->write};
    }
    cache_.insert(ticket, kSpace, at, entry);
  }
}

// Software holds a stall for a few register writes. A request waits outside of its copy, so that nobody waits for it
// meanwhile; if the stall goes on it is given up, as a bus would after its timeout.
bool Mmu::wait_for_stall_to_end() const {
  constexpr unsigned kMostWaits = 200;
  constexpr std::chrono::microseconds kWait{50};
  const DmaPause pause;
  for (unsigned i = 0; i < kMostWaits; ++i) {
    if (!is_set(kStatus["STALL_ACTIVE"])) return true;
    std::this_thread::sleep_for(kWait);
  }
  return false;
}

bool Mmu::record(const Transaction& transaction, walk::Fault fault) {
  const bool bus_error = fault == walk::Fault::memory;
  const hw::Field cause = bus_error ? kIntRawstat["BUS_ERROR"] : kIntRawstat["PAGE_FAULT"];
  const MutexLock lock(mutex_);
  if (is_set(kStatus["PAGE_FAULT_ACTIVE"])) return false;  // another port's came first
  fault_address_ = word(transaction.iova.value);
  set(kStatus["PAGE_FAULT_IS_WRITE"], transaction.access == Access::write);
  if (!bus_error) {
    set(kStatus["PAGE_FAULT_ACTIVE"], true);
    set(kStatus["IDLE"], false);
  }
  raw_ |= word(cause.mask());
  return (raw_ & mask_ & cause.mask()) != 0;
}

}  // namespace softiommu::rockchip
