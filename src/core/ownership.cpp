// SPDX-License-Identifier: BSD-3-Clause
// DMA ownership of a group: a program or kernel drivers, never both (core-rules 9), and the blocking domain that a
// program's group rests on.
#include <cassert>

#include "base/trace.h"
#include "core/group.h"
#include "core/system.h"

namespace softiommu {

namespace {

Error as_error(const AttachError& error) {
  const bool told = error.reason.property != nullptr && *error.reason.property != '\0';
  return {error.code, told ? error.reason.property : name_of(error.failure)};
}

}  // namespace

Result<> Group::claim_dma_owner(const void* owner) {
  if (owner == nullptr) return fail(EINVAL, "a claim needs an owner");
  const MutexLock lock(mutex_);
  if (owner_count_ != 0) return fail(EPERM, "the group is in use");
  return take_locked(owner);
}

Result<> Group::share_dma_owner(const void* owner) {
  if (owner == nullptr) return fail(EINVAL, "a claim needs an owner");
  const MutexLock lock(mutex_);
  if (owner_count_ == 0) return take_locked(owner);
  if (owner_ != owner) return fail(EPERM, "the group is in use by another owner");
  ++owner_count_;
  return {};
}

Result<> Group::take_locked(const void* owner) {
  // A release that could not attach the default domain left the group on its blocking domain.
  if (domain_ != default_domain_ && domain_ != blocking_domain_)
    return fail(EBUSY, "the group is attached to a domain");
  if (page_faults_.any_pasid() != 0) return fail(EBUSY, "a PASID of the group is attached");
  TRY(make_blocking_domain_locked());
  const std::uint64_t begin = trace::now_ns();
  const bool fresh = blocking_domain_->fresh_for_.load() == this;
  const AttachResult<> answer = set_domain_locked(*blocking_domain_);
  record({.kind = AttachRecord::Kind::attach, .fresh = fresh}, blocking_domain_, answer, begin);
  if (!answer) return std::unexpected(as_error(answer.error()));
  owner_ = owner;
  owner_count_ = 1;
  return {};
}

// Hardware without a blocked setting gets an empty domain: made now, so that no detach needs memory.
Result<> Group::make_blocking_domain_locked() {
  if (blocking_domain_ != nullptr) return {};
  blocking_domain_ = driver_.static_domain(DomainType::blocked);
  if (blocking_domain_ != nullptr) return {};
  owned_blocking_ = TRY(system_.allocate_domain(*this));
  blocking_domain_ = owned_blocking_.get();
  return {};
}

void Group::release_dma_owner() {
  const MutexLock lock(mutex_);
  assert(owner_ != nullptr && owner_count_ > 0);
  if (owner_ == nullptr || --owner_count_ > 0) return;
  owner_ = nullptr;
  detach_all_pasids_locked();
  page_faults_.forget(0);
  const std::uint64_t begin = trace::now_ns();
  must_set_domain_locked(*default_domain_);
  record({.kind = AttachRecord::Kind::detach}, domain_, {}, begin);
}

bool Group::dma_owner_claimed() const {
  const MutexLock lock(mutex_);
  return owner_count_ != 0;
}

Result<> Group::use_default_domain() {
  const MutexLock lock(mutex_);
  if (owner_ != nullptr) return fail(EBUSY, "a program owns the group");
  if (owner_count_ > 0 && domain_ != default_domain_) return fail(EBUSY, "the group is attached to a domain");
  if (owner_count_ > 0 && page_faults_.any_pasid() != 0) return fail(EBUSY, "a PASID of the group is attached");
  if (owner_count_ == 0 && domain_ == blocking_domain_) {
    if (const auto answer = set_domain_locked(*default_domain_); !answer)
      return std::unexpected(as_error(answer.error()));
  }
  ++owner_count_;
  return {};
}

void Group::unuse_default_domain() {
  const MutexLock lock(mutex_);
  assert(owner_ == nullptr && owner_count_ > 0);
  if (owner_ == nullptr && owner_count_ > 0) --owner_count_;
}

}  // namespace softiommu
