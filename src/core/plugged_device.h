// SPDX-License-Identifier: BSD-3-Clause
// A device that no machine has, with the group of its own that it is in: out of the system when this ends.
//
// Made by System::plug(). It is not among the system's devices() and groups(); it comes and goes as those do.
#pragma once

#include <memory>
#include <utility>

#include "core/device.h"
#include "core/group.h"

namespace softiommu {

class System;

class PluggedDevice {
 public:
  // Nobody owns the group or attaches it any more.
  ~PluggedDevice();
  PluggedDevice(const PluggedDevice&) = delete;
  PluggedDevice& operator=(const PluggedDevice&) = delete;

  Device& device() const { return *device_; }
  Group& group() const { return *group_; }

 private:
  friend class System;
  PluggedDevice(System& system, std::unique_ptr<Device> device, std::unique_ptr<Group> group)
      : system_(system), device_(std::move(device)), group_(std::move(group)) {}
  System& system_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Group> group_;
};

}  // namespace softiommu
