// SPDX-License-Identifier: BSD-3-Clause
// A virtual IOMMU as an object, and what belongs to it: the names it has for devices, and the queues of its hardware.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "core/virtual_iommu.h"
#include "iommufd/objects.h"

namespace softiommu::iommufd {

class HwQueue;

// Memory that the program may map from the iommufd, by offset: it belongs to a virtual IOMMU, which a mapping uses.
struct OfferedMmap {
  Object* owner;
  std::shared_ptr<SharedMemory> memory;
};
using OfferedMmaps = std::map<std::uint64_t, OfferedMmap>;

class Viommu final : public Object, public VirtualIommuOwner {
 public:
  // `mmaps`: the context's, under its lock.
  Viommu(PagingHwpt& parent, const Device& device, OfferedMmaps& mmaps);
  ~Viommu() override;
  // What its driver made. Before anything else.
  void set_driver_part(std::unique_ptr<VirtualIommu> made) { driver_part_ = std::move(made); }

  VirtualIommu& driver_part() { return *driver_part_; }
  PagingHwpt& parent() { return parent_; }
  // Is the device behind the IOMMU that this is a slice of?
  bool serves(const Device& device) const;

  // EEXIST: there is a queue for this type; ENOMEM.
  Result<> add_queue(Veventq& queue);
  void remove_queue(Veventq& queue);
  std::vector<HwQueue*>& hw_queues() { return hw_queues_; }

  Result<std::uint64_t> offer_mmap(std::shared_ptr<SharedMemory> memory) override;
  Result<> report(std::uint32_t type, std::span<const std::byte> event) override;

 private:
  PagingHwpt& parent_;
  const Driver& driver_;
  const unsigned unit_;
  OfferedMmaps& mmaps_;
  std::vector<HwQueue*> hw_queues_;
  Mutex queues_lock_;  // device threads report events
  std::vector<Veventq*> queues_ GUARDED_BY(queues_lock_);
  std::unique_ptr<VirtualIommu> driver_part_;
};

// A name of a bound device. Ends with the device, at the latest.
class Vdevice final : public Object {
 public:
  // EEXIST: the name is taken; what the driver answers.
  static Result<std::unique_ptr<Vdevice>> create(Viommu& viommu, BoundDevice& device, std::uint64_t virtual_id);
  ~Vdevice() override;

 private:
  Vdevice(Viommu& viommu, BoundDevice& device, std::uint64_t virtual_id);
  Viommu& viommu_;
  BoundDevice& device_;
  const std::uint64_t virtual_id_;
};

// A queue of its hardware in the guest's memory, which stays pinned and mapped.
class HwQueue final : public Object {
 public:
  // `request.physical` is found out here.
  //   ENOENT  part of the memory is not mapped;  EFAULT  it is not contiguous;  EADDRINUSE  the IOAS maps what is not
  //           whole pages;  what the driver answers
  static Result<std::unique_ptr<HwQueue>> create(Viommu& viommu, HardwareQueueRequest request);
  ~HwQueue() override;

 private:
  explicit HwQueue(Viommu& viommu) : viommu_(viommu) { viommu_.use(); }
  Result<PhysAddr> pin(const HardwareQueueRequest& request);
  IoPagetable& table() { return viommu_.parent().ioas().table(); }

  Viommu& viommu_;
  bool access_ = false;  // to the IOAS of the nest parent
  std::optional<IoPagetable::PinRequest> pinned_;
  HwQueue* before_ = nullptr;  // that must not end before it; used
  std::unique_ptr<HardwareQueue> driver_part_;
};

}  // namespace softiommu::iommufd
