// SPDX-License-Identifier: BSD-3-Clause
// One PCI device under vfio-pci: what its open files share.
//
// The first file to open it resets the function and takes its interrupts, the last one to close it switches it off. Its
// lock guards configuration space, opening and resets; order: device, interrupts, the function's own.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>

#include "base/mutex.h"
#include "base/program.h"
#include "base/result.h"
#include "core/system.h"
#include "iommufd/binding.h"
#include "machine/pci_function.h"
#include "vfio/bar_exports.h"
#include "vfio/interrupts.h"
#include "vfio/registration.h"
#include "vfio/vf_token.h"
#include "vfio/virtual_config.h"

namespace softiommu::vfio {

class PciDevice final : private VirtualConfig::Effects {
 public:
  // `physical` is the device of a virtual function's physical one.
  PciDevice(System& system, const Device& device, PciDevice* physical)
      : system_(system),
        device_(device),
        function_(*device.function()),
        physical_(physical),
        interrupts_(function_, system.machine().executor()),
        config_(function_) {}

  Registration& registration() { return registration_; }
  bool leaving() const { return registration_.state() == Registration::State::leaving; }
  // Signals the program's REQ; without one nothing but a line in the log says that somebody waits.
  void ask_to_leave();
  // May it be opened with this token, or without one? EINVAL: it takes none; EACCES: VfToken. Sets that of a physical
  // function.
  Result<> match_token(const std::optional<Uuid>& given);
  // ENOTTY: it is no physical function.
  Result<> set_token(const Uuid& token);
  VfToken& token() { return token_; }
  bool has_token() const { return !function_.virtual_functions().empty(); }

  const Device& device() const { return device_; }
  PciFunction& function() const { return function_; }
  System& system() const { return system_; }

  Result<> open();
  void close();
  bool is_open();
  // What binds it to `context` and its compatibility IOAS: one for all files that were opened through the group.
  // Errors of bind and attach; ENOMEM.
  Result<std::shared_ptr<iommufd::Binding>> share_binding(const std::shared_ptr<iommufd::Context>& context);

  // Configuration space: how far it came before an error; EFAULT if nowhere. `offset` + `bytes` is inside of it.
  Result<std::uint64_t> read_config(Program& program, std::uint64_t user, std::uint64_t offset, std::uint64_t bytes);
  Result<std::uint64_t> write_config(Program& program, std::uint64_t user, std::uint64_t offset, std::uint64_t bytes);

  bool memory_enabled() const { return config_.memory_enabled(); }
  bool mappings_enabled() const { return memory_enabled() && !low_power_.load(std::memory_order_acquire); }
  Interrupts& interrupts() { return interrupts_; }
  Result<> set_irqs(Program& program, const abi::IrqSet& request, std::span<const std::byte> data);

  // The function starts anew; configuration and interrupts are brought back as they were. EAGAIN: it is leaving.
  Result<> reset();

  // The program needs the device no more for a while: what it mapped of it faults until it leaves low power. With a
  // `wakeup`, any other access does that for it and signals. EINVAL: it is there already.
  Result<> enter_low_power(EventFd wakeup);
  void leave_low_power();
  // Somebody needs the device.
  void wake_up() {
    if (low_power_.load(std::memory_order_acquire)) wake_from_low_power();
  }

  // Parts of a BAR for other devices' DMA. Errors: BarExports::create.
  Result<std::shared_ptr<iommufd::DmaBufFile>> export_bar(unsigned bar, std::span<const abi::DmaRange> parts);

 private:
  void wake_from_low_power();
  void reset_locked() REQUIRES(mutex_);
  void switch_off_locked() REQUIRES(mutex_);
  void update_exports(bool was_reset);
  bool write_words(std::uint64_t offset, std::span<const std::byte> words);
  void intx_disabled(bool disabled) override { interrupts_.disable_intx(disabled); }
  bool msi_in_use() const override { return interrupts_.msi_in_use(); }
  // Called by config_.write(), with the lock held, which the checker cannot see through the virtual call.
  void function_reset() override SOFTIOMMU_TS(no_thread_safety_analysis);

  System& system_;
  const Device& device_;
  PciFunction& function_;
  PciDevice* const physical_;
  Registration registration_;
  VfToken token_;  // of a physical function
  Interrupts interrupts_;
  Mutex mutex_;
  VirtualConfig config_;  // guarded by mutex_ but for memory_enabled()
  unsigned open_count_ GUARDED_BY(mutex_) = 0;
  std::vector<std::uint32_t> saved_ GUARDED_BY(mutex_);  // for resets
  bool was_reset_ GUARDED_BY(mutex_) = false;            // by a write to configuration space
  std::atomic<bool> low_power_{false};
  EventFd wakeup_ GUARDED_BY(mutex_);
  BarExports exports_;
  Mutex binding_mutex_;  // taken before the context's lock
  std::weak_ptr<iommufd::Binding> binding_ GUARDED_BY(binding_mutex_);
};

}  // namespace softiommu::vfio
