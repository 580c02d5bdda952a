// SPDX-License-Identifier: BSD-3-Clause
// Whose limit pinned pages count against: the memory's user, its process, or nobody.
//
// An iommufd counts by user until IOMMU_OPTION_RLIMIT_MODE says otherwise; for a type1 program by process. Whatever the
// mode, the process shows what it has pinned (VmPin).
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "base/memlock.h"
#include "base/program.h"
#include "base/result.h"

namespace softiommu::iommufd {

enum class Accounting : std::uint8_t { none, user, process };

class Account {
 public:
  // `user` and `limit` outlive it.
  Account(std::shared_ptr<Program> program, LockedMemory& user, const MemlockLimit& limit, Accounting mode)
      : program_(std::move(program)), user_(&user), limit_(&limit), mode_(mode) {}
  // The same rules for another process.
  Account of(std::shared_ptr<Program> program) const { return {std::move(program), *user_, *limit_, mode_}; }

  Program& program() const { return *program_; }
  Accounting mode() const { return mode_; }

  // ENOMEM: the limit would be exceeded; nothing is counted then.
  Result<> charge(std::uint64_t pages) {
    if (LockedMemory* const limited = counted()) TRY(limited->charge(pages, *limit_));
    program_->locked().pin(pages);
    return {};
  }
  void charge_in_any_case(std::uint64_t pages) {
    if (LockedMemory* const limited = counted()) (void)limited->charge(pages, {});
    program_->locked().pin(pages);
  }
  void uncharge(std::uint64_t pages) {
    if (LockedMemory* const limited = counted()) limited->uncharge(pages);
    program_->locked().unpin(pages);
  }

 private:
  LockedMemory* counted() const {
    if (mode_ == Accounting::none) return nullptr;
    return mode_ == Accounting::user ? user_ : &program_->locked();
  }

  std::shared_ptr<Program> program_;
  LockedMemory* user_;
  const MemlockLimit* limit_;
  Accounting mode_;
};

}  // namespace softiommu::iommufd
