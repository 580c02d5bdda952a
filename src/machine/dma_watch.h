// SPDX-License-Identifier: BSD-3-Clause
// Who looks on while devices access memory and while software maps memory for them: the DMA sanitizer.
//
// Without one, a port asks a null pointer per page and nothing else is done. A watch takes leaf locks only: it is
// called inside a port's odd section, which invalidations wait for, and under the locks of address spaces.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "base/types.h"
#include "machine/iommu/unit.h"

namespace softiommu {

// An access of a device, or the part of it that lies in one page.
struct DmaTouch {
  std::string_view device;  // "0000:00:02.0"
  Pasid pasid = 0;
  Iova iova;
  std::uint64_t bytes = 0;
  Access access = Access::read;
  std::uint64_t told = 0;  // when software last wrote a register of the device, in ticks of the watch
};

// A mapping that a domain has, for people: `user` is the program's address of it.
struct DmaMapping {
  std::uint64_t domain = 0;  // Domain::id()
  IovaRange range;
  std::uint64_t user = 0;
  Prot prot;
};

class DmaWatch {
 public:
  virtual ~DmaWatch() = default;

  // The device is about to copy between itself and `host`, where the bytes are in this process.
  virtual void touches(const DmaTouch& touch, const std::byte* host) noexcept = 0;
  // The IOMMU refused it.
  virtual void refused(const DmaTouch& touch) noexcept = 0;
  // It was translated, but what the program had mapped there is gone, or lacks the right.
  virtual void lost(const DmaTouch& touch) noexcept = 0;

  virtual void mapped(const DmaMapping& mapping) noexcept = 0;
  // The range is about to be unmapped, as far as it is mapped.
  virtual void unmapping(std::uint64_t domain, IovaRange range) noexcept = 0;

  // Orders events of several devices. Also from a fault handler.
  std::uint64_t tick() noexcept { return clock_.fetch_add(1, std::memory_order_relaxed) + 1; }

 private:
  std::atomic<std::uint64_t> clock_{0};
};

}  // namespace softiommu
