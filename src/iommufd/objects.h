// SPDX-License-Identifier: BSD-3-Clause
// The kinds of object: an address space (IOAS), a hardware page table (HWPT: one domain of an IOAS), a bound device.
#pragma once

#include <memory>
#include <vector>

#include "core/device.h"
#include "core/group.h"
#include "iommufd/io_pagetable.h"
#include "iommufd/object.h"

namespace softiommu::iommufd {

class Hwpt;

class Ioas final : public Object {
 public:
  IoPagetable& table() { return table_; }
  // In the order they were made: the search for a device's domain goes through them.
  std::vector<Hwpt*>& hwpts() { return hwpts_; }

 private:
  IoPagetable table_;
  std::vector<Hwpt*> hwpts_;
};

class Hwpt final : public Object {
 public:
  // Automatic ones are made by attaching a device to an IOAS and end with their last device.
  enum class Life : std::uint8_t { automatic, kept };

  Hwpt(Ioas& ioas, std::unique_ptr<Domain> domain, Life life) : ioas_(ioas), domain_(std::move(domain)), life_(life) {
    ioas_.use();
  }
  ~Hwpt() override;

  // Holds every area of the IOAS from now on, and is found by its search. Errors: IoPagetable::add_domain.
  Result<> publish();

  Ioas& ioas() { return ioas_; }
  Domain& domain() { return *domain_; }
  Life life() const { return life_; }

 private:
  Ioas& ioas_;
  std::unique_ptr<Domain> domain_;
  const Life life_;
  bool published_ = false;
};

// What the bound devices of one group share: a group is on one HWPT.
struct BoundGroup {
  explicit BoundGroup(Group& the_group) : group(the_group) {}
  Group& group;
  Hwpt* hwpt = nullptr;
  std::vector<class BoundDevice*> attached;
};

class BoundDevice final : public Object {
 public:
  // Takes over one claim of the group's DMA ownership.
  BoundDevice(const Device& device, std::shared_ptr<BoundGroup> group) : device_(device), group_(std::move(group)) {}
  ~BoundDevice() override { group_->group.release_dma_owner(); }

  const Device& device() const { return device_; }
  BoundGroup& group() { return *group_; }
  const std::shared_ptr<BoundGroup>& shared_group() const { return group_; }
  bool attached() const;

 private:
  const Device& device_;
  std::shared_ptr<BoundGroup> group_;
};

}  // namespace softiommu::iommufd
