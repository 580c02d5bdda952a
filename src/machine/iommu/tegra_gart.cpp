// SPDX-License-Identifier: BSD-3-Clause
// The part of a Tegra20 memory controller that remaps a window of addresses: entries that are registers, one switch for
// the window, one for each client.
//
// Writes to entries are posted: they are in force when software reads any register, or when the buffer is full. A
// stream id is a client's number.
#include <array>
#include <atomic>
#include <memory>

#include "base/mutex.h"
#include "hw/tegra_gart.h"
#include "machine/iommu/walk/tegra_gart.h"
#include "machine/registry.h"

namespace softiommu {

namespace {

using namespace hw::tegra_gart;

constexpr unsigned kWordBytes = 4, kPosted = 8, kAddressLines = 32;
constexpr unsigned kClientsPerWord = 32;

class TegraGart final : public IommuUnit {
 public:
  explicit TegraGart(UnitContext context) : IommuUnit(std::move(context)) { clear(); }

  std::string_view model() const override { return "tegra-gart"; }
  std::uint64_t register_bytes() const override { return kRegisterBytes; }
  void reset() override {
    clear();
    settle();
  }
  // Registers are words: other widths read as ones and write nothing.
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;
  std::optional<Translation> translate(const Transaction& transaction) override;

 private:
  struct Posted {
    unsigned index;
    std::uint32_t word;
  };

  void clear() EXCLUDES(mutex_);
  bool apply_posted() REQUIRES(mutex_);
  std::uint32_t read_locked(std::uint64_t offset) const REQUIRES(mutex_);
  bool write_locked(std::uint64_t offset, std::uint32_t value) REQUIRES(mutex_);
  void settle() {
    bump_generation();
    wait_for_dma();
  }
  unsigned chosen() const REQUIRES(mutex_) { return static_cast<unsigned>(kEntryAddr["TABLE_ADDR"].get(entry_addr_)); }
  bool enabled(StreamId client) const {
    return client < kClients &&
           (clients_[client / kClientsPerWord].load(std::memory_order_acquire) >> client % kClientsPerWord & 1) != 0;
  }
  bool record(const Transaction& transaction) EXCLUDES(mutex_);

