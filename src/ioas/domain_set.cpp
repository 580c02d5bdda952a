// SPDX-License-Identifier: BSD-3-Clause
#include "ioas/domain_set.h"

#include <algorithm>
#include <new>

namespace softiommu {

namespace {

// An allocation's errno is not an attach answer: EINVAL from there must not read as "incompatible".
AttachError allocation_failed(const Error& error) {
  switch (error.code) {
    case ENOMEM:
      return {AttachFailure::no_memory, ENOMEM, {error.why}};
    case ENOSPC:
      return {AttachFailure::no_space, ENOSPC, {error.why}};
    case EOPNOTSUPP:
      return {AttachFailure::no_device, EOPNOTSUPP, {error.why}};
    default:
      return {AttachFailure::no_device, ENODEV, {error.why}};
  }
}

bool may_fit(const DomainSet::Member& member, const Group& group) {
  if (&member.domain->owner() != &group.driver()) return false;
  return std::ranges::all_of(group.devices(),
                             [&](const Device* device) { return group.driver().fit(*device) == member.fit; });
}

bool is_incompatible(const AttachResult<>& answer) {
  return !answer && answer.error().failure == AttachFailure::incompatible;
}

// While it lives, the group is attached to a domain that it has to leave again.
class Visit {
 public:
  explicit Visit(Group& group) : group_(group) {}
  ~Visit() {
    if (!stays_) group_.detach();
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;
  void stay() { stays_ = true; }

 private:
  Group& group_;
  bool stays_ = false;
};

}  // namespace

DomainSet::~DomainSet() {
  for (const Member& member : members_)
    for (Group* group : member.groups) group->detach();
}

AttachResult<Domain*> DomainSet::attach(Group& group, const DomainRequest& request, const Fill& fill) {
  try {
    return system_.rules() == Rules::linux7 ? search_as_type1(group, request, fill) : search(group, request, fill);
  } catch (const std::bad_alloc&) {
    // Whatever can throw comes before the group is attached, or undoes that itself.
    return driver_says(AttachFailure::no_memory, {"memory for the search"});
  }
}

AttachResult<Domain*> DomainSet::search(Group& group, const DomainRequest& request, const Fill& fill) {
  for (Member& member : members_) {
    if (!may_fit(member, group)) continue;
    member.groups.reserve(member.groups.size() + 1);
    const AttachResult<> answer = group.attach(*member.domain);
    if (is_incompatible(answer)) continue;
    TRY(answer);
    member.groups.push_back(&group);
    return member.domain.get();
  }
  members_.reserve(members_.size() + 1);
  Member fresh = TRY(make_member(group, request));
  TRY(fill(*fresh.domain));
  TRY(group.attach(*fresh.domain));
  members_.push_back(std::move(fresh));
  return members_.back().domain.get();
}

// Linux continues on every errno here, and switches twice for each domain that it tries.
AttachResult<Domain*> DomainSet::search_as_type1(Group& group, const DomainRequest& request, const Fill& fill) {
  members_.reserve(members_.size() + 1);
  Member fresh = TRY(make_member(group, request));
  TRY(group.attach(*fresh.domain));
  Visit visit(group);
  for (Member& member : members_) {
    const bool candidate = &member.domain->owner() == &group.driver() &&
                           member.domain->enforces_cache_coherency() == fresh.domain->enforces_cache_coherency();
    if (!candidate) continue;
    member.groups.reserve(member.groups.size() + 1);
    group.detach();
    if (group.attach(*member.domain)) {
      member.groups.push_back(&group);
      visit.stay();
      return member.domain.get();
    }
    TRY(group.attach(*fresh.domain));
  }
  TRY(fill(*fresh.domain));
  visit.stay();
  members_.push_back(std::move(fresh));
  return members_.back().domain.get();
}

AttachResult<DomainSet::Member> DomainSet::make_member(Group& group, const DomainRequest& request) {
  const auto devices = group.devices();  // which may change
  if (devices.empty()) return std::unexpected(allocation_failed({ENODEV, "the group's devices are gone"}));
  Member fresh{.domain = nullptr, .groups = {&group}, .fit = group.driver().fit(*devices.front())};
  auto domain = system_.allocate_domain(group, request);
  if (!domain) return std::unexpected(allocation_failed(domain.error()));
  fresh.domain = *std::move(domain);
  const auto can_enforce = [&](const Device* device) { return group.driver().can_enforce_cache_coherency(*device); };
  if (std::ranges::all_of(devices, can_enforce)) fresh.domain->enforce_cache_coherency();
  return fresh;
}

bool DomainSet::detach(Group& group) {
  for (auto member = members_.begin(); member != members_.end(); ++member) {
    if (std::erase(member->groups, &group) == 0) continue;
    group.detach();
    if (!member->groups.empty()) return false;
    members_.erase(member);
    return true;
  }
  return false;
}

}  // namespace softiommu
