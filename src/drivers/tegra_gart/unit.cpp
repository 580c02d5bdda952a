// SPDX-License-Identifier: BSD-3-Clause
#include "drivers/tegra_gart/unit.h"

#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "drivers/tegra_gart/domain.h"

namespace softiommu::tegra_gart {

using namespace hw::tegra_gart;

namespace {

constexpr unsigned kMostFaultLines = 100;  // a storm of faults must not fill the log
constexpr unsigned kClientsPerWord = 32;
constexpr std::uint32_t kNobody = ~std::uint32_t{0};

}  // namespace

Result<> Unit::start() {
  const MutexLock lock(window_mutex_);
  if (registers().read32(kConfig.offset) == kNobody) return fail(ENODEV, "no GART answers");
  fill(nullptr);
  write(kConfig.offset, kConfig["ENABLE"].mask());
  if (!fault::pass("tegra_gart.enable", ENODEV) || registers().read32(kConfig.offset) != kConfig["ENABLE"].mask())
    return fail(ENODEV, "the GART cannot be turned on");
  write(kIntMask.offset, kIntMask["INVALID_GART_PAGE"].mask());
  return {};
}

// ---- The window ---------------------------------------------------------------------------------------------------

Result<UnitId> Unit::allocate_id(const PagingDomain& /*domain*/) {
  const MutexLock lock(window_mutex_);
  if (taken_) return fail(ENOSPC, "the aperture, which another domain has");
  taken_ = true;
  return UnitId{0};
}

void Unit::free_id(const PagingDomain& /*domain*/, UnitId /*id*/) {
  const MutexLock lock(window_mutex_);
  taken_ = false;
}

// Nobody is on `domain` any more: after a change the one before it, after a change that was given up the new one.
Result<> Unit::flush_id(const PagingDomain& domain, UnitId /*id*/) {
  const MutexLock lock(window_mutex_);
  if (before_ == &domain) before_ = nullptr;
  if (shown_ == &domain) fill(std::exchange(before_, nullptr));
  return {};
}

Result<> Unit::load(const PagingDomain& domain) {
  const MutexLock lock(window_mutex_);
  if (shown_ == &domain) return {};
  const PagingDomain* const before = shown_;
  const std::uint32_t last = fill(&domain);
  if (!fault::pass("tegra_gart.window", ENODEV) || registers().read32(kEntryData.offset) != last) {
    fill(before);
    return fail(ENODEV, "the GART does not keep its entries");
  }
  before_ = before;
  return {};
}

// Page by page: a device that uses the window meanwhile sees the old page or the new one. Returns the last word.
std::uint32_t Unit::fill(const PagingDomain* domain) {
  std::uint32_t word = 0;
  for (std::uint64_t page = kWindow; page < kWindow + kWindowBytes; page += kPageSize) {
    word = domain != nullptr ? domain->entry(Iova{page}) : 0;
    write_entry(Iova{page}, word);
  }
  read_back();
  shown_ = domain;
  return word;
}

void Unit::refresh(const PagingDomain& domain, IovaRange range) {
  const MutexLock lock(window_mutex_);
  if (shown_ != &domain) return;
  for (std::uint64_t page = range.first.value; page <= range.last.value; page += kPageSize)
    write_entry(Iova{page}, domain.entry(Iova{page}));
  read_back();
}

void Unit::write_entry(Iova iova, std::uint32_t word) {
  write(kEntryAddr.offset, kEntryAddr["TABLE_ADDR"].in_place(iova.value - kWindow));
  write(kEntryData.offset, word);
}

// ---- Clients ------------------------------------------------------------------------------------------------------

Result<> Unit::let_pass(StreamId client, bool pass) {
  const std::uint32_t offset = client < kClientsPerWord ? kClientCtrl.offset : kClientCtrlHigh.offset;
  const std::uint32_t bit = std::uint32_t{1} << client % kClientsPerWord;
  if (pass && !fault::pass("tegra_gart.client", ENODEV)) return fail(ENODEV, "a client cannot be switched on");
  const MutexLock lock(clients_mutex_);
  const std::uint32_t before = registers().read32(offset);
  const std::uint32_t wanted = pass ? before | bit : before & ~bit;
  write(offset, wanted);
  if (registers().read32(offset) != wanted)
    return fail(ENODEV, "the memory controller does not take a client's switch");
  return {};
}

void Unit::report_fault() {
  const std::uint32_t request = registers().read32(kErrorReq.offset), address = registers().read32(kErrorAddr.offset);
  write(kIntStatus.offset, kIntStatus["INVALID_GART_PAGE"].mask());
  if (faults_logged_.fetch_add(1) >= kMostFaultLines) return;
  log::warning("tegra-mc {}: client {}: {} @{:#010x}: invalid GART page", name_, kErrorReq["CLIENT"].get(request),
               kErrorReq["WRITE"].is_set(request) ? "write" : "read", address);
}

}  // namespace softiommu::tegra_gart
