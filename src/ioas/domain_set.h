// SPDX-License-Identifier: BSD-3-Clause
// The domains that hold one address space, and the search for one when a group joins it.
//
// The search follows the contract: it tries the domains that may fit in the order they were made, goes on only on
// `incompatible`, stops on everything else, and makes a fresh domain when none fits. ENOMEM therefore never leads to a
// needless second domain. A fresh domain that says `incompatible` is a driver bug: logged as an error and returned as
// no_device. With Rules::linux7 it is type1's search (core-rules 13): a fresh domain first, then the others from it,
// going on whatever the answer was.
//
// A fresh domain enforces cache coherency where the IOMMU can do so for every device of its group; whether another
// group may join it is its driver's to say.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/attach_error.h"
#include "core/group.h"
#include "core/system.h"

namespace softiommu {

class DomainSet {
 public:
  // What the address space asks of a fresh domain before any device uses it: checks its aperture against what is
  // mapped and maps all of it (in bulk). `incompatible` here means that the group cannot join this address space.
  using Fill = std::function<AttachResult<>(Domain& fresh)>;

  struct Member {
    std::unique_ptr<Domain> domain;
    std::vector<Group*> groups;
    std::uint64_t fit;  // Driver::fit of the devices that it was made for
  };

  explicit DomainSet(System& system) : system_(system) {}
  ~DomainSet();  // detaches every group
  DomainSet(const DomainSet&) = delete;
  DomainSet& operator=(const DomainSet&) = delete;

  // `group` is owned and on its blocking domain. On failure it still is, and the set is as before.
  //   incompatible  from `fill` only: no domain of this group's could hold the address space
  //   busy          the group is in a set already
  //   no_memory, no_space, no_device  from the first domain that said so; no_device with the code EOPNOTSUPP: no domain
  //                 of the requested kind can be made
  AttachResult<Domain*> attach(Group& group, const DomainRequest& request, const Fill& fill);
  // Detaches the group; frees its domain if that was the last group (true).
  bool detach(Group& group);

  std::span<const Member> members() const { return members_; }
  bool empty() const { return members_.empty(); }

 private:
  AttachResult<Domain*> search(Group& group, const DomainRequest& request, const Fill& fill);
  AttachResult<Domain*> search_as_type1(Group& group, const DomainRequest& request, const Fill& fill);
  AttachResult<Member> make_member(Group& group, const DomainRequest& request);

  System& system_;
  std::vector<Member> members_;  // in the order they were made
};

}  // namespace softiommu
