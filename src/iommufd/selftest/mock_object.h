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
  MockObject(Context& context, std::unique_ptr<PluggedDevice> device) : context_(context), device_(std::move(device)) {}
  // Objects that are bound end under the context's lock.
  ~MockObject() override SOFTIOMMU_TS(no_thread_safety_analysis) {
    if (bound_ != nullptr) context_.unbind_locked(*bound_);
  }

  // Binds it and attaches it to `pt_id`; returns the HWPT's id. On failure it is not bound.
  Result<std::uint32_t> bind_and_attach(std::uint32_t pt_id) {
    BoundDevice* const bound = TRY(context_.bind(device()));
    const auto attached = context_.attach(*bound, pt_id);
    if (attached) {
      bound_ = bound;
    } else {
      context_.unbind(*bound);
    }
    return attached;
  }
  BoundDevice& bound() const { return *bound_; }
  Device& device() const { return device_->device(); }

 private:
  Context& context_;
  std::unique_ptr<PluggedDevice> device_;
  BoundDevice* bound_ = nullptr;
};

}  // namespace softiommu::iommufd::selftest
