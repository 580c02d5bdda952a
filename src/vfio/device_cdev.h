// SPDX-License-Identifier: BSD-3-Clause
// A device file (/dev/vfio/devices/vfioN): a device without a group's file, for programs that use an iommufd.
//
// Until BIND_IOMMUFD every other call is EINVAL. A file binds once; while one is bound the group's file cannot be
// opened, while that is open nothing can be bound.
#pragma once

#include <memory>

#include "base/mutex.h"
#include "iommufd/binding.h"
#include "vfio/device_file.h"

namespace softiommu::vfio {

class DeviceCdevFile final : public DeviceFile {
 public:
  DeviceCdevFile(VfioGroup& group, PciDevice& device, Program& program, Registration::Use use)
      : DeviceFile(group, device, program, std::move(use)) {}
  ~DeviceCdevFile() override;

  std::string path() const override { return "/dev/vfio/devices/vfio" + std::to_string(device_.device().number()); }
  dev_t device_number() const override { return Vfio::device_file_number(device_.device().number()); }
  long ioctl(unsigned int command, std::uint64_t argument) override;
  ssize_t pread(std::uint64_t user, std::size_t bytes, off_t offset) override;
  ssize_t pwrite(std::uint64_t user, std::size_t bytes, off_t offset) override;
  int mmap(std::uint64_t offset, std::uint64_t bytes, int prot, int flags, MmapPlan& out) override;

  // ioctl handlers.
  Result<long> bind(Call& call);
  Result<long> attach(Call& call);
  Result<long> detach(Call& call);

 private:
  iommufd::Context* context() const override { return &binding_->context(); }  // only asked when bound
  Result<> open_bound(std::shared_ptr<iommufd::Context> to) REQUIRES(mutex_);
  void close_bound() REQUIRES(mutex_);

  Mutex mutex_;  // of binding
  std::shared_ptr<iommufd::Binding> binding_;
  std::atomic<bool> bound_{false};  // binding_ is there and stays
};

}  // namespace softiommu::vfio
