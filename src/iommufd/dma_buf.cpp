// SPDX-License-Identifier: BSD-3-Clause
#include "iommufd/dma_buf.h"

#include <algorithm>

#include "iommufd/context.h"

namespace softiommu::iommufd {

// A map that still saw it given has the context's lock: it is found by what follows.
void DmaBuf::revoke() {
  revoked_.store(true, std::memory_order_release);
  std::vector<std::weak_ptr<Context>> importers;
  {
    const MutexLock lock(mutex_);
    importers.swap(importers_);
  }
  for (const auto& importer : importers)
    if (const auto context = importer.lock()) context->revoke(*this);
}

void DmaBuf::add_importer(const std::shared_ptr<Context>& context) {
  const MutexLock lock(mutex_);
  std::erase_if(importers_, [&](const auto& importer) { return importer.expired() || importer.lock() == context; });
  importers_.push_back(context);
}

}  // namespace softiommu::iommufd
