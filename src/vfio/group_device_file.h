// SPDX-License-Identifier: BSD-3-Clause
// A device that was opened through its group (VFIO_GROUP_GET_DEVICE_FD).
//
// With a container it translates through that; a group that was given to an iommufd binds and attaches the device to
// the context's compatibility IOAS, once for all files of the device.
#pragma once

#include <memory>

#include "iommufd/binding.h"
#include "vfio/device_file.h"

namespace softiommu::vfio {

class GroupDeviceFile final : public DeviceFile {
 public:
  // ENODEV: the device is leaving; EINVAL: the group has no container with an IOMMU, and no iommufd; ENOMEM; others
  // from bind and attach.
  static Result<std::shared_ptr<DeviceFile>> open(std::shared_ptr<GroupFile> group, PciDevice& device,
                                                  Program& program);
  ~GroupDeviceFile() override;

  std::string path() const override { return "anon_inode:[vfio-device]"; }

 private:
  struct Opened {};  // only open() makes one

 public:
  GroupDeviceFile(Opened, std::shared_ptr<GroupFile> group, PciDevice& device, Program& program,
                  std::shared_ptr<iommufd::Binding> binding, Registration::Use use)
      : DeviceFile(group->group(), device, program, std::move(use)),
        file_(std::move(group)),
        binding_(std::move(binding)) {}

 private:
  std::shared_ptr<GroupFile> file_;
  std::shared_ptr<iommufd::Binding> binding_;  // nullptr: with a container
};

}  // namespace softiommu::vfio
