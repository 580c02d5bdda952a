// SPDX-License-Identifier: BSD-3-Clause
#include "iommufd/objects.h"

#include <algorithm>

namespace softiommu::iommufd {

Result<> Hwpt::publish() {
  ioas_.hwpts().reserve(ioas_.hwpts().size() + 1);
  TRY(ioas_.table().add_domain(*domain_));
  ioas_.hwpts().push_back(this);
  published_ = true;
  return {};
}

Hwpt::~Hwpt() {
  if (published_) {
    ioas_.table().remove_domain(*domain_);
    std::erase(ioas_.hwpts(), this);
  }
  ioas_.unuse();
}

bool BoundDevice::attached() const { return std::ranges::find(group_->attached, this) != group_->attached.end(); }

}  // namespace softiommu::iommufd
