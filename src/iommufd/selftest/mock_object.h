// SPDX-License-Identifier: BSD-3-Clause
// A mock device that is bound and attached, as an object that the test can destroy: that detaches and removes it.
#pragma once

#include <memory>
#include <utility>

#include "base/thread_safety.h"
#include "core/plugged_device.h"
#include "iommufd/context.h"

namespace softiommu::iommufd::selftest {

class MockObject final : public Object {
 public:
  MockObject(Context& context, std::unique_ptr<PluggedDevice> device, BoundDevice& bound)
      : context_(context), device_(std::move(device)), bound_(bound) {}
  // Objects end under the context's lock.
  ~MockObject() override SOFTIOMMU_TS(no_thread_safety_analysis) { context_.unbind_locked(bound_); }

  BoundDevice& bound() const { return bound_; }
  Device& device() const { return device_->device(); }

 private:
  Context& context_;
  std::unique_ptr<PluggedDevice> device_;
  BoundDevice& bound_;
};

}  // namespace softiommu::iommufd::selftest
