// SPDX-License-Identifier: BSD-3-Clause
// BARs of a device that a program passes on as DMA-BUFs (VFIO_DEVICE_FEATURE_DMA_BUF): other devices then reach its
// registers by DMA.
//
// They follow the device: while its memory does not decode, after a reset and when it is closed nothing of them stays
// mapped.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "iommufd/dma_buf.h"
#include "machine/pci_function.h"
#include "vfio/abi.h"

namespace softiommu::vfio {

class BarExports {
 public:
  // Parts of a BAR. ENODEV: no such BAR; EINVAL: a part is empty, not whole pages, or reaches out of it; ENOMEM.
  Result<std::shared_ptr<iommufd::DmaBufFile>> create(PciFunction& function, unsigned bar,
                                                      std::span<const abi::DmaRange> parts);
  // Nothing of them is mapped any more; until give_again() nothing can be. Call both without a lock.
  void revoke();
  void give_again();
  // Those that are there now are never given again.
  void forget();

 private:
  std::vector<std::shared_ptr<iommufd::DmaBuf>> all();
  Mutex mutex_;
  std::vector<std::weak_ptr<iommufd::DmaBuf>> exports_ GUARDED_BY(mutex_);
};

}  // namespace softiommu::vfio
