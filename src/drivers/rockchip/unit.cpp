// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/rockchip/unit.h"

#include "base/fault.h"
#include "base/log.h"
#include "drivers/rockchip/domain.h"

namespace softiommu::rockchip {

using namespace hw::rockchip_mmu;

namespace {

constexpr unsigned kMostPolls = 100'000;   // a handshake that takes longer never ends
constexpr std::uint64_t kMostLines = 16;   // zapping more than these costs more than filling the cache again
constexpr unsigned kMostFaultLines = 100;  // a storm of faults must not fill the log
constexpr std::uint32_t kNobody = ~std::uint32_t{0};

std::uint64_t code(Command command) { return kCommand["CMD"].put(std::to_underlying(command)); }

}  // namespace

// Whatever was mapped is about to be freed: a directory at 0, where no memory is, ends every request with a bus error.
Unit::~Unit() {
  if (empty_.value == 0) return;
  write_all(kIntMask.offset, 0);
  force({.paging = true, .directory = 0});
  tables().free(empty_);
}

unsigned Unit::count_mmus(MmioRegion& registers) {
  unsigned count = 0;
  while (count < kMostMmus && registers.read32(count * kRegisterBytes + kStatus.offset) != kNobody) ++count;
  return count;
}

Result<> Unit::start() {
  if (mmus_ == 0) return fail(ENODEV, "no Rockchip MMU answers");
  command(Command::disable_paging);  // DTE_ADDR takes writes now
  TRY(reset());
  empty_ = TRY(tables().allocate());
  return switch_to(nullptr);
}

// ---- Settings -----------------------------------------------------------------------------------------------------

Unit::Setting Unit::setting_for(const Domain* domain) const {
  if (domain == nullptr || domain->type() == DomainType::blocked)
    return {.paging = true, .directory = dte_addr(empty_, wide_)};
  if (domain->type() == DomainType::identity) return {.paging = false};
  return {.paging = true, .directory = dte_addr(static_cast<const PagingDomain*>(domain)->root(), wide_)};
}

Result<> Unit::switch_to(const Domain* to) {
  const Setting wanted = setting_for(to);
  if (wanted == now_) return {};
  auto moved = move_to(wanted);
  if (moved) {
    now_ = wanted;
  } else if (!force(now_)) {
    block();
  }
  return moved;
}

bool Unit::block() {
  now_ = setting_for(nullptr);
  return force(now_);
}

bool Unit::let_pass() {
  now_ = {.paging = false};
  return force(now_);
}

Result<> Unit::move_to(const Setting& wanted) {
  if (now_.paging) {
    TRY(stall());
  } else {
    TRY(reset());  // nothing is translated yet that it could disturb
  }
  if (wanted.paging) {
    TRY(set_directory(wanted.directory));
    command(Command::zap_cache);
    write_all(kIntMask.offset, kIntMask.layout.named());
    for (unsigned mmu = 0; mmu < mmus_; ++mmu)
      write(mmu, kAutoGating.offset,
            read(mmu, kAutoGating.offset) | kAutoGating["DISABLE_FETCH_DTE_TIME_LIMIT"].mask());
  }
  TRY(set_paging(wanted.paging));
  if (!wanted.paging) write_all(kIntMask.offset, 0);
  return resume();
}

// The same without handshakes: for the way back and for the way out, where there is no other choice left. False: the
// MMUs do not say that they are set so.
bool Unit::force(const Setting& wanted) {
  command(Command::enable_stall);
  write_all(kDteAddr.offset, wanted.directory);
  command(Command::zap_cache);
  write_all(kIntMask.offset, wanted.paging ? kIntMask.layout.named() : 0);
  command(wanted.paging ? Command::enable_paging : Command::disable_paging);
  command(Command::disable_stall);
  for (unsigned mmu = 0; mmu < mmus_; ++mmu) {
    const bool paging = kStatus["PAGING_ENABLED"].is_set(read(mmu, kStatus.offset));
    if (paging != wanted.paging || read(mmu, kDteAddr.offset) != wanted.directory) return false;
  }
  return true;
}

// ---- Handshakes ---------------------------------------------------------------------------------------------------

// Is the predicate true of every MMU, sooner or later?
template <typename Predicate>
bool Unit::all_reach(Predicate&& predicate) {
  for (unsigned mmu = 0; mmu < mmus_; ++mmu) {
    unsigned polls = 0;
    while (!predicate(mmu))
      if (++polls == kMostPolls) return false;
  }
  return true;
}

// A register that keeps what is written is also what tells the versions apart: v1 has no bits below the page number.
Result<> Unit::reset() {
  write_all(kDteAddr.offset, kDteAddr.layout.named());
  const std::uint32_t kept = read(0, kDteAddr.offset);
  const auto keeps = [&](unsigned mmu) { return read(mmu, kDteAddr.offset) == kept; };
  if (!fault::pass("rockchip.directory_register", ENODEV) || !all_reach(keeps) || !kDteAddr["ADDR"].is_set(kept))
    return fail(EFAULT, "MMU_DTE_ADDR does not keep what is written");
  wide_ = kDteAddr["ADDR35_32"].is_set(kept);
  command(Command::force_reset);
  const auto done = [&](unsigned mmu) { return read(mmu, kDteAddr.offset) == kDteAddr.reset; };
  if (!fault::pass("rockchip.reset", ENODEV) || !all_reach(done))
    return fail(ETIMEDOUT, "an MMU does not end its reset");
  return {};
}

Result<> Unit::stall() {
  command(Command::enable_stall);
  const auto stalled = [&](unsigned mmu) { return kStatus["STALL_ACTIVE"].is_set(read(mmu, kStatus.offset)); };
  if (!fault::pass("rockchip.stall", ENODEV) || !all_reach(stalled)) return fail(ETIMEDOUT, "an MMU does not stall");
  return {};
}

Result<> Unit::resume() {
  command(Command::disable_stall);
  const auto goes_on = [&](unsigned mmu) { return !kStatus["STALL_ACTIVE"].is_set(read(mmu, kStatus.offset)); };
  if (!fault::pass("rockchip.resume", ENODEV) || !all_reach(goes_on))
    return fail(ETIMEDOUT, "an MMU does not end its stall");
  return {};
}

Result<> Unit::set_paging(bool on) {
  command(on ? Command::enable_paging : Command::disable_paging);
  const auto set = [&](unsigned mmu) { return kStatus["PAGING_ENABLED"].is_set(read(mmu, kStatus.offset)) == on; };
  if (!fault::pass("rockchip.paging", ENODEV) || !all_reach(set))
    return fail(ETIMEDOUT, "an MMU does not switch paging");
  return {};
}

Result<> Unit::set_directory(std::uint32_t directory) {
  write_all(kDteAddr.offset, directory);
  const auto set = [&](unsigned mmu) { return read(mmu, kDteAddr.offset) == directory; };
  if (!fault::pass("rockchip.directory", ENODEV) || !all_reach(set))
    return fail(EFAULT, "an MMU does not take its directory");
  return {};
}

// ---- Registers ----------------------------------------------------------------------------------------------------

std::uint32_t Unit::read(unsigned mmu, std::uint32_t offset) {
  return hardware_.registers.read32(mmu * kRegisterBytes + offset);
}

void Unit::write(unsigned mmu, std::uint32_t offset, std::uint64_t value) {
  hardware_.registers.write32(mmu * kRegisterBytes + offset, static_cast<std::uint32_t>(value));
}

void Unit::write_all(std::uint32_t offset, std::uint64_t value) {
  for (unsigned mmu = 0; mmu < mmus_; ++mmu) write(mmu, offset, value);
}

void Unit::command(Command command) { write_all(kCommand.offset, code(command)); }

void Unit::zap(IovaRange range) {
  const std::uint64_t first = align_down(range.first.value, kPageSize);
  if ((range.last.value - first) / kPageSize >= kMostLines) {
    command(Command::zap_cache);
    return;
  }
  for (std::uint64_t page = first; page <= range.last.value; page += kPageSize) write_all(kZapOneLine.offset, page);
}

// The words are those of Linux, which zaps and lets the MMU go on as well.
void Unit::report_fault(unsigned mmu) {
  const std::uint32_t cause = read(mmu, kIntStatus.offset), address = read(mmu, kPageFaultAddr.offset);
  const bool log = cause != 0 && faults_logged_.fetch_add(1) < kMostFaultLines;
  if (kIntStatus["PAGE_FAULT"].is_set(cause)) {
    const bool write_access = kStatus["PAGE_FAULT_IS_WRITE"].is_set(read(mmu, kStatus.offset));
    if (log)
      log::warning("rk_iommu {}: MMU {}: Page fault at {:#010x} of type {}", name_, mmu, address,
                   write_access ? "write" : "read");
    write(mmu, kCommand.offset, code(Command::zap_cache));
    write(mmu, kCommand.offset, code(Command::page_fault_done));
  }
  if (kIntStatus["BUS_ERROR"].is_set(cause) && log)
    log::warning("rk_iommu {}: MMU {}: BUS_ERROR occurred at {:#010x}", name_, mmu, address);
  write(mmu, kIntClear.offset, cause);
}

}  // namespace softiommu::rockchip
