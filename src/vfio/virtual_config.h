// SPDX-License-Identifier: BSD-3-Clause
// The configuration space that a program sees of its device, as vfio-pci shows it.
//
// Three bytes for each byte of configuration space: the program's copy, which bits of it are virtual, which can be
// written. They are laid out once when the device is opened, from the rows of config_rules. Registers with effects
// (command, MSI control, function-level reset) tell the owner through Effects. The owner's lock guards it;
// memory_enabled() needs none.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "machine/pci_function.h"
#include "vfio/config_rules.h"

namespace softiommu::vfio {

class VirtualConfig {
 public:
  // What a write asks of the device's owner.
  class Effects {
   public:
    virtual ~Effects() = default;
    virtual void intx_disabled(bool disabled) = 0;
    virtual bool msi_in_use() const = 0;
    virtual void function_reset() = 0;
  };

  explicit VirtualConfig(PciFunction& function) : function_(function) {}

  // Takes the device's present configuration as the program's copy. May throw std::bad_alloc.
  void open();

  unsigned bytes() const { return function_.config_bytes(); }
  // Length of the access at `offset` that `count` bytes begin with: 1, 2 or 4, aligned, within one structure.
  unsigned chunk(unsigned offset, std::uint64_t count) const;
  // `bytes` from chunk().
  std::uint32_t read(unsigned offset, unsigned bytes);
  void write(unsigned offset, unsigned bytes, std::uint32_t value, Effects& effects);

  // Does the device decode memory, as the program asked? Any thread, also from a fault handler.
  bool memory_enabled() const { return memory_enabled_.load(std::memory_order_acquire); }
  // MSI was enabled with 2^log2 vectors: the copy may not show or ask for more.
  void set_msi_vectors_log2(unsigned log2) { msi_vectors_log2_ = log2; }

  // What a reset undoes and the kernel brings back: header, BARs, capabilities.
  // Words of it all; allocates nothing if there is room for bytes() / 4.
  void save(std::vector<std::uint32_t>& words) const;
  void restore(const std::vector<std::uint32_t>& saved);

 private:
  struct Place {
    std::uint8_t copy = 0, virt = 0, write = 0;
    std::uint16_t start = 0;  // first byte of the structure that it belongs to
    bool in_structure = false;
  };
  std::uint32_t copy_at(unsigned offset, unsigned bytes) const;
  void set_copy(unsigned offset, unsigned bytes, std::uint32_t value);
  void lay_out(unsigned at, unsigned bytes, const ConfigStructure& structure);
  void lay_out_virtual_function();
  void lay_out_capabilities();
  void lay_out_extended();
  unsigned length_of(unsigned at, const ConfigStructure& structure);
  void write_through(unsigned offset, unsigned bytes, std::uint32_t value);
  void after_write(unsigned offset, unsigned bytes, Effects& effects);
  void fix_bars();
  void sync_msi(Effects& effects);
  void refresh_memory_enabled();

  PciFunction& function_;
  std::vector<Place> places_;
  unsigned power_ = 0, msi_ = 0, express_ = 0, advanced_features_ = 0;  // capabilities; 0: none
  unsigned msi_vectors_log2_ = 0;
  bool intx_disabled_ = false;
  std::atomic<bool> memory_enabled_{false};
};

}  // namespace softiommu::vfio
