// SPDX-License-Identifier: BSD-3-Clause
// A device as the subsystem sees it: who it is, which driver and unit serve it, which group it is in.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/types.h"
#include "core/driver.h"

namespace softiommu {

class Group;
class PciFunction;

class Device {
 public:
  Device(std::string name, PciFunction* function, std::vector<StreamId> stream_ids, unsigned isolation_set)
      : name_(std::move(name)),
        function_(function),
        stream_ids_(std::move(stream_ids)),
        isolation_set_(isolation_set) {}

  const std::string& name() const { return name_; }    // "0000:00:02.0"
  PciFunction* function() const { return function_; }  // nullptr: brought up without a Machine
  // Ids of its transactions: its own first, then aliases. A driver programs all of them alike.
  const std::vector<StreamId>& stream_ids() const { return stream_ids_; }
  unsigned isolation_set() const { return isolation_set_; }

  // Is it there, and known? Devices come and go at run time; the object, its number and its group stay.
  bool present() const { return present_.load(std::memory_order_acquire); }
  unsigned number() const { return number_; }          // among the system's devices
  Driver* driver() const { return driver_; }           // nullptr: no IOMMU in front
  unsigned unit_index() const { return unit_index_; }  // among the driver's units
  Group* group() const { return group_; }              // nullptr: no IOMMU in front, or it was never there
  DeviceData* data() const { return data_.get(); }
  bool attach_deferred() const { return attach_deferred_; }
  bool requires_direct() const { return requires_direct_; }  // has 1:1 regions: may not be blocked
  bool can_stall() const { return can_stall_; }              // its faults may wait for an answer

 private:
  friend class System;
  friend class Group;
  std::string name_;
  PciFunction* function_;
  std::vector<StreamId> stream_ids_;
  unsigned isolation_set_;
  unsigned number_ = 0;
  std::atomic<bool> present_{false};
  Driver* driver_ = nullptr;
  unsigned unit_index_ = 0;
  std::atomic<Group*> group_{nullptr};
  std::unique_ptr<DeviceData> data_;
  bool attach_deferred_ = false;
  bool requires_direct_ = false;
  bool can_stall_ = false;
};

}  // namespace softiommu
