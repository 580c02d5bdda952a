// SPDX-License-Identifier: BSD-3-Clause
// The interrupts of one device, as SET_IRQS arranges them: which eventfd is signalled for INTx, MSI, MSI-X, errors and
// release requests.
//
// The device delivers on the executor's thread; every eventfd is signalled there. INTx is level-triggered and masks
// itself when it fires: until the program unmasks it (by ioctl, or by its unmask eventfd, which is polled while INTx is
// masked), no further signal comes. Masking is done here: the hardware's own INTX_DISABLE, which the program does not
// see, stays as it is. One lock, a leaf but for the function's own; callers of set() and reprogram() hold the device's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "base/program.h"
#include "base/result.h"
#include "machine/executor.h"
#include "machine/pci_function.h"
#include "vfio/abi.h"
#include "vfio/event_fd.h"

namespace softiommu::vfio {

class Interrupts final : public IrqSink, private Steppable {
 public:
  Interrupts(PciFunction& function, Executor& executor) : function_(function), executor_(executor) {}
  ~Interrupts() override;

  void open();   // the device begins to deliver
  void close();  // everything is off, every eventfd given back

  // How many interrupts an index has: 0 for one that the device lacks.
  std::uint32_t count(std::uint32_t index) const;

  // SET_IRQS after its checks: `request.start` and `count` are in range, `data` has what the flags say.
  // EINVAL, EBADF (a descriptor), EBUSY, ENOTTY: the action does not exist for this index.
  Result<> set(Program& program, const abi::IrqSet& request, std::span<const std::byte> data);

  // Signals REQ. False: the program gave no eventfd for it.
  bool request_release();
  bool msi_in_use() const;
  // The program's INTX_DISABLE bit changed: INTx is masked while it is set.
  void disable_intx(bool disabled);
  // After a reset: the hardware's vectors as they were.
  void reprogram();
  // For the config space: log2 of the MSI vectors that are in use.
  unsigned msi_vectors_log2() const;

  void message(unsigned vector) override;
  void intx(bool asserted) override;

 private:
  enum class Mode : std::uint8_t { none, intx, msi, msix };

  Result<> set_intx(Program& program, const abi::IrqSet& request, std::span<const std::byte> data);
  Result<> trigger_intx(Program& program, const abi::IrqSet& request, std::span<const std::byte> data) REQUIRES(mutex_);
  Result<> unmask_intx(Program& program, const abi::IrqSet& request, std::span<const std::byte> data) REQUIRES(mutex_);
  Result<> set_messages(Program& program, const abi::IrqSet& request, std::span<const std::byte> data);
  Result<> set_vectors(Program& program, Mode wanted, const abi::IrqSet& request, std::span<const std::byte> data)
      REQUIRES(mutex_);
  Result<> set_single(Program& program, EventFd& event, const abi::IrqSet& request, std::span<const std::byte> data)
      REQUIRES(mutex_);
  void disable_locked() REQUIRES(mutex_);
  bool line() const;
  void mask_intx_locked() REQUIRES(mutex_);
  void unmask_intx_locked() REQUIRES(mutex_);
  void fire_intx_locked() REQUIRES(mutex_);
  void enable_messages_locked() REQUIRES(mutex_);
  void program_vector(unsigned vector, bool in_use) REQUIRES(mutex_);

  std::uint64_t step(std::uint64_t now_ns) override;  // polls the unmask eventfd

  PciFunction& function_;
  Executor& executor_;
  bool stepping_ = false;  // the executor knows us
  mutable Mutex mutex_;
  Mode mode_ GUARDED_BY(mutex_) = Mode::none;
  std::vector<EventFd> vectors_ GUARDED_BY(mutex_);  // MSI, MSI-X
  EventFd intx_ GUARDED_BY(mutex_), unmask_ GUARDED_BY(mutex_);
  bool masked_ GUARDED_BY(mutex_) = false;
  bool disabled_ GUARDED_BY(mutex_) = false;  // by the program's command register
  EventFd error_ GUARDED_BY(mutex_), request_ GUARDED_BY(mutex_);
};

}  // namespace softiommu::vfio
