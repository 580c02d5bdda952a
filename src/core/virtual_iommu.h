// SPDX-License-Identifier: BSD-3-Clause
// A slice of one physical IOMMU that a program hands to its guest: nested domains, the guest's names for devices,
// invalidations by those names, events, and queues that the hardware reads from the guest's memory.
//
// A driver derives from these classes; iommufd owns the objects and calls them one at a time. Device names and events
// are also used by device threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"
#include "core/domain.h"
#include "core/user_data.h"

namespace softiommu {

class Device;
class SharedMemory;

// What the owner of a virtual IOMMU does for its driver.
class VirtualIommuOwner {
 public:
  virtual ~VirtualIommuOwner() = default;
  // Lets the program map the memory (whole pages); returns the offset that it passes to mmap(2). ENOMEM.
  virtual Result<std::uint64_t> offer_mmap(std::shared_ptr<SharedMemory> memory) = 0;
  // An event for the guest, from any thread. EOPNOTSUPP: nobody listens to this type; ENOMEM (it counts as lost).
  virtual Result<> report(std::uint32_t type, std::span<const std::byte> event) = 0;
};

struct VirtualIommuRequest {
  std::uint32_t type;
  Domain& parent;  // a nest parent of this driver
  UserData* data;  // nullptr: none. The driver may answer in it
  VirtualIommuOwner& owner;
};

// A driver's own notes about a device that a virtual IOMMU has a name for.
class VirtualDevice {
 public:
  virtual ~VirtualDevice() = default;
};

// A queue in the guest's memory that the hardware reads.
class HardwareQueue {
 public:
  virtual ~HardwareQueue() = default;
  // A queue of the same virtual IOMMU that must not end before this one; nullptr: none.
  virtual const HardwareQueue* depends_on() const { return nullptr; }
};

struct HardwareQueueRequest {
  std::uint32_t type;
  std::uint32_t index;
  Iova address;       // in the nest parent
  PhysAddr physical;  // what is there: contiguous, and pinned as long as the queue lives
  std::uint64_t bytes;
};

class VirtualIommu {
 public:
  explicit VirtualIommu(VirtualIommuOwner& owner) : owner_(owner) {}
  virtual ~VirtualIommu() = default;
  VirtualIommu(const VirtualIommu&) = delete;
  VirtualIommu& operator=(const VirtualIommu&) = delete;

  VirtualIommuOwner& owner() const { return owner_; }

  // A nested domain whose translations are the guest's. EOPNOTSUPP; what `data` answers; ENOMEM.
  virtual Result<std::unique_ptr<Domain>> allocate_nested(const DomainRequest& request, const UserData& data);
  // Invalidates, entry by entry, by the guest's device names. With no entries it judges the type alone.
  //   EOPNOTSUPP  it cannot, or a flag is unknown;  EINVAL  another type, or an entry that names nothing
  virtual Result<> invalidate(UserArray& entries);
  // May the device have this name? Called with the name reserved.
  virtual Result<std::unique_ptr<VirtualDevice>> make_device(const Device& device, std::uint64_t virtual_id);
  virtual bool offers_queue(std::uint32_t /*type*/) const { return false; }
  // EINVAL: no such index; EEXIST: it is taken; others as the hardware needs.
  virtual Result<std::unique_ptr<HardwareQueue>> make_queue(const HardwareQueueRequest& request);

  // ---- names of devices. EEXIST: the name is taken; what make_device answers.
  Result<> add_device(const Device& device, std::uint64_t virtual_id);
  void remove_device(std::uint64_t virtual_id);
  std::optional<std::uint64_t> virtual_id(const Device& device) const;
  // Runs `action(const Device&)` while the device keeps its name. EINVAL: nobody has it.
  template <class Action>
  Result<> with_device(std::uint64_t virtual_id, Action&& action) const {
    const MutexLock lock(mutex_);
    const auto found = devices_.find(virtual_id);
    if (found == devices_.end() || found->second.device == nullptr) return fail(EINVAL, "no device has this name");
    action(*found->second.device);
    return {};
  }

 private:
  struct Named {
    const Device* device = nullptr;  // nullptr: reserved
    std::unique_ptr<VirtualDevice> notes;
  };
  VirtualIommuOwner& owner_;
  mutable Mutex mutex_;
  std::map<std::uint64_t, Named> devices_ GUARDED_BY(mutex_);
};

}  // namespace softiommu
