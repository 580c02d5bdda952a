// SPDX-License-Identifier: BSD-3-Clause
// vfio-pci as a driver: which devices of a machine it has, and their groups.
//
// There is a PciDevice for each function that can ever be there, from the start to the end: what changes is whether it
// is registered. Groups are added when a device of them is registered first, and stay. Lists are read without a lock.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "core/system.h"
#include "vfio/group.h"
#include "vfio/pci_device.h"

namespace softiommu::vfio {

class Devices {
 public:
  explicit Devices(System& system);  // takes every device that is there
  ~Devices();

  // By their numbers; nullptr: not a PCI function.
  std::span<const std::unique_ptr<PciDevice>> all() const { return devices_; }
  PciDevice* find(unsigned number) const;  // nullptr: none that is registered
  PciDevice* find(const PciFunction& function) const;
  VfioGroup* group(unsigned id) const;  // nullptr: none
  // Of a device that is registered or leaves.
  VfioGroup& group_of(const PciDevice& device) const { return *group(device.device().group()->id()); }
  bool any_registered(const VfioGroup& group) const;

  // The driver binds. EINVAL: no IOMMU in front, or DMA that does not snoop; EBUSY: it is registered, or virtual
  // functions are enabled; ENOMEM.
  Result<> add(PciDevice& device);
  // The driver unbinds: nobody new gets in, who is in is asked to leave. `left` runs once nobody is in: now, or on the
  // thread of the last close; `told` when it is registered no more. ENODEV: it is not registered; ENOMEM.
  Result<> remove(PciDevice& device, std::function<void()> left, std::function<void()> told);

 private:
  Result<VfioGroup*> make_group(Group& group);

  System& system_;
  std::vector<std::unique_ptr<PciDevice>> devices_;
  Mutex mutex_;                                     // for adding groups
  std::vector<std::unique_ptr<VfioGroup>> groups_;  // room for all that can come: it never moves
  std::atomic<std::size_t> group_count_{0};
};

}  // namespace softiommu::vfio