  std::array<std::atomic<std::uint32_t>, kEntries> entries_{};
  std::array<std::atomic<std::uint32_t>, kClients / kClientsPerWord> clients_{};
  std::atomic<std::uint32_t> config_{0};
  mutable Mutex mutex_;  // a leaf
  std::array<Posted, kPosted> posted_ GUARDED_BY(mutex_){};
  unsigned posted_count_ GUARDED_BY(mutex_) = 0;
  std::uint32_t entry_addr_ GUARDED_BY(mutex_) = 0,
                            int_status_ GUARDED_BY(mutex_) = 0, int_mask_ GUARDED_BY(mutex_) = 0;
  std::uint32_t error_req_ GUARDED_BY(mutex_) = 0, error_addr_ GUARDED_BY(mutex_) = 0;
};

// ---- Registers ----------------------------------------------------------------------------------------------------

void TegraGart::clear() {
  const MutexLock lock(mutex_);
  for (auto& entry : entries_) entry.store(0, std::memory_order_relaxed);
  for (auto& word : clients_) word.store(static_cast<std::uint32_t>(kClientCtrl.reset), std::memory_order_relaxed);
  config_.store(0, std::memory_order_release);
  posted_count_ = 0;
  entry_addr_ = int_status_ = int_mask_ = error_req_ = error_addr_ = 0;
}

// Was anything changed?
bool TegraGart::apply_posted() {
  for (unsigned i = 0; i < posted_count_; ++i)
    entries_[posted_[i].index].store(posted_[i].word, std::memory_order_release);
  return std::exchange(posted_count_, 0) != 0;
}

std::uint64_t TegraGart::read(std::uint64_t offset, unsigned bytes) {
  if (bytes != kWordBytes || offset >= kRegisterBytes) return ~std::uint64_t{0};
  bool changed = false;
  std::uint32_t value = 0;
  {
    const MutexLock lock(mutex_);
    changed = apply_posted();
    value = read_locked(offset);
  }
  if (changed) settle();
  return value;
}

std::uint32_t TegraGart::read_locked(std::uint64_t offset) const {
  switch (offset) {
    case kIntStatus.offset:
      return int_status_;
    case kIntMask.offset:
      return int_mask_;
    case kConfig.offset:
      return config_.load(std::memory_order_acquire);
    case kEntryAddr.offset:
      return entry_addr_;
    case kEntryData.offset:
      return entries_[chosen()].load(std::memory_order_acquire);
    case kErrorReq.offset:
      return error_req_;
    case kErrorAddr.offset:
      return error_addr_;
    case kClientCtrl.offset:
      return clients_[0].load(std::memory_order_acquire);
    case kClientCtrlHigh.offset:
      return clients_[1].load(std::memory_order_acquire);
    default:
      return 0;
  }
}

void TegraGart::write(std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  if (bytes != kWordBytes || offset >= kRegisterBytes) return;
  bool changed = false;
  {
    const MutexLock lock(mutex_);
    changed = write_locked(offset, static_cast<std::uint32_t>(value));
  }
  if (changed) settle();
}

// True: requests that are under way may still use what has changed.
bool TegraGart::write_locked(std::uint64_t offset, std::uint32_t value) {
  switch (offset) {
    case kIntStatus.offset:
      int_status_ &= ~value;
      return false;
    case kIntMask.offset:
      int_mask_ = static_cast<std::uint32_t>(value & kIntMask.layout.named());
      return false;
    case kConfig.offset:
      config_.store(static_cast<std::uint32_t>(value & kConfig.layout.named()), std::memory_order_release);
      return true;
    case kEntryAddr.offset:
      entry_addr_ = static_cast<std::uint32_t>(kEntryAddr["TABLE_ADDR"].in_place(value));
      return false;
    case kEntryData.offset:
      posted_[posted_count_++] = {chosen(), static_cast<std::uint32_t>(value & kEntryData.layout.named())};
      return posted_count_ == kPosted && apply_posted();
    case kClientCtrl.offset:
      clients_[0].store(value, std::memory_order_release);
      return true;
    case kClientCtrlHigh.offset:
      clients_[1].store(value, std::memory_order_release);
      return true;
    default:
      return false;
  }
}

// ---- Translation --------------------------------------------------------------------------------------------------

std::optional<Translation> TegraGart::translate(const Transaction& transaction) {
  if (!enabled(transaction.stream) || transaction.iova.value >> kAddressLines != 0) return std::nullopt;
  if (transaction.iova.value - kWindow >= kWindowBytes)  // wraps far out below the window
    return Translation{PhysAddr{align_down(transaction.iova.value, kPageSize)}, kPageShift, true, true};
  if (kConfig["ENABLE"].is_set(config_.load(std::memory_order_acquire))) {
    const auto index = (transaction.iova.value - kWindow) >> kPageShift;
    const std::uint32_t word = entries_[index].load(std::memory_order_acquire);
    const Iova page{align_down(transaction.iova.value, kPageSize)};
    if (const auto found = walk::tegra_gart({{&word, 1}, page}, transaction.iova, transaction.access))
      return Translation{found->first, kPageShift, true, true};
  }
  if (record(transaction)) interrupt(0);
  return std::nullopt;
}

bool TegraGart::record(const Transaction& transaction) {
  const MutexLock lock(mutex_);
  const std::uint64_t cause = kIntStatus["INVALID_GART_PAGE"].mask();
  if ((int_status_ & cause) == 0) {
    error_addr_ = static_cast<std::uint32_t>(transaction.iova.value);
    error_req_ = static_cast<std::uint32_t>(kErrorReq["CLIENT"].put(transaction.stream) |
                                            kErrorReq["WRITE"].put(transaction.access == Access::write));
  }
  int_status_ |= static_cast<std::uint32_t>(cause);
  return (int_mask_ & cause) != 0;
}

}  // namespace

UnitModel tegra_gart_unit_model() {
  return {"tegra-gart",
          "Tegra20 GART: a window of 32 MiB at 0x58000000 for all devices behind it; other addresses pass. A stream id "
          "is a memory client's number, below 64",
          {},
          [](const UnitContext& context, const Options&) -> Result<std::unique_ptr<IommuUnit>> {
            return without_throwing(
                [&]() -> Result<std::unique_ptr<IommuUnit>> { return std::make_unique<TegraGart>(context); });
          }};
}

}  // namespace softiommu
