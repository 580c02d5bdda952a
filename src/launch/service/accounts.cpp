// SPDX-License-Identifier: BSD-3-Clause
#include "launch/service/accounts.h"

#include <signal.h>

#include <atomic>
#include <cerrno>
#include <utility>

namespace softiommu::launch {
namespace {

static_assert(sizeof(AccountTable::Entry::locked) == sizeof(std::atomic<std::uint64_t>));

// A free entry, or one of a process that has ended.
AccountTable::Entry* take_entry(AccountTable& table, pid_t process) {
  for (AccountTable::Entry& entry : table.entries) {
    std::atomic_ref<std::int32_t> owner(entry.process);
    std::int32_t seen = owner.load();
    const bool free = seen == 0 || (::kill(seen, 0) != 0 && errno == ESRCH);
    if (free && owner.compare_exchange_strong(seen, process)) return &entry;
  }
  return nullptr;
}

}  // namespace

PublishedAccount::PublishedAccount(AccountTable* table, pid_t process, LockedMemory& locked)
    : entry_(table == nullptr ? nullptr : take_entry(*table, process)) {
  if (entry_ != nullptr) locked.publish(&entry_->locked, &entry_->pinned);
}

PublishedAccount::~PublishedAccount() {
  if (entry_ != nullptr) std::atomic_ref(entry_->process).store(0);
}

PublishedAccount::PublishedAccount(PublishedAccount&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
PublishedAccount& PublishedAccount::operator=(PublishedAccount&& other) noexcept {
  std::swap(entry_, other.entry_);
  return *this;
}

void PublishedAccount::hand_over(pid_t process) {
  if (entry_ != nullptr) std::atomic_ref(entry_->process).store(process);
}

}  // namespace softiommu::launch
