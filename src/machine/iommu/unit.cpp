// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/unit.h"

#include "machine/dma_port.h"

namespace softiommu {

void IommuUnit::add_port(DmaPort& port) { fence_.add(port.activity_); }
void IommuUnit::remove_port(DmaPort& port) { fence_.remove(port.activity_); }
void IommuUnit::wait_for_dma() { fence_.wait(); }

void IommuUnit::interrupt(unsigned line) {
  if (!interrupt_) return;
  const DmaPause pause;  // translate() may have raised it: the handler must not wait for this thread's own copy
  interrupt_(line);
}

}  // namespace softiommu
