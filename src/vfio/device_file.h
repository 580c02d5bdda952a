// SPDX-License-Identifier: BSD-3-Clause
// An open device: regions to read, write and map, interrupts, resets. What differs between a device of a group and a
// device file (/dev/vfio/devices/vfioN) is in group_device_file and device_cdev.
#pragma once

#include <memory>

#include "base/file.h"
#include "base/program.h"
#include "iommufd/context.h"
#include "vfio/bus_reset.h"
#include "vfio/command_table.h"
#include "vfio/group.h"
#include "vfio/pci_device.h"

namespace softiommu::vfio {

class DeviceFile : public File {
 public:
  long ioctl(unsigned int command, std::uint64_t argument) override;
  ssize_t pread(std::uint64_t user, std::size_t bytes, off_t offset) override;
  ssize_t pwrite(std::uint64_t user, std::size_t bytes, off_t offset) override;
  int mmap(std::uint64_t offset, std::uint64_t bytes, int prot, int flags, MmapPlan& out) override;

  // ioctl handlers.
  Result<long> get_info(Call& call);
  Result<long> get_region_info(Call& call);
  Result<long> get_irq_info(Call& call);
  Result<long> set_irqs(Call& call);
  Result<long> reset(Call& call);
  Result<long> get_hot_reset_info(Call& call);
  Result<long> hot_reset(Call& call);
  Result<long> feature(Call& call);
  Result<long> export_bar(Call& call, std::uint32_t flags);
  Result<long> set_token(Call& call, const abi::Feature& request);
  Result<long> set_low_power(Call& call, const abi::Feature& request);

 protected:
  DeviceFile(VfioGroup& group, PciDevice& device, Program& program, Registration::Use use)
      : use_(std::move(use)), group_(group), device_(device), program_(program) {}

 private:
  Registration::Use use_;  // goes last: a device that is leaving has left then

 protected:
  VfioGroup& group_;
  PciDevice& device_;
  Program& program_;

 private:
  // The context that a device file is bound to; nullptr for a device of a group: group descriptors prove ownership.
  virtual iommufd::Context* context() const { return nullptr; }
  bool can_map(unsigned bar) const;
  ssize_t transfer(std::uint64_t user, std::size_t bytes, off_t offset, bool write);
  Result<std::uint64_t> access(std::uint64_t user, std::uint64_t bytes, std::uint64_t offset, bool write);
  Result<std::uint64_t> access_bar(unsigned bar, std::uint64_t user, std::uint64_t bytes, std::uint64_t offset,
                                   bool write);
  Result<std::uint64_t> read_rom(std::uint64_t user, std::uint64_t bytes, std::uint64_t offset);
  Result<> prove_groups(Call& call, std::uint32_t count, const std::vector<BusResetVictim>& victims);
};

}  // namespace softiommu::vfio
