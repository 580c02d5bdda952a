// SPDX-License-Identifier: BSD-3-Clause
#include "iommufd/objects.h"

namespace softiommu::iommufd {

void Hwpt::set_fault_queue(FaultQueue& queue) {
  fault_queue_ = &queue;
  queue.use();
  domain_->set_page_request_handler(queue);
}

Hwpt::~Hwpt() {
  domain_.reset();
  if (fault_queue_ != nullptr) fault_queue_->unuse();
}

Result<> PagingHwpt::publish() {
  ioas().hwpts().reserve(ioas().hwpts().size() + 1);
  TRY(ioas().table().add_domain(domain()));
  ioas().hwpts().push_back(this);
  published_ = true;
  return {};
}

PagingHwpt::~PagingHwpt() {
  if (published_) {
    ioas().table().remove_domain(domain());
    std::erase(ioas().hwpts(), this);
  }
  end_domain();
  ioas().unuse();
}

}  // namespace softiommu::iommufd
