// SPDX-License-Identifier: BSD-3-Clause
// An open device: regions to read, write and map, interrupts, resets.
#pragma once

#include <memory>

#include "base/file.h"
#include "base/program.h"
#include "vfio/command_table.h"
#include "vfio/group.h"
#include "vfio/pci_device.h"

namespace softiommu::vfio {

class DeviceFile final : public File {
 public:
  // EINVAL: the group has no container with an IOMMU; ENOMEM.
  static Result<std::shared_ptr<DeviceFile>> open(std::shared_ptr<GroupFile> group, PciDevice& device,
                                                  Program& program);
  ~DeviceFile() override;

  std::string path() const override { return "anon_inode:[vfio-device]"; }
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

 private:
  struct Opened {};  // only open() makes one

 public:
  DeviceFile(Opened, std::shared_ptr<GroupFile> group, PciDevice& device, Program& program)
      : group_(std::move(group)), device_(device), program_(program) {}

 private:
  bool can_map(unsigned bar) const;
  Result<std::uint64_t> access(std::uint64_t user, std::uint64_t bytes, std::uint64_t offset, bool write);
  Result<std::uint64_t> access_bar(unsigned bar, std::uint64_t user, std::uint64_t bytes, std::uint64_t offset,
                                   bool write);

  std::shared_ptr<GroupFile> group_;
  PciDevice& device_;
  Program& program_;
};

}  // namespace softiommu::vfio
