// SPDX-License-Identifier: BSD-3-Clause
// The kinds of object that a DMA passes: an address space (IOAS), hardware page tables (HWPT: one domain each), a bound
// device. What belongs to virtual IOMMUs is in viommu.h, the queues in event_queue.h.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "core/device.h"
#include "core/group.h"
#include "iommufd/event_queue.h"
#include "iommufd/io_pagetable.h"
#include "iommufd/object.h"

namespace softiommu::iommufd {

class PagingHwpt;
class Vdevice;

class Ioas final : public Object {
 public:
  IoPagetable& table() { return table_; }
  // In the order they were made: the search for a device's domain goes through them.
  std::vector<PagingHwpt*>& hwpts() { return hwpts_; }

 private:
  IoPagetable table_;
  std::vector<PagingHwpt*> hwpts_;
};

// What a device is attached to. Uses its fault queue.
class Hwpt : public Object {
 public:
  ~Hwpt() override;

  Ioas& ioas() { return ioas_; }  // of a nested one: its parent's
  Domain& domain() { return *domain_; }
  // May it be attached while PASIDs are, and to one?
  bool pasid_compatible() const { return pasid_compatible_; }
  FaultQueue* fault_queue() const { return fault_queue_; }  // nullptr: page requests fail
  // Before the first attach.
  void set_fault_queue(FaultQueue& queue);

 protected:
  Hwpt(Ioas& ioas, std::unique_ptr<Domain> domain, bool pasid_compatible)
      : ioas_(ioas), domain_(std::move(domain)), pasid_compatible_(pasid_compatible) {}
  void end_domain() { domain_.reset(); }

 private:
  Ioas& ioas_;
  std::unique_ptr<Domain> domain_;
  const bool pasid_compatible_;
  FaultQueue* fault_queue_ = nullptr;
};

// A domain that holds what its IOAS maps.
class PagingHwpt final : public Hwpt {
 public:
  // Automatic ones are made by attaching a device to an IOAS and end with their last device.
  enum class Life : std::uint8_t { automatic, kept };

  PagingHwpt(Ioas& ioas, std::unique_ptr<Domain> domain, const DomainRequest& request, Life life)
      : Hwpt(ioas, std::move(domain), request.pasid), nest_parent_(request.nest_parent), life_(life) {
    ioas.use();
  }
  ~PagingHwpt() override;

  // Holds every area of the IOAS from now on, and is found by its search. Errors: IoPagetable::add_domain.
  Result<> publish();

  Life life() const { return life_; }
  bool nest_parent() const { return nest_parent_; }

 private:
  const bool nest_parent_;
  const Life life_;
  bool published_ = false;
};

// The program's own tables on a nest parent, made with it or through a virtual IOMMU: it uses whichever it was.
class NestedHwpt final : public Hwpt {
 public:
  NestedHwpt(PagingHwpt& parent, Object& made_with, std::unique_ptr<Domain> domain, const DomainRequest& request)
      : Hwpt(parent.ioas(), std::move(domain), request.pasid), made_with_(made_with) {
    made_with_.use();
  }
  ~NestedHwpt() override {
    end_domain();
    made_with_.unuse();
  }

 private:
  Object& made_with_;
};

// What a PASID of a group (0: requests without one) is attached to, by which of its bound devices.
struct Attachment {
  Hwpt* hwpt = nullptr;
  std::vector<BoundDevice*> devices;
  std::unique_ptr<Requester> requester;

  bool has(const BoundDevice& device) const { return std::ranges::find(devices, &device) != devices.end(); }
};

// What the bound devices of one group share.
struct BoundGroup {
  explicit BoundGroup(Group& the_group) : group(the_group) {}
  Group& group;
  std::map<Pasid, Attachment> attachments;

  Attachment* find(Pasid pasid) {
    const auto found = attachments.find(pasid);
    return found != attachments.end() ? &found->second : nullptr;
  }
};

class BoundDevice final : public Object {
 public:
  // Takes over one claim of the group's DMA ownership.
  BoundDevice(const Device& device, std::shared_ptr<BoundGroup> group) : device_(device), group_(std::move(group)) {}
  ~BoundDevice() override { group_->group.release_dma_owner(); }

  const Device& device() const { return device_; }
  BoundGroup& group() { return *group_; }
  bool attached(Pasid pasid = 0) const {
    const Attachment* const attachment = group_->find(pasid);
    return attachment != nullptr && attachment->has(*this);
  }
  // The name that a virtual IOMMU has for it; nullptr: none.
  Vdevice* vdevice() const { return vdevice_; }
  void set_vdevice(Vdevice* vdevice) { vdevice_ = vdevice; }

 private:
  const Device& device_;
  std::shared_ptr<BoundGroup> group_;
  Vdevice* vdevice_ = nullptr;
};

}  // namespace softiommu::iommufd
