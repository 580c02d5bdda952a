// SPDX-License-Identifier: BSD-3-Clause
// A device that is not on PCI: a DMA engine with a window of registers (hw/platform_dma.h), an interrupt line, and a
// port for each of its stream ids. The fabric knows only the ports, as with PCI functions.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/futex_lock.h"
#include "base/types.h"
#include "machine/dma_port.h"
#include "machine/executor.h"
#include "machine/mmio.h"

namespace softiommu {

class PlatformDevice final : public Steppable, public MmioRegion {
 public:
  struct Context {
    std::string name;
    Memory& memory;
    IommuUnit* unit;                // nullptr: no IOMMU in front
    std::vector<StreamId> streams;  // at least one
    Executor& executor;
    bool stalls = false;  // its faults may wait in the IOMMU
  };
  explicit PlatformDevice(const Context& context);

  const std::string& name() const { return name_; }
  std::span<const StreamId> streams() const { return streams_; }
  bool can_stall() const { return can_stall_; }
  DmaPort& dma(unsigned port = 0) const { return *ports_[port]; }
  // Called on the executor's thread while a copy that was to tell has ended.
  void on_interrupt(std::function<void()> handler) { interrupt_ = std::move(handler); }

  // Registers take accesses of their own width only.
  std::uint64_t read(std::uint64_t offset, unsigned bytes) override;
  void write(std::uint64_t offset, unsigned bytes, std::uint64_t value) override;
  std::uint64_t step(std::uint64_t now_ns) override;
  // In a child that came by fork: what other threads held is free.
  void forget_thread();

 private:
  struct Registers {
    std::uint64_t source = 0, destination = 0, count = 0, command = 0, status = 0;
  };

  std::string name_;
  std::vector<StreamId> streams_;
  const bool can_stall_;
  std::vector<std::unique_ptr<DmaPort>> ports_;
  Executor& executor_;
  std::function<void()> interrupt_;
  FutexLock mutex_;
  Registers registers_ GUARDED_BY(mutex_);
};

}  // namespace softiommu
