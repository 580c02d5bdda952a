// SPDX-License-Identifier: BSD-3-Clause
// This process's side of the run's table of pinned memory: entries are taken for programs, and given back.
#pragma once

#include <sys/types.h>

#include "base/memlock.h"
#include "launch/service/account_table.h"

namespace softiommu::launch {

// What a program counts shows as that of `process` from now on, as long as this lives. Without a table, or without
// room in it, it is only counted.
class PublishedAccount {
 public:
  PublishedAccount() = default;
  PublishedAccount(AccountTable* table, pid_t process, LockedMemory& locked);
  ~PublishedAccount();
  PublishedAccount(PublishedAccount&& other) noexcept;
  PublishedAccount& operator=(PublishedAccount&& other) noexcept;

  // Another process holds the memory now (a keeper).
  void hand_over(pid_t process);
  // The entry is the parent's: in a child of fork.
  void forget() { entry_ = nullptr; }

 private:
  AccountTable::Entry* entry_ = nullptr;
};

}  // namespace softiommu::launch
