// SPDX-License-Identifier: BSD-3-Clause
#include "machine/iommu/unit.h"

#include "machine/device_tlb.h"
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

void IommuUnit::add_device_tlb(StreamId stream, DeviceTlb& tlb) {
  const MutexLock lock(tlbs_mutex_);
  tlbs_[stream] = &tlb;
}

void IommuUnit::remove_device_tlb(StreamId stream) {
  const MutexLock lock(tlbs_mutex_);
  tlbs_.erase(stream);
}

bool IommuUnit::invalidate_device_tlb(const DeviceTlbInvalidation& what) {
  const MutexLock lock(tlbs_mutex_);
  const auto found = tlbs_.find(what.stream);
  return found != tlbs_.end() && found->second->invalidate(what);
}

bool IommuUnit::answer_page_request(const PageResponse& response) {
  const MutexLock lock(tlbs_mutex_);
  const auto found = tlbs_.find(response.stream);
  return found != tlbs_.end() && found->second->answer(response);
}

}  // namespace softiommu
