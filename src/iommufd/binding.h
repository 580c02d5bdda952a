// SPDX-License-Identifier: BSD-3-Clause
// A device bound to a context, as an open device file holds it: its end detaches and unbinds.
#pragma once

#include <memory>
#include <utility>

#include "iommufd/context.h"

namespace softiommu::iommufd {

class Binding {
 public:
  // Errors: Context::bind.
  static Result<std::shared_ptr<Binding>> create(std::shared_ptr<Context> context, const Device& device) {
    BoundDevice* const bound = TRY(context->bind(device));
    try {
      return std::make_shared<Binding>(Bound{}, context, *bound);
    } catch (...) {
      context->unbind(*bound);
      throw;
    }
  }
  ~Binding() { context_->unbind(device_); }
  Binding(const Binding&) = delete;
  Binding& operator=(const Binding&) = delete;

  std::uint32_t id() const { return device_.id(); }
  Context& context() const { return *context_; }
  // Attaches it, or moves it if it is attached.
  Result<std::uint32_t> attach(std::uint32_t pt_id, Pasid pasid = 0) {
    return context_->attach_or_replace(device_, pt_id, pasid);
  }
  void detach(Pasid pasid = 0) { context_->detach(device_, pasid); }

 private:
  struct Bound {};  // only create() makes one

 public:
  Binding(Bound, std::shared_ptr<Context> context, BoundDevice& device)
      : context_(std::move(context)), device_(device) {}

 private:
  std::shared_ptr<Context> context_;
  BoundDevice& device_;
};

}  // namespace softiommu::iommufd
